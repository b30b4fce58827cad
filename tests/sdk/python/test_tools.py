"""Tool calls: asked for, streamed, answered, and the conversation that goes on after them."""

import json

from gateway import user

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city now",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]}},
            "required": ["city", "unit"],
            "additionalProperties": False,
        },
    },
}
QUESTION = "How warm is it in Hamburg?"


def assert_weather_arguments(raw):
    arguments = json.loads(raw)
    assert isinstance(arguments["city"], str)
    assert arguments["unit"] in ("celsius", "fahrenheit")


def call_whole(client, messages):
    answer = client.chat.completions.create(model="auto", messages=messages, tools=[WEATHER])
    assert answer.choices[0].finish_reason == "tool_calls"
    return answer.choices[0].message.tool_calls[0]


def call_streamed(client, messages):
    """The call put together from its pieces, as an agent does it, and as plain values."""
    name, identifier, arguments, ending = "", "", "", None
    for chunk in client.chat.completions.create(model="auto", messages=messages, tools=[WEATHER], stream=True):
        choice = chunk.choices[0]
        ending = choice.finish_reason or ending
        for piece in choice.delta.tool_calls or []:
            assert piece.index == 0
            identifier += piece.id or ""
            name += piece.function.name or ""
            arguments += piece.function.arguments or ""
    assert ending == "tool_calls"
    return identifier, name, arguments


def after_tool(client, messages, identifier, arguments):
    """The last turn: the model has the result and answers in words."""
    call = {"id": identifier, "type": "function", "function": {"name": "get_weather", "arguments": arguments}}
    result = {"role": "tool", "tool_call_id": identifier, "content": '{"degrees": 11}'}
    talk = [*messages, {"role": "assistant", "content": None, "tool_calls": [call]}, result]
    return client.chat.completions.create(model="auto", messages=talk, tools=[WEATHER]).choices[0]


def test_the_whole_loop(broker):
    call = call_whole(broker.client, user(QUESTION))
    assert call.function.name == "get_weather"
    assert_weather_arguments(call.function.arguments)
    last = after_tool(broker.client, user(QUESTION), call.id, call.function.arguments)
    assert last.finish_reason == "stop"
    assert last.message.content.startswith("[sandbox]")


def test_the_whole_loop_with_a_streamed_call(broker):
    identifier, name, arguments = call_streamed(broker.client, user(QUESTION))
    assert name == "get_weather"
    assert_weather_arguments(arguments)
    assert after_tool(broker.client, user(QUESTION), identifier, arguments).finish_reason == "stop"


def test_a_client_that_forbids_tools_gets_words(broker):
    answer, _ = broker.ask(QUESTION, tools=[WEATHER], tool_choice="none")
    assert answer.choices[0].message.tool_calls is None
    assert answer.choices[0].finish_reason == "stop"
