"""What clients are told keeps to the public shapes: the SDKs' own models, with every member and every word checked, over the golden
files of every translated pair. In use these SDKs check nothing, and a client in a stricter language does."""

import json
import pathlib
import re

import pytest
from anthropic.types import Message, RawMessageStreamEvent
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter, ValidationError

PAIRS = pathlib.Path(__file__).resolve().parents[2] / "fixtures/pairs"
# Of each client: a whole answer, and what its stream consists of.
SHAPES = {
    "openai-chat": (TypeAdapter(ChatCompletion), TypeAdapter(ChatCompletionChunk)),
    "openai-responses": (TypeAdapter(Response), TypeAdapter(ResponseStreamEvent)),
    "anthropic-messages": (TypeAdapter(Message), TypeAdapter(RawMessageStreamEvent)),
}
TRANSLATED = [
    (client, provider)
    for client in SHAPES
    for provider in ("openai-chat", "openai-responses", "anthropic-messages", "gemini-generate-content", "bedrock-converse")
    if client != provider
]


def cases(client, provider, kind):
    """(name, what the client is told) of a golden file."""
    text = (PAIRS / client / f"{provider}.{kind}").read_text()
    names_and_bodies = re.split(r"^=== (.+)$", text, flags=re.MULTILINE)[1:]
    return zip(names_and_bodies[::2], names_and_bodies[1::2])


def problems(shape, told):
    """What of it is not as the public shape has it."""
    try:
        shape.validate_python(told)
    except ValidationError as error:
        return [(".".join(map(str, problem["loc"])), problem["msg"]) for problem in error.errors()]
    return []


@pytest.mark.parametrize(("client", "provider"), TRANSLATED)
def test_whole_answers_have_the_public_shape(client, provider):
    shape, _ = SHAPES[client]
    checked = 0
    for name, body in cases(client, provider, "answers"):
        # An error stands behind its cause and status.
        if body.strip().startswith("{"):
            assert problems(shape, json.loads(body)) == [], name
            checked += 1
    assert checked > 3


def data(stream):
    return [line.removeprefix("data:").strip() for line in stream.splitlines() if line.startswith("data:")]


def told(client, event):
    """The event as far as its shape is the vendor's: a frame of chat or Messages that tells an error has no model in the SDKs, nor
    has a ping."""
    failed = event["response"]["error"] if client == "openai-responses" and event["type"] == "response.failed" else {}
    # OpenAI's API tells it, and its SDK's list of codes does not have it.
    if failed.get("code") == "context_length_exceeded":
        failed["code"] = "server_error"
    # The SDK's model of a whole answer knows calls of custom tools, its model of a chunk does not.
    for choice in event.get("choices", []):
        for call in choice["delta"].get("tool_calls") or []:
            if call.get("type") == "custom":
                assert isinstance(call["custom"]["name"], str) and isinstance(call["custom"]["input"], str)
                del call["type"]
    return None if "error" in event or event.get("type") == "ping" else event


@pytest.mark.parametrize(("client", "provider"), TRANSLATED)
def test_streams_have_the_public_shape_event_by_event(client, provider):
    _, shape = SHAPES[client]
    checked = 0
    for name, stream in cases(client, provider, "streams"):
        for text in data(stream):
            event = None if text == "[DONE]" else told(client, json.loads(text))
            if event is not None:
                assert problems(shape, event) == [], (name, text)
                checked += 1
    assert checked > 30


@pytest.mark.parametrize("client", SHAPES)
def test_a_member_that_is_missing_or_of_another_word_would_be_found(client):
    shape, _ = SHAPES[client]
    name, body = next((name, body) for name, body in cases(client, "gemini-generate-content", "answers") if body.strip().startswith("{"))
    whole = json.loads(body)
    assert problems(shape, whole) == [], name
    for member in ("id", "model"):
        assert problems(shape, {key: value for key, value in whole.items() if key != member}), member
    kind = {"openai-chat": "object", "openai-responses": "status", "anthropic-messages": "stop_reason"}[client]
    assert problems(shape, {**whole, kind: "odd"}), kind
