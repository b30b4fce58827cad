"""OpenAI's completions by its own SDK, over two hosts of one model and one of another."""

import json
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
        "north": [backend("jade", "completions", "input = 1\noutput = 2", "max_output_tokens = 4_096", 8_192)],
        "south": [backend("jade", "completions", "input = 3\noutput = 2", "max_output_tokens = 4_096", 8_192)],
        "west": [backend("opal", "completions", "input = 0.1\noutput = 2", "max_output_tokens = 4_096", 8_192)],
    }
    with serving(tmp_path_factory.mktemp("completions"), sites, backends) as running:
        yield running


@pytest.fixture(scope="module")
def client(serve):
    with client_of(serve) as client:
        yield client


def piece(text, finish=None):
    choice = {"text": text, "index": 0, "logprobs": None, "finish_reason": finish}
    return {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "base", "choices": [choice]}


def usage(read, written):
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def streamed():
    frames = [piece(" upon"), piece(" a time", "stop"), {**piece(""), "choices": [], "usage": usage(3, 5)}]
    return [*(f"data: {json.dumps(frame)}\n\n" for frame in frames), "data: [DONE]\n\n"]


def test_a_text_is_written_on_and_paid_by_its_tokens(client, sites, serve):
    sites["north"].scripts.append((200, {**piece(" upon a time", "length"), "usage": usage(3, 8)}))
    raw = client.completions.with_raw_response.create(model="jade", prompt="Once", max_tokens=8, best_of=2)
    made = raw.parse()
    assert (made.choices[0].text, made.usage.completion_tokens) == (" upon a time", 8)
    path, _, body = sites["north"].asked[-1]
    sent = json.loads(body)
    assert (path, sent["model"], sent["max_tokens"], sent["best_of"]) == ("/v1/completions", "north-jade", 8, 2)
    assert Decimal(raw.headers["x-tokenbroker-cost-usd"]) == Decimal(3 * 1 + 8 * 2) / 1_000_000
    wanted = raw.headers["x-tokenbroker-request-id"]
    (attempt,) = eventually(lambda: booked_attempts(serve.data, wanted), 10, f"request {wanted} in the books")
    assert (attempt["fresh_input"], attempt["output"], attempt["cost_pico_usd"]) == (3, 8, 19_000_000)


def test_a_stream_adds_up_and_reports_where_it_is_asked(client, sites):
    for options in ({}, {"stream_options": {"include_usage": True}}):
        sites["north"].scripts.append(streamed())
        chunks = list(client.completions.create(model="jade", prompt=["Once"], stream=True, **options))
        assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == " upon a time"
        assert [chunk.usage.completion_tokens for chunk in chunks if chunk.usage] == ([5] if options else [])
        sent = json.loads(sites["north"].asked[-1][2])
        assert (sent["max_tokens"], sent["stream_options"]) == (16, {"include_usage": True})


def test_another_host_of_the_model_stands_in_and_none_is_chosen(client, sites):
    west = len(sites["west"].asked)
    sites["north"].scripts.append((503, {"error": {"message": "busy"}}))
    sites["south"].scripts.append((200, {**piece("!", "stop"), "usage": usage(3, 1)}))
    raw = client.completions.with_raw_response.create(model="jade", prompt="Once")
    assert raw.headers["x-tokenbroker-backend"] == "south/south-jade"
    for members, param in (({"model": "auto", "prompt": "Once"}, "model"), ({"model": "jade", "prompt": []}, "prompt")):
        with pytest.raises(openai.BadRequestError) as refusal:
            client.completions.create(**members)
        assert (refusal.value.code, refusal.value.param) == ("invalid_value", param)
    assert len(sites["west"].asked) == west
