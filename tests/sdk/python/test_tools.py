"""Tool calls: asked for, streamed, answered, and the conversation that goes on after them."""

import json

import pytest

from gateway import user


def tool(name, **properties):
    parameters = {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}
    return {"type": "function", "function": {"name": name, "description": f"{name} now", "parameters": parameters}}


UNIT = {"type": "string", "enum": ["celsius", "fahrenheit"]}
WEATHER = tool("get_weather", city={"type": "string"}, unit=UNIT)
TIME = tool("get_time", zone={"type": "string"})
QUESTION = "How warm is it in Hamburg?"
NAMED = {"type": "function", "function": {"name": "get_time"}}


def assert_weather_arguments(raw):
    arguments = json.loads(raw)
    assert isinstance(arguments["city"], str)
    assert arguments["unit"] in ("celsius", "fahrenheit")


def streamed(client, **body):
    """The calls put together from their pieces, as an agent does it: [name, id, arguments] by their index."""
    calls, ending = {}, None
    for chunk in client.chat.completions.create(model="auto", stream=True, **body):
        choice = chunk.choices[0]
        ending = choice.finish_reason or ending
        for piece in choice.delta.tool_calls or []:
            call = calls.setdefault(piece.index, ["", "", ""])
            for place, text in enumerate((piece.function.name, piece.id, piece.function.arguments)):
                call[place] += text or ""
    assert ending == "tool_calls"
    return [calls[index] for index in sorted(calls)]


def test_the_whole_loop(broker):
    sent, _, answer = broker.forwarded(messages=user(QUESTION), tools=[WEATHER])
    assert sent["tools"] == [WEATHER]
    assert answer.choices[0].finish_reason == "tool_calls"
    (call,) = answer.choices[0].message.tool_calls
    assert call.function.name == "get_weather"
    assert_weather_arguments(call.function.arguments)
    talk = [*user(QUESTION), answer.choices[0].message.model_dump(exclude_none=True)]
    talk += [{"role": "tool", "tool_call_id": call.id, "content": "eleven degrees"}]
    sent, _, last = broker.forwarded(messages=talk, tools=[WEATHER])
    assert sent["messages"] == talk
    assert last.choices[0].finish_reason == "stop"
    assert "eleven degrees" in last.choices[0].message.content


def test_a_streamed_call_is_put_together_from_its_pieces(broker):
    ((name, identifier, arguments),) = streamed(broker.client, messages=user(QUESTION), tools=[WEATHER])
    assert name == "get_weather" and identifier
    assert_weather_arguments(arguments)


def test_tools_are_called_at_once_unless_forbidden(broker):
    both = {"messages": user(QUESTION), "tools": [WEATHER, TIME]}
    sent, _, answer = broker.forwarded(**both, parallel_tool_calls=True)
    assert sent["parallel_tool_calls"] is True
    assert [call.function.name for call in answer.choices[0].message.tool_calls] == ["get_weather", "get_time"]
    assert [name for name, _, _ in streamed(broker.client, **both)] == ["get_weather", "get_time"]
    sent, _, answer = broker.forwarded(**both, parallel_tool_calls=False)
    assert sent["parallel_tool_calls"] is False
    assert len(answer.choices[0].message.tool_calls) == 1


@pytest.mark.parametrize("choice", ["none", "auto", "required", NAMED], ids=["none", "auto", "required", "named"])
def test_a_tool_choice_is_kept(broker, choice):
    sent, row, answer = broker.forwarded(tools=[WEATHER, TIME], tool_choice=choice)
    assert sent["tool_choice"] == choice
    names = [call.function.name for call in answer.choices[0].message.tool_calls or []]
    expected = {"none": [], "auto": ["get_weather", "get_time"], "required": ["get_weather", "get_time"]}
    assert names == (["get_time"] if choice is NAMED else expected[choice])
    if choice in ("required", NAMED):
        assert "forced_tool" in broker.prices.backend(row["provider"], row["model"])["features"]


def test_a_loop_of_several_steps_ends_with_what_the_last_tool_said(broker):
    talk, extra = user(QUESTION), {"sandbox": {"tool_rounds": 3}}
    for step in range(3):
        message = broker.ask(messages=talk, tools=[WEATHER], extra_body=extra)[0].choices[0].message
        talk.append(message.model_dump(exclude_none=True))
        talk.append({"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": f"step {step}"})
    last, _ = broker.ask(messages=talk, tools=[WEATHER], extra_body=extra)
    assert "step 2" in last.choices[0].message.content
    assert not last.choices[0].message.tool_calls
