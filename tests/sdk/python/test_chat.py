"""Plain chat, whole and streamed, with the sync and the async client."""

import asyncio
from decimal import Decimal

import pytest

from gateway import eventually, long_answer, user

STREAM_WITH_USAGE = {"stream": True, "stream_options": {"include_usage": True}}
# Seconds of streaming, of which the tests that abort see the beginning.
LENGTH = 600


def joined(chunks):
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def test_an_answer_comes_whole_and_metered(broker):
    answer, headers = broker.ask("Which river flows through Cologne?")
    assert answer.choices[0].message.content.startswith("[sandbox]")
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.prompt_tokens > 0 and answer.usage.completion_tokens > 0
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert Decimal(headers["x-tokenbroker-cost-usd"]) >= 0
    for name in ("request-id", "backend", "decision"):
        assert headers[f"x-tokenbroker-{name}"]


def test_a_clients_request_id_comes_back_beside_ours(broker):
    _, headers = broker.ask("hello", extra_headers={"x-request-id": "mine-17"})
    assert headers["x-request-id"] == "mine-17"
    assert headers["x-tokenbroker-request-id"] != "mine-17"


def test_the_output_bound_holds(broker):
    answer, _ = broker.ask("A story.", **{**long_answer(50), "max_tokens": 5})
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens <= 5


async def test_many_at_once_get_answers_of_their_own(broker):
    async with broker.serve.async_client() as client:
        create = client.chat.completions.with_raw_response.create
        answers = await asyncio.gather(*(create(model="auto", messages=user(f"Question {n}: 你好?")) for n in range(24)))
    assert len({answer.headers["x-tokenbroker-request-id"] for answer in answers}) == 24
    assert all(answer.parse().choices[0].message.content for answer in answers)


def test_a_stream_carries_no_usage_that_nobody_asked_for(broker):
    chunks = list(broker.client.chat.completions.create(model="auto", messages=user("Name three seas."), stream=True))
    assert joined(chunks).startswith("[sandbox]")
    assert len(chunks) > 2
    assert all(chunk.usage is None and chunk.choices for chunk in chunks)
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_a_stream_ends_with_the_usage_that_was_asked_for(broker):
    before = len(broker.sandbox.served())
    chunks = list(broker.client.chat.completions.create(model="auto", messages=user("Name three seas."), **STREAM_WITH_USAGE))
    assert chunks[-1].choices == []
    usage = chunks[-1].usage
    assert all(chunk.usage is None for chunk in chunks[:-1])
    entry = eventually(lambda: finished(broker, before), 5, "the finished request")[-1]
    assert (usage.prompt_tokens, usage.completion_tokens) == (entry["input_tokens"], entry["output_tokens"])


async def test_the_async_client_streams(broker):
    async with broker.serve.async_client() as client:
        stream = await client.chat.completions.create(model="auto", messages=user("数到五。"), **STREAM_WITH_USAGE)
        chunks = [chunk async for chunk in stream]
    assert joined(chunks).startswith("[sandbox]")
    assert chunks[-1].usage.completion_tokens > 0


def finished(broker, before):
    return [row for row in broker.sandbox.served()[before:] if row["finished"]]


def cut(broker, before):
    """The upstream requests since `before` whose client, the gateway, went away."""
    return [row for row in broker.sandbox.served()[before:] if row["client_gone"]]


def assert_cut_upstream(broker, before):
    """The provider noticed within a second, and generated no more than a part of its answer."""
    row = eventually(lambda: cut(broker, before), 1, "an upstream request that was cut")[-1]
    assert row["output_tokens"] < row["planned_output_tokens"]
    assert not row["finished"]


def test_closing_a_stream_early_cuts_the_upstream(broker):
    before = len(broker.sandbox.served())
    stream = broker.client.chat.completions.create(model="auto", messages=user("A story."), stream=True, **long_answer(LENGTH))
    next(stream)
    stream.close()
    assert_cut_upstream(broker, before)


async def test_cancelling_an_async_stream_cuts_the_upstream(broker):
    before = len(broker.sandbox.served())
    async with broker.serve.async_client() as client:
        stream = await client.chat.completions.create(model="auto", messages=user("A story."), stream=True, **long_answer(LENGTH))
        first = asyncio.Event()

        async def read():
            async with stream:
                async for _ in stream:
                    first.set()

        reader = asyncio.create_task(read())
        await first.wait()
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
    assert_cut_upstream(broker, before)
