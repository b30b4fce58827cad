"""OpenAI's images by its own SDK, over a host that bills images by size and quality, and one that bills tokens."""

import base64
import json
from decimal import Decimal

import openai
import pytest

from books import booked_attempts
from direct import backend, client_of, hosts, serving
from gateway import eventually

GRADED = """unsaid_size = "1024x1024"
unsaid_quality = "standard"
images = [
  { size = "1024x1024", quality = "standard", per_image = 0.04 },
  { size = "1024x1024", quality = "hd", per_image = 0.08 },
]"""
PICTURE = base64.b64encode(b"\x89PNG\r\n" * 9).decode()


@pytest.fixture(scope="module")
def sites():
    with hosts("north") as running:
        yield running


@pytest.fixture
def host(sites):
    return sites["north"]


@pytest.fixture(scope="module")
def serve(sites, tmp_path_factory):
    backends = [
        backend("brush", "images", GRADED),
        backend("pencil", "images", "input = 5\noutput = 40", "max_output_tokens = 6_240"),
        backend("voice", "speech", "per_million_characters = 1"),
    ]
    with serving(tmp_path_factory.mktemp("images"), sites, {"north": backends}) as running:
        yield running


@pytest.fixture(scope="module")
def client(serve):
    with client_of(serve) as client:
        yield client


def drawn(count, **more):
    return (200, {"created": 1763000000, "data": [{"b64_json": PICTURE}] * count, **more})


def usage(read, written):
    details = {"text_tokens": read, "image_tokens": 0}
    return {"input_tokens": read, "input_tokens_details": details, "output_tokens": written, "total_tokens": read + written}


def test_images_come_as_they_are_and_are_paid_by_size_and_quality(client, host, serve):
    for members, count, cost in (({}, 1, "0.04"), ({"quality": "hd", "n": 2}, 2, "0.16"), ({"quality": "auto"}, 1, "0.08")):
        host.scripts.append(drawn(count))
        raw = client.images.with_raw_response.generate(model="brush", prompt="a cat", size="1024x1024", response_format="b64_json", **members)
        made = raw.parse()
        assert [image.b64_json for image in made.data] == [PICTURE] * count
        path, _, body = host.asked[-1]
        assert (path, json.loads(body)["model"]) == ("/v1/images/generations", "north-brush")
        assert Decimal(raw.headers["x-tokenbroker-cost-usd"]) == Decimal(cost)
        wanted = raw.headers["x-tokenbroker-request-id"]
        (attempt,) = eventually(lambda: booked_attempts(serve.data, wanted), 10, f"request {wanted} in the books")
        assert attempt["cost_pico_usd"] == int(Decimal(cost) * 10**12)


def test_an_image_comes_as_a_stream_and_is_paid_by_its_tokens(client, host, serve):
    partial = {"type": "image_generation.partial_image", "b64_json": PICTURE, "partial_image_index": 0, "created_at": 1}
    last = {"type": "image_generation.completed", "b64_json": PICTURE, "created_at": 1, "usage": usage(9, 1156)}
    shown = {"background": "opaque", "output_format": "png", "quality": "medium", "size": "1024x1024"}
    host.scripts.append([f"event: {event['type']}\ndata: {json.dumps({**event, **shown})}\n\n" for event in (partial, last)])
    events = list(client.images.generate(model="pencil", prompt="a cat", stream=True, partial_images=1))
    assert [event.type for event in events] == [partial["type"], last["type"]]
    assert (events[-1].b64_json, events[-1].usage.output_tokens) == (PICTURE, 1156)
    host.scripts.append(drawn(1, usage=usage(13, 272)))
    raw = client.images.with_raw_response.generate(model="pencil", prompt="a cat", quality="low")
    assert raw.parse().usage.output_tokens == 272
    assert Decimal(raw.headers["x-tokenbroker-cost-usd"]) == Decimal(13 * 5 + 272 * 40) / 1_000_000


def test_what_cannot_be_priced_or_chosen_is_refused(client, host):
    asked = len(host.asked)
    refused = (
        ({"model": "brush", "size": "512x512"}, "no_adequate_backend", None),
        ({"model": "auto"}, "invalid_value", "model"),
        ({"model": "brush", "n": 0}, "invalid_type", "n"),
        ({"model": "brush", "n": 2, "stream": True}, "invalid_value", "n"),
        ({"model": "voice"}, "no_adequate_backend", "model"),
    )
    for members, code, param in refused:
        with pytest.raises(openai.BadRequestError) as refusal:
            client.images.generate(**{"prompt": "a cat", **members})
        assert (refusal.value.code, refusal.value.param) == (code, param), members
    assert "brush, pencil" in refusal.value.message
    assert len(host.asked) == asked
