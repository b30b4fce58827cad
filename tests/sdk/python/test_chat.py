"""Plain chat, whole and streamed, with the sync and the async client."""

import asyncio
import http.client
from decimal import Decimal

import httpx2
import openai
import pytest

from books import usd
from gateway import eventually, long_answer, user

STREAM_WITH_USAGE = {"stream": True, "stream_options": {"include_usage": True}}
# Seconds of slow streaming, of which the tests that abort see the beginning.
LENGTH = 600


def joined(chunks):
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def test_an_answer_comes_whole_metered_and_explained(broker):
    before = broker.seen
    answer, headers = broker.ask("Which river flows through Cologne?")
    assert answer.choices[0].message.content.startswith("[sandbox]")
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].finish_reason == "stop"
    (row,) = broker.since(before)
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (row["input_tokens"], row["output_tokens"])
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert headers["x-tokenbroker-backend"].startswith(row["provider"])
    assert headers["x-tokenbroker-decision"]
    assert headers["x-request-id"] == headers["x-tokenbroker-request-id"]


def test_the_cost_in_the_header_is_the_true_one_and_the_booked_one(broker):
    for backend in broker.prices.backends:
        before = broker.seen
        name = backend.get("upstream_model", backend["model"])
        _, headers = broker.ask(f"To {name}: " + "count this. " * 50, model=f"{backend['provider']}/{name}")
        (row,) = broker.since(before)
        (attempt,) = broker.booked(headers)
        assert Decimal(headers["x-tokenbroker-cost-usd"]) == broker.prices.cost(row) == usd(attempt["cost_pico_usd"])
        assert attempt["fresh_input"] + attempt["cache_read"] == row["input_tokens"]
        assert (attempt["output"], attempt["provenance"]) == (row["output_tokens"], "reported")


def test_a_clients_request_id_comes_back_beside_ours(broker):
    _, headers = broker.ask("hello", extra_headers={"x-request-id": "mine-17"})
    assert headers["x-request-id"] == "mine-17"
    assert headers["x-tokenbroker-request-id"] != "mine-17"


def test_the_output_bound_holds(broker):
    answer, _ = broker.ask("A story.", **{**long_answer(50), "max_tokens": 5})
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens <= 5


async def test_many_at_once_get_answers_of_their_own(broker):
    before = broker.seen
    async with broker.serve.async_client() as client:
        create = client.chat.completions.with_raw_response.create
        answers = await asyncio.gather(*(create(model="auto", messages=user(f"Question {n}: 你好?")) for n in range(50)))
    assert len({answer.headers["x-tokenbroker-request-id"] for answer in answers}) == 50
    assert all(answer.parse().choices[0].message.content for answer in answers)
    told = sorted(Decimal(answer.headers["x-tokenbroker-cost-usd"]) for answer in answers)
    assert told == sorted(broker.prices.cost(row) for row in broker.since(before))


def test_one_connection_carries_many_requests(broker):
    with broker.serve.client() as client:
        create = client.chat.completions.with_streaming_response.create
        places = []
        for stream in (False, True, False):
            with create(model="auto", messages=user("hello"), stream=stream) as answer:
                places.append(answer.http_response.extensions["network_stream"].get_extra_info("client_addr"))
                for _ in answer.iter_bytes():
                    pass
    assert len(set(places)) == 1


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


def test_usage_is_told_as_asked_whatever_the_provider_does_by_itself(broker):
    """This provider sends usage unasked: a client that did not ask is spared it, and it is booked all the same."""
    before = broker.seen
    create = broker.client.chat.completions.with_raw_response.create
    raw = create(model="fjord-small", messages=user("Name three seas."), stream=True)
    assert all(chunk.usage is None and chunk.choices for chunk in raw.parse())
    (row,) = broker.since(before)
    (attempt,) = broker.booked(raw.headers)
    assert (attempt["output"], attempt["provenance"]) == (row["output_tokens"], "reported")
    *_, last = create(model="fjord-small", messages=user("Name three seas."), **STREAM_WITH_USAGE).parse()
    assert last.usage.completion_tokens == row["output_tokens"]


def test_the_sdks_own_stream_helper_puts_an_answer_together(broker):
    whole, _ = broker.ask("Name three seas.", model="local-mini")
    with broker.client.chat.completions.stream(model="local-mini", messages=user("Name three seas.")) as stream:
        events = list(stream)
        final = stream.get_final_completion()
    assert {"content.delta", "content.done"} <= {event.type for event in events}
    assert final.choices[0].message.content == whole.choices[0].message.content


class TrailerTransport(httpx2.BaseTransport):
    """HTTP for the SDK that keeps what comes behind the body: the SDK's own transport drops it."""

    class Response(http.client.HTTPResponse):
        def _read_and_discard_trailer(self):
            self.trailers = http.client.parse_headers(self.fp)

    def handle_request(self, request):
        connection = http.client.HTTPConnection(request.url.host, request.url.port, timeout=30)
        connection.response_class = self.Response
        headers = {**request.headers, "te": "trailers"}
        connection.request(request.method, request.url.path, request.read(), headers)
        answer = connection.getresponse()
        content = answer.read()
        self.trailers = answer.trailers
        return httpx2.Response(answer.status, headers=answer.getheaders(), content=content)


def test_a_streams_cost_comes_as_a_trailer(broker):
    transport = TrailerTransport()
    before = broker.seen
    with broker.serve.client(http_client=openai.DefaultHttpxClient(transport=transport)) as client:
        raw = client.chat.completions.with_raw_response.create(model="pearl-long", messages=user("A story."), stream=True)
        assert joined(list(raw.parse())).startswith("[sandbox]")
    assert raw.headers["trailer"] == "x-tokenbroker-cost-usd"
    (row,) = broker.since(before)
    (attempt,) = broker.booked(raw.headers)
    assert Decimal(transport.trailers["x-tokenbroker-cost-usd"]) == broker.prices.cost(row) == usd(attempt["cost_pico_usd"])
    assert usd(attempt["cost_pico_usd"]) > 0


def test_a_client_that_gives_up_waiting_cuts_the_upstream(broker, faults):
    faults("slow", latency_ms=60_000)
    before = broker.seen
    with pytest.raises(openai.APITimeoutError):
        broker.client.with_options(timeout=0.2).chat.completions.create(model="auto", messages=user("A story."))
    assert_cut_upstream(broker, before)


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


def test_closing_a_stream_early_cuts_the_upstream(broker, slow):
    before = len(broker.sandbox.served())
    stream = broker.client.chat.completions.create(model="auto", messages=user("A story."), stream=True, **long_answer(LENGTH))
    next(stream)
    stream.close()
    assert_cut_upstream(broker, before)


async def test_cancelling_an_async_stream_cuts_the_upstream(broker, slow):
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
