"""SDKs over providers of another shape: OpenAI's chat over one that speaks Messages alone, Anthropic's over the sandbox's chat."""

import json

import anthropic
import openai
import pytest

from gateway import CLIENT_SECONDS, user
from messages_provider import message, refusal, stream, thinks_and_calls

WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CHAT_TOOL = {"type": "function", "function": {"name": "weather", "description": "by city", "parameters": WEATHER}}


@pytest.fixture
def claude(broker):
    """Anthropic's client of a gateway whose providers speak chat alone."""
    base = str(broker.client.base_url).removesuffix("/").removesuffix("/v1")
    return anthropic.Anthropic(base_url=base, api_key="any", max_retries=0, timeout=CLIENT_SECONDS)


def test_a_chat_loop_over_tools_keeps_its_signed_thoughts(north, openai_of_north):
    north.says(stream(thinks_and_calls(), "tool_use"))
    asked = user("Weather in Oslo?")
    with openai_of_north.chat.completions.stream(model="auto", messages=asked, tools=[CHAT_TOOL], max_tokens=4_000) as events:
        said = "".join(event.delta for event in events if event.type == "content.delta")
        answer = events.get_final_completion()
    choice = answer.choices[0]
    (call,) = choice.message.tool_calls
    assert (said, choice.finish_reason, choice.message.content) == ("One moment.", "tool_calls", "One moment.")
    assert (call.id, json.loads(call.function.arguments)) == ("toolu_1", {"city": "Oslo"})

    # As an application does that keeps the whole message.
    north.says((200, message([{"type": "tool_use", "id": "toolu_2", "name": "weather", "input": {"city": "Bergen"}}], stop="tool_use")))
    whole = openai_of_north.chat.completions.create(model="auto", messages=asked, tools=[CHAT_TOOL], max_tokens=4_000)
    assert json.loads(whole.choices[0].message.tool_calls[0].function.arguments) == {"city": "Bergen"}
    north.says((200, message([{"type": "text", "text": "4 degrees."}])))
    thought = {"type": "reasoning.text", "text": "Use it.", "signature": "c2ln", "format": "anthropic-claude-v1", "index": 0}
    turn = {"role": "assistant", "content": "One moment.", "reasoning_details": [thought], "tool_calls": [call.model_dump(exclude={"index"})]}
    result = {"role": "tool", "tool_call_id": call.id, "content": "4"}
    answer = openai_of_north.chat.completions.create(model="auto", messages=[*asked, turn, result], tools=[CHAT_TOOL], max_tokens=4_000)
    assert answer.choices[0].message.content == "4 degrees."
    sent = json.loads(north.asked[-1][2])["messages"]
    assert [block["type"] for block in sent[1]["content"]] == ["thinking", "text", "tool_use"]
    assert (sent[1]["content"][0]["signature"], sent[2]["content"][0]["tool_use_id"]) == ("c2ln", "toolu_1")


def test_a_refusal_of_messages_is_raised_as_openais_error(north, openai_of_north):
    north.says((400, refusal("invalid_request_error", "messages.0: odd")))
    with pytest.raises(openai.BadRequestError, match=r"messages\.0: odd"):
        openai_of_north.chat.completions.create(model="auto", messages=user("hi"))


def test_what_only_chat_can_say_is_refused(openai_of_north):
    with pytest.raises(openai.BadRequestError) as refused:
        openai_of_north.chat.completions.create(model="auto", messages=user("hi"), prediction={"type": "content", "content": "ho"})
    assert refused.value.code == "untranslatable"


def test_a_message_is_answered_by_chat(claude):
    answer = claude.messages.create(model="auto", max_tokens=64, system="Be brief.", messages=user("Say hello."))
    assert answer.content[0].text.startswith("[sandbox]")
    assert (answer.type, answer.stop_reason in ("end_turn", "max_tokens")) == ("message", True)
    assert answer.usage.input_tokens > 0 and 0 < answer.usage.output_tokens <= 64


def test_the_stream_helper_puts_an_answer_of_chat_together(claude):
    with claude.messages.stream(model="auto", max_tokens=64, messages=user("Say hello.")) as events:
        said = "".join(events.text_stream)
        final = events.get_final_message()
    assert final.content[0].text == said != ""
    assert final.usage.output_tokens > 0


def test_a_loop_over_tools_ends_at_chat(claude):
    tool = {"name": "weather", "description": "by city", "input_schema": WEATHER}
    asked = user("Weather in Oslo?")
    answer = claude.messages.create(model="auto", max_tokens=400, messages=asked, tools=[tool])
    calls = [block for block in answer.content if block.type == "tool_use"]
    assert answer.stop_reason == "tool_use" and calls and isinstance(calls[0].input, dict)
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": "4 degrees in the harbour"} for call in calls]
    history = [*asked, {"role": "assistant", "content": answer.content}, {"role": "user", "content": results}]
    answer = claude.messages.create(model="auto", max_tokens=400, messages=history, tools=[tool])
    assert "4 degrees in the harbour" in answer.content[0].text
