"""OpenAI's speech and transcriptions by its own SDK, over two hosts of the same models."""

import io
import json
import struct
from decimal import Decimal

import openai
import pytest

from books import booked_attempts
from direct import backend, client_of, hosts, serving
from gateway import eventually

SOUND = b"ID3\x04\x00\xff\xfb\r\n\r\ndata: {" * 2_000


@pytest.fixture(scope="module")
def sites():
    """The first of them is the cheaper one."""
    with hosts("north", "south") as running:
        yield running


@pytest.fixture(scope="module")
def serve(sites, tmp_path_factory):
    prices = {"north": ("15", "0.006"), "south": ("30", "0.03")}
    backends = {name: [backend("voice", "speech", f"per_million_characters = {spoken}"), backend("ear", "transcriptions", f"per_minute = {heard}")]
                for name, (spoken, heard) in prices.items()}
    with serving(tmp_path_factory.mktemp("audio"), sites, backends) as running:
        yield running


@pytest.fixture(scope="module")
def client(serve):
    with client_of(serve) as client:
        yield client


def wav(seconds):
    """Silence of 16,000 bytes a second, as a file with a name."""
    samples = b"\0" * (16_000 * seconds)
    head = b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 8_000, 16_000, 2, 16) + b"data" + struct.pack("<I", len(samples))
    file = io.BytesIO(b"RIFF" + struct.pack("<I", len(head) + len(samples)) + head + samples)
    file.name = "speech.wav"
    return file


def cost(serve, headers):
    wanted = headers["x-tokenbroker-request-id"]
    (attempt,) = eventually(lambda: booked_attempts(serve.data, wanted), 10, f"request {wanted} in the books")
    return Decimal(attempt["cost_pico_usd"]) / 10**12


def test_speech_comes_as_it_is_and_is_paid_by_its_characters(client, sites, serve):
    sites["north"].scripts.append((200, SOUND, "audio/mpeg"))
    whole = client.audio.speech.with_raw_response.create(model="voice", voice="alloy", input="h\u00e9llo \u4f60\u597d")
    assert (whole.parse().content, whole.headers["content-type"]) == (SOUND, "audio/mpeg")
    assert cost(serve, whole.headers) == Decimal(8 * 15) / 1_000_000
    path, _, body = sites["north"].asked[-1]
    assert (path, json.loads(body)["model"]) == ("/v1/audio/speech", "north-voice")
    sites["north"].scripts.append((200, SOUND, "audio/wav"))
    with client.audio.speech.with_streaming_response.create(model="voice", voice="alloy", input="hello", response_format="wav") as answer:
        assert b"".join(answer.iter_bytes()) == SOUND
    assert cost(serve, answer.headers) == Decimal(5 * 15) / 1_000_000


def test_speech_that_breaks_off_is_never_whole(client, sites):
    """The provider announces more than it sends."""
    class Short(bytes):
        def __len__(self):
            return super().__len__() + 1_000_000

    sites["north"].scripts.append((200, Short(SOUND), "audio/mpeg"))
    with pytest.raises((openai.APIConnectionError, openai.APIError)):
        client.audio.speech.create(model="voice", voice="alloy", input="hello").read()


def test_a_file_is_written_down_and_paid_by_its_time(client, sites, serve):
    told = {"text": "hello", "usage": {"type": "duration", "seconds": 9}}
    sites["north"].scripts.append((200, told))
    raw = client.audio.transcriptions.with_raw_response.create(model="ear", file=wav(2), language="en", temperature=0.2)
    assert (raw.parse().text, cost(serve, raw.headers)) == ("hello", Decimal("0.0009"))
    path, headers, body = sites["north"].asked[-1]
    assert path == "/v1/audio/transcriptions" and headers["content-type"].startswith("multipart/form-data; boundary=")
    assert b'name="model"\r\n\r\nnorth-ear\r\n' in body and wav(2).getvalue() in body
    for form, text, kind in (("text", "hello\n", "text/plain"), ("srt", "1\n00:00:00,000 --> 00:00:01,000\nhello\n", "text/plain"), ("vtt", "WEBVTT\n", "text/vtt")):
        sites["north"].scripts.append((200, text.encode(), kind))
        raw = client.audio.transcriptions.with_raw_response.create(model="ear", file=wav(2), response_format=form)
        assert (raw.parse(), cost(serve, raw.headers)) == (text, Decimal("0.0002"))
    verbose = {"task": "transcribe", "language": "english", "duration": 8.47, "text": "hello", "segments": []}
    sites["north"].scripts.append((200, verbose))
    raw = client.audio.transcriptions.with_raw_response.create(model="ear", file=wav(2), response_format="verbose_json")
    assert (raw.parse().duration, cost(serve, raw.headers)) == (8.47, Decimal("0.000847"))


def test_a_transcript_comes_as_a_stream(client, sites):
    told = [{"type": "transcript.text.delta", "delta": "hel"}, {"type": "transcript.text.done", "text": "hello"}]
    sites["north"].scripts.append([f"data: {json.dumps(event)}\n\n" for event in told])
    events = list(client.audio.transcriptions.create(model="ear", file=wav(1), stream=True))
    assert [event.type for event in events] == [event["type"] for event in told]
    assert events[-1].text == "hello"


def test_another_host_of_the_model_stands_in_and_others_are_named(client, sites):
    busy = (503, {"error": {"message": "busy"}})
    sites["north"].scripts.append(busy)
    sites["south"].scripts.append((200, SOUND, "audio/mpeg"))
    spoken = client.audio.speech.with_raw_response.create(model="voice", voice="alloy", input="hello")
    assert spoken.headers["x-tokenbroker-backend"] == "south/south-voice"
    sites["north"].scripts.append(busy)
    sites["south"].scripts.append((200, {"text": "hello"}))
    heard = client.audio.transcriptions.with_raw_response.create(model="ear", file=wav(1))
    assert heard.headers["x-tokenbroker-backend"] == "south/south-ear"
    with pytest.raises(openai.BadRequestError) as refusal:
        client.audio.transcriptions.create(model="voice", file=wav(1))
    assert (refusal.value.code, refusal.value.param) == ("no_adequate_backend", "model")
    assert "these models do: ear" in refusal.value.message
