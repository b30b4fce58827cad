"""Anthropic's own SDK through the gateway: messages, streams, tools, thinking, counting and errors, natively."""

import json
from decimal import Decimal

import anthropic
import pytest

from books import booked_attempts, usd
from gateway import CLIENT_SECONDS, eventually, user
from http_provider import KEY
from messages_provider import MODEL, event, message, refusal, stream

TEXT = {"type": "text", "text": ""}
WEATHER = {"name": "weather", "description": "by city", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}


def text(*pieces):
    return TEXT, [{"type": "text_delta", "text": piece} for piece in pieces]


@pytest.fixture(scope="module")
def client(over_north):
    return anthropic.Anthropic(base_url=over_north.api, api_key="any", max_retries=0, timeout=CLIENT_SECONDS)


def sdk_version(client):
    """The version of the API that this SDK asks for."""
    return client.default_headers["anthropic-version"]


def ask(client, **more):
    return client.messages.create(**{"model": "auto", "max_tokens": 64, "messages": user("Say hello."), **more})


def cost(serve, response):
    wanted = response.headers["x-tokenbroker-request-id"]
    (attempt,) = eventually(lambda: booked_attempts(serve.data, wanted), 10, f"request {wanted} in the books")
    return usd(attempt["cost_pico_usd"])


def test_a_message_comes_whole_and_metered(north, over_north, client):
    usage = {"input_tokens": 10, "cache_read_input_tokens": 900, "cache_creation_input_tokens": 100, "output_tokens": 7}
    north.says((200, message([{"type": "text", "text": "Hello."}], usage=usage)))
    raw = client.messages.with_raw_response.create(
        model="auto", max_tokens=64, system="Be brief.", messages=user("Say hello."), extra_body={"tokenbroker": {"session": "s"}})
    answer = raw.parse()
    assert (answer.content[0].text, answer.stop_reason, answer.usage.cache_read_input_tokens) == ("Hello.", "end_turn", 900)
    assert raw.headers["request-id"] == raw.headers["x-tokenbroker-request-id"] == answer._request_id
    assert raw.headers["x-tokenbroker-backend"] == f"north/{MODEL}"
    # 10 at a dollar a million, 900 at 0.1, 100 at 1.25, and 7 out at 2.
    assert cost(over_north, raw) == Decimal(raw.headers["x-tokenbroker-cost-usd"]) == Decimal("0.000239")
    sent, headers = north.body(), north.headers()
    assert (sent["model"], sent["system"], "tokenbroker" in sent) == (MODEL, "Be brief.", False)
    assert (headers["x-api-key"], headers["anthropic-version"], "authorization" in headers) == (KEY, sdk_version(client), False)


def test_the_stream_helper_puts_a_message_together(north, over_north, client):
    thinking = {"type": "thinking", "thinking": "", "signature": ""}, [
        {"type": "thinking_delta", "thinking": "Hm, "}, {"type": "thinking_delta", "thinking": "yes."},
        {"type": "signature_delta", "signature": "c2ln"}]
    north.says(stream([thinking, text("Hel", "lo, 你好.")]))
    with client.messages.stream(
        model="jade", max_tokens=4096, thinking={"type": "enabled", "budget_tokens": 1024}, messages=user("Say hello.")
    ) as events:
        assert "".join(events.text_stream) == "Hello, 你好."
        final = events.get_final_message()
    assert (final.content[0].thinking, final.content[0].signature, final.content[1].text) == ("Hm, yes.", "c2ln", "Hello, 你好.")
    assert (final.usage.input_tokens, final.usage.output_tokens) == (12, 7)
    assert cost(over_north, events.response) == Decimal("0.000026")


def test_a_loop_over_tools_with_signed_thinking_ends_with_an_answer(north, client):
    thought = {"type": "thinking", "thinking": "Use the tool.", "signature": "c2lnbmF0dXJl/+=="}
    call = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Oslo"}}
    north.says((200, message([thought, call], "tool_use")), (200, message([{"type": "text", "text": "Four degrees."}])))
    said = user("Weather in Oslo?")
    more = {"tools": [WEATHER], "thinking": {"type": "enabled", "budget_tokens": 32}}
    first = ask(client, messages=said, **more)
    assert (first.stop_reason, first.content[1].input) == ("tool_use", {"city": "Oslo"})
    result = {"type": "tool_result", "tool_use_id": first.content[1].id, "content": json.dumps({"deg": 4})}
    said = [*said, {"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
    assert ask(client, messages=said, **more).content[0].text == "Four degrees."
    back = north.body()["messages"][1]["content"]
    assert (back[0], back[1]["input"]) == (thought, {"city": "Oslo"})


def test_a_streamed_tool_call_is_put_together(north, client):
    call = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}}
    pieces = ["", '{"city"', ':"奥斯陆"}']
    north.says(stream([(call, [{"type": "input_json_delta", "partial_json": piece} for piece in pieces])], "tool_use"))
    with client.messages.stream(
        model="auto", max_tokens=64, messages=user("Weather?"), tools=[WEATHER], tool_choice={"type": "any"}
    ) as events:
        final = events.get_final_message()
    assert (final.stop_reason, final.content[0].input) == ("tool_use", {"city": "奥斯陆"})


def test_tokens_are_counted_without_asking_anybody(north, client):
    before = north.says()
    short = client.messages.count_tokens(model="jade", messages=user("Say hello."))
    long = client.messages.count_tokens(model="jade", messages=user("Say hello. " * 200), tools=[WEATHER], system="Be brief.")
    assert 3 <= short.input_tokens <= 40 and 500 <= long.input_tokens <= 2000
    assert len(north.asked) == before


def test_models_are_listed_in_their_shape(client):
    models = list(client.models.list())
    assert {"auto", "jade", f"north/{MODEL}"} <= {model.id for model in models}
    assert client.models.retrieve("jade").display_name == "jade"


def test_a_bearer_is_let_in_as_well(north, over_north):
    north.says((200, message([{"type": "text", "text": "Hello."}])))
    with anthropic.Anthropic(base_url=over_north.api, auth_token="any", max_retries=0) as bearer:
        assert ask(bearer).content[0].text == "Hello."


@pytest.mark.parametrize("status, kind, said, expected", [
    (400, "invalid_request_error", "messages.1: tool_use ids were found without tool_result blocks", anthropic.BadRequestError),
    (429, "rate_limit_error", "Slow down.", anthropic.InternalServerError),
    (529, "overloaded_error", "Overloaded", anthropic.InternalServerError),
])
def test_what_a_provider_refuses_is_raised_as_their_error(north, client, status, kind, said, expected):
    north.says((status, refusal(kind, said)))
    with pytest.raises(expected) as raised:
        ask(client)
    body = raised.value.body
    assert body["type"] == "error" and said in body["error"]["message"]
    assert raised.value.request_id == raised.value.response.headers["x-tokenbroker-request-id"]


def test_what_the_gateway_refuses_is_raised_as_their_error(client):
    with pytest.raises(anthropic.NotFoundError) as unknown:
        ask(client, model="jadw")
    assert unknown.value.body["error"]["type"] == "not_found_error" and "`jade`" in unknown.value.message
    with pytest.raises(anthropic.BadRequestError) as misspelt:
        ask(client, extra_body={"tokenbroker": {"qualty": "x"}})
    assert misspelt.value.body["error"]["param"] == "tokenbroker.qualty"
    with pytest.raises(anthropic.BadRequestError) as unfit:
        ask(client, extra_body={"tokenbroker": {"regions": ["EU"]}})
    assert unfit.value.body["error"]["code"] == "no_adequate_backend"


def test_a_stream_that_breaks_off_is_raised(north, client):
    whole = stream([text("Hel", "lo.")])
    north.says(whole[:4])
    with pytest.raises(anthropic.APIStatusError) as raised, client.messages.stream(
        model="auto", max_tokens=64, messages=user("Say hello.")
    ) as events:
        heard = "".join(events.text_stream)
        pytest.fail(f"it ended as if whole: {heard}")
    assert raised.value.body["error"]["code"] == "upstream_truncated"
    north.says([*whole[:4], event("error", error={"type": "overloaded_error", "message": "Overloaded"})])
    with pytest.raises(anthropic.APIStatusError) as told:
        for _ in ask(client, stream=True):
            pass
    assert told.value.body["error"]["type"] == "overloaded_error"
