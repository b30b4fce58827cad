"""OpenAI's embeddings by its own SDK, over two hosts of one model and one of another."""

import base64
import json
import struct
from decimal import Decimal

import openai
import pytest

from books import booked_attempts
from direct import backend, client_of, hosts, serving
from gateway import eventually


@pytest.fixture(scope="module")
def sites():
    """Two of the model `jade`, the first of which is the cheaper one, and one of a still cheaper model."""
    with hosts("north", "south", "west") as running:
        yield running


@pytest.fixture(scope="module")
def serve(sites, tmp_path_factory):
    backends = {
        "north": [backend("jade", "embeddings", "input = 0.02", "dimensions = 4\ndimensions_from = 2", 8_191)],
        "south": [backend("jade", "embeddings", "input = 0.03", "dimensions = 4\ndimensions_from = 2", 8_191)],
        "west": [backend("opal", "embeddings", "input = 0.01", "dimensions = 4\ndimensions_from = 2", 8_191)],
    }
    with serving(tmp_path_factory.mktemp("embeddings"), sites, backends) as running:
        yield running


@pytest.fixture(scope="module")
def client(serve):
    with client_of(serve) as client:
        yield client


def answer(vectors, tokens):
    """As a host sends it that was asked for base64, which the SDK does unasked."""
    encoded = [base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode() for vector in vectors]
    data = [{"object": "embedding", "index": index, "embedding": text} for index, text in enumerate(encoded)]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return 200, {"object": "list", "data": data, "model": "vectors", "usage": usage}


def test_vectors_come_as_they_are_and_are_paid_by_their_tokens(client, sites, serve):
    sites["north"].scripts.append(answer([[0.25, -0.5, 1.0, 0.0], [1.0, 0.0, 0.5, 2.0]], 7))
    raw = client.embeddings.with_raw_response.create(model="jade", input=["Say hello.", "Say goodbye."], dimensions=4)
    made = raw.parse()
    assert [one.embedding for one in made.data] == [[0.25, -0.5, 1.0, 0.0], [1.0, 0.0, 0.5, 2.0]]
    assert (made.usage.prompt_tokens, raw.headers["x-tokenbroker-backend"]) == (7, "north/north-jade")
    path, _, body = sites["north"].asked[-1]
    sent = json.loads(body)
    assert (path, sent["model"], sent["encoding_format"]) == ("/v1/embeddings", "north-jade", "base64")
    assert Decimal(raw.headers["x-tokenbroker-cost-usd"]) == 7 * Decimal("0.02") / 1_000_000
    wanted = raw.headers["x-tokenbroker-request-id"]
    (attempt,) = eventually(lambda: booked_attempts(serve.data, wanted), 10, f"request {wanted} in the books")
    assert (attempt["fresh_input"], attempt["output"], attempt["cost_pico_usd"]) == (7, 0, 140_000)


def test_tokens_and_floats_pass_as_well(client, sites):
    plain = {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.5, 1]}], "model": "vectors"}
    sites["north"].scripts.append((200, {**plain, "usage": {"prompt_tokens": 3, "total_tokens": 3}}))
    made = client.embeddings.create(model="jade", input=[15339, 1917, 0], encoding_format="float", dimensions=2)
    assert made.data[0].embedding == [0.5, 1]
    assert json.loads(sites["north"].asked[-1][2])["input"] == [15339, 1917, 0]


def test_another_host_of_the_model_stands_in_and_no_other_model(client, sites):
    west = len(sites["west"].asked)
    sites["north"].scripts.append((503, {"error": {"message": "busy"}}))
    sites["south"].scripts.append(answer([[1.0, 2.0, 3.0, 4.0]], 2))
    raw = client.embeddings.with_raw_response.create(model="jade", input="Say hello.")
    assert raw.headers["x-tokenbroker-backend"] == "south/south-jade"
    assert len(sites["west"].asked) == west


def test_what_no_model_can_be_chosen_for_is_refused(client, sites):
    asked = sum(len(host.asked) for host in sites.values())
    with pytest.raises(openai.BadRequestError) as refusal:
        client.embeddings.create(model="auto", input="Say hello.")
    assert (refusal.value.code, refusal.value.param) == ("invalid_value", "model")
    with pytest.raises(openai.BadRequestError) as refusal:
        client.embeddings.create(model="jade", input="Say hello.", dimensions=9)
    assert refusal.value.code == "no_adequate_backend"
    with pytest.raises(openai.BadRequestError) as refusal:
        client.embeddings.create(model="jade", input=[])
    assert (refusal.value.code, refusal.value.param) == ("invalid_value", "input")
    assert sum(len(host.asked) for host in sites.values()) == asked
