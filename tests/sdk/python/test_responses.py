"""OpenAI's Responses by its own SDK: over chat providers, and over one that speaks Messages alone."""

import asyncio
import json

import openai
import pytest
from pydantic import BaseModel

from gateway import user
from messages_provider import message, stream, thinks_and_calls

WEATHER = {
    "type": "function",
    "name": "weather",
    "description": "by city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False},
    "strict": True,
}


def test_an_answer_comes_whole_metered_and_explained(broker):
    before = broker.seen
    raw = broker.client.responses.with_raw_response.create(model="auto", input="Which river flows through Cologne?", instructions="Be brief.")
    answer = raw.parse()
    assert answer.output_text.startswith("[sandbox]")
    assert (answer.status, answer.object, answer.instructions) == ("completed", "response", "Be brief.")
    assert answer.id == f"resp_{raw.headers['x-tokenbroker-request-id']}"
    (row,) = broker.since(before)
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (row["input_tokens"], row["output_tokens"])
    assert raw.headers["x-tokenbroker-backend"].startswith(row["provider"])


def test_a_stream_adds_up(broker):
    events = list(broker.client.responses.create(model="auto", input=user("Say hello."), stream=True))
    assert [event.type for event in events[:2]] == ["response.created", "response.in_progress"]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    told = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert events[-1].type == "response.completed"
    assert events[-1].response.output_text == told != ""
    assert events[-1].response.usage.total_tokens > 0


def test_an_asynchronous_client_streams_too(broker):
    async def told():
        async with broker.serve.async_client() as client, client.responses.stream(model="auto", input="Say hello.") as stream:
            final = await stream.get_final_response()
        return final.output_text

    assert asyncio.run(told()).startswith("[sandbox]")


def test_an_answer_that_is_cut_is_incomplete(broker):
    answer = broker.client.responses.create(model="auto", input="A long story.", max_output_tokens=5)
    assert answer.usage.output_tokens <= 5
    assert (answer.status, answer.incomplete_details.reason) == ("incomplete", "max_output_tokens")


def test_a_loop_of_tools_keeps_its_thoughts(north, openai_of_north):
    north.says(stream(thinks_and_calls(), "tool_use"))
    asked = user("Weather in Oslo?")
    with openai_of_north.responses.stream(model="auto", input=asked, tools=[WEATHER], max_output_tokens=4_000) as events:
        kinds = [event.type for event in events]
        answer = events.get_final_response()
    assert [item.type for item in answer.output] == ["reasoning", "message", "function_call"]
    assert kinds.count("response.output_item.done") == 3
    thought, said, call = answer.output
    assert (thought.summary[0].text, said.content[0].text) == ("Use it.", "One moment.")
    assert (call.call_id, json.loads(call.arguments)) == ("toolu_1", {"city": "Oslo"})

    north.says((200, message([{"type": "text", "text": "4 degrees."}])))
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "4"}
    history = [*asked, *(item.model_dump(exclude_none=True) for item in answer.output), result]
    answer = openai_of_north.responses.create(model="auto", input=history, tools=[WEATHER], max_output_tokens=4_000)
    assert answer.output_text == "4 degrees."
    sent = json.loads(north.asked[-1][2])
    assert [turn["role"] for turn in sent["messages"]] == ["user", "assistant", "user"]
    assert sent["messages"][1]["content"][-1]["input"] == {"city": "Oslo"}
    assert sent["messages"][2]["content"][0]["tool_use_id"] == "toolu_1"


class Weather(BaseModel):
    city: str
    degrees: int


def test_a_structured_answer_is_parsed(north, openai_of_north):
    north.says((200, message([{"type": "text", "text": '{"city": "Oslo", "degrees": 4}'}])))
    answer = openai_of_north.responses.parse(model="auto", input="Weather in Oslo?", text_format=Weather)
    assert answer.output_parsed == Weather(city="Oslo", degrees=4)


@pytest.mark.parametrize(
    ("more", "code", "param"),
    [
        ({"previous_response_id": "resp_1"}, "unsupported_parameter", "previous_response_id"),
        ({"input": []}, "invalid_value", "input"),
        ({"tools": [{"type": "web_search"}]}, "untranslatable", None),
    ],
)
def test_what_cannot_be_served_is_refused(broker, more, code, param):
    with pytest.raises(openai.BadRequestError) as refused:
        broker.client.responses.create(**{"model": "auto", "input": "hi", **more})
    assert (refused.value.code, refused.value.param) == (code, param)


def test_no_answer_is_stored(broker):
    answer = broker.client.responses.create(model="auto", input="hi")
    with pytest.raises(openai.NotFoundError) as missing:
        broker.client.responses.retrieve(answer.id)
    assert missing.value.code == "response_not_found"
