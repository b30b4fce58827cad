"""Real prompts (English, Chinese, code, JSON, agents' tool schemas) from the public metering set beside the repository."""

import concurrent.futures
import json
import random

import pytest

from gateway import REPOSITORY, user

METERING = REPOSITORY.parent / "shared/data/metering"
SEED = 7
# The pretend providers take their time for each answer, so most of these wait.
WORKERS = 16

pytestmark = pytest.mark.skipif(not METERING.is_dir(), reason="skipped: not present: ../shared/data/metering")


def rows(name):
    with (METERING / name).open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def sample_of_texts():
    """Five of each class, and the three largest, which a sample would likely miss."""
    texts, rng = rows("texts.jsonl"), random.Random(SEED)
    chosen = {text["id"]: text for text in sorted(texts, key=lambda text: text["bytes"])[-3:]}
    for kind in sorted({text["class"] for text in texts}):
        for text in rng.sample([text for text in texts if text["class"] == kind], 5):
            chosen[text["id"]] = text
    return list(chosen.values())


def ask_all(broker, requests):
    with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
        return list(pool.map(lambda request: broker.client.chat.completions.create(model="auto", **request), requests))


def assert_reported_as_served(broker, before, answers):
    """The usage that the client was told is what the providers served, request for request."""
    told = sorted((answer.usage.prompt_tokens, answer.usage.completion_tokens) for answer in answers)
    served = sorted((row["input_tokens"], row["output_tokens"]) for row in broker.sandbox.served()[before:] if row["finished"])
    assert told == served


def test_real_texts_are_answered_and_metered(broker):
    texts = sample_of_texts()
    assert len(texts) >= 55
    before = len(broker.sandbox.served())
    answers = ask_all(broker, [{"messages": user(text["text"])} for text in texts])
    assert all(answer.choices[0].message.content for answer in answers)
    assert_reported_as_served(broker, before, answers)


def test_real_conversations_with_tools_are_answered(broker):
    requests, rng = rows("requests.jsonl"), random.Random(SEED)
    with_tools = [request for request in requests if "tools" in request]
    without = [request for request in requests if "tools" not in request]
    chosen = rng.sample(with_tools, 20) + rng.sample(without, 20)
    bodies = [{name: row[name] for name in ("messages", "tools") if name in row} for row in chosen]
    before = len(broker.sandbox.served())
    answers = ask_all(broker, bodies)
    for body, answer in zip(bodies, answers, strict=True):
        message = answer.choices[0].message
        assert message.content or message.tool_calls
        names = {tool["function"]["name"] for tool in body.get("tools", [])}
        assert {call.function.name for call in message.tool_calls or []} <= names
    assert any(answer.choices[0].message.tool_calls for answer in answers)
    assert_reported_as_served(broker, before, answers)
