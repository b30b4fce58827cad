"""Tools and agents in front of the real inference server.

Its model says nothing sensible, so each call is forced: `tool_choice` puts the server under its own grammar for a call, whose
arguments this model then fills in by chance within the tool's schema. What is asserted is structure.
"""

import json
import math

import pytest
from books import booked_usage
from gateway import CLIENT_SECONDS, eventually, user
from langchain.agents import create_agent
from langchain.agents.middleware import wrap_model_call
from langchain.tools import tool
from langchain_openai import ChatOpenAI
from make_gguf import one_call
from pydantic import BaseModel, Field
from typing_extensions import Literal

MODEL = "tiny-random"
CITIES = ["Hamburg", "Bremen"]
PARAMETERS = {
    "type": "object",
    "properties": {"city": {"enum": CITIES}, "days": {"type": "integer", "minimum": 1, "maximum": 7}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
WEATHER = {"type": "function", "function": {"name": "get_weather", "description": "In days", "parameters": PARAMETERS}}
# What brings the model to one call and no more, beside the tool choice.
ONE_CALL = {"logit_bias": one_call(), "parallel_tool_calls": False}
FORCED = {"model": MODEL, "messages": user("hi"), "tools": [WEATHER], "tool_choice": "required", **ONE_CALL}


def assert_arguments(raw):
    arguments = json.loads(raw) if isinstance(raw, str) else raw
    assert arguments["city"] in CITIES and 1 <= arguments["days"] <= 7


def assert_booked_last(local, told):
    """The newest rows, once they are the expected ones: rows follow the journal."""
    expected = [(*tokens, "reported", "complete") for tokens in told]
    eventually(lambda: booked_usage(local.serve.data)[-len(told) :] == expected, 5, f"last rows of {expected}")


def test_a_forced_call_comes_whole_and_streamed(local):
    answer = local.client.chat.completions.create(**FORCED)
    assert answer.choices[0].finish_reason == "tool_calls"
    (call,) = answer.choices[0].message.tool_calls
    assert call.function.name == "get_weather"
    assert_arguments(call.function.arguments)
    with local.client.chat.completions.stream(**FORCED) as stream:
        streamed = stream.get_final_completion().choices[0]
    assert streamed.finish_reason == "tool_calls"
    assert streamed.message.tool_calls[0].function.name == "get_weather"
    assert_arguments(streamed.message.tool_calls[0].function.arguments)


def test_the_servers_arguments_are_passed_on_in_pieces(local):
    pieces = [
        piece.function.arguments
        for chunk in local.client.chat.completions.create(**FORCED, stream=True)
        for piece in chunk.choices[0].delta.tool_calls or []
    ]
    assert len(pieces) > 5
    assert_arguments("".join(pieces))


class Pet(BaseModel):
    kind: Literal["cat", "dog"]
    age: int = Field(ge=0, le=99)


@wrap_model_call
def force_the_first_step(request, handler):
    """A call at first, words after the tool's result."""
    first = all(message.type == "human" for message in request.messages)
    settings = ONE_CALL if first else {"max_tokens": 12}
    return handler(request.override(tool_choice="required" if first else "none", model_settings=settings))


@pytest.fixture
def model(local):
    return ChatOpenAI(
        base_url=f"{local.serve.api}/v1", api_key="any", model=MODEL, max_retries=0, timeout=CLIENT_SECONDS, stream_usage=True
    )


@pytest.fixture
def weather():
    @tool(args_schema=PARAMETERS)
    def get_weather(city, days) -> str:
        """The weather in a city after some days."""
        assert city in CITIES and 1 <= days <= 7
        return f"{city}: {10 + days} degrees"

    return get_weather


@pytest.mark.parametrize("mode", ["invoke", "stream"])
def test_langchains_agent_runs_its_loop(local, model, weather, mode):
    agent = create_agent(model, [weather], middleware=[force_the_first_step])
    start = {"messages": user("How warm?")}
    state = agent.invoke(start) if mode == "invoke" else [*agent.stream(start, stream_mode="values")][-1]
    messages = state["messages"]
    assert [message.type for message in messages] == ["human", "ai", "tool", "ai"]
    assert_arguments(messages[1].tool_calls[0]["args"])
    assert "degrees" in messages[2].text and messages[2].status == "success"
    assert len(messages[3].text) == 12 and not messages[3].tool_calls
    told = [(message.usage_metadata["input_tokens"], message.usage_metadata["output_tokens"]) for message in messages[1::2]]
    assert_booked_last(local, told)
    # The second prompt has the call and its result on top.
    assert told[1][0] > told[0][0]


def test_langchains_model_gives_a_structured_answer(model):
    pet = model.with_structured_output(Pet, method="json_schema").invoke("A pet.")
    assert pet.kind in ("cat", "dog") and math.isfinite(pet.age)


def test_the_sdk_parses_a_structured_answer(local):
    answer = local.client.chat.completions.parse(model=MODEL, messages=user("A pet."), response_format=Pet, max_tokens=400)
    assert isinstance(answer.choices[0].message.parsed, Pet)
