"""An agent of LangChain over the gateway: it asks for a tool, the tool runs, its result goes back, the answer quotes it."""

import json
import time
from decimal import Decimal

import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain.messages import AIMessage, ToolMessage
from langchain.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

from books import booked_requests, usd
from gateway import CLIENT_SECONDS, eventually

QUESTION = {"messages": [{"role": "user", "content": "How warm is it in Hamburg?"}]}
# The agent's model asks for a tool this often before it answers.
ROUNDS = 2


class Verdict(BaseModel):
    """How the weather is."""

    degrees: int
    summary: str


@pytest.fixture
def asked():
    return []


@pytest.fixture
def weather(asked):
    @tool
    def get_weather(city: str) -> str:
        """The weather in a city now."""
        asked.append(city)
        return f"{10 + len(asked)} degrees"

    return get_weather


def model(broker, **options):
    options = {"model": "auto", "max_retries": 0, "timeout": CLIENT_SECONDS, **options}
    return ChatOpenAI(base_url=f"{broker.serve.api}/v1", api_key="any", stream_usage=True, **options)


def rounds(count):
    return {"extra_body": {"sandbox": {"tool_rounds": count}}}


def metered(messages):
    """(input, output) tokens of each answer of the model, as LangChain tells them."""
    usages = [message.usage_metadata for message in messages if isinstance(message, AIMessage)]
    assert all(usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"] for usage in usages)
    return [(usage["input_tokens"], usage["output_tokens"]) for usage in usages]


class Books:
    """What was served and booked since this was made."""

    def __init__(self, broker):
        self.broker, self.before = broker, broker.seen
        # By the time, since what came before may not have reached the file yet.
        self.since = time.time_ns() // 1000

    def agree(self, told):
        """The provider served, and the gateway booked, the tokens that the agent was told, at the table's price."""
        rows = self.broker.since(self.before)
        assert [(row["input_tokens"], row["output_tokens"]) for row in rows] == told
        booked = eventually(lambda: self.booked(len(told)), 10, f"{len(told)} requests in the books")
        inputs = [row["fresh_input"] + row["cache_read"] + row["cache_write"] for row in booked]
        assert list(zip(inputs, [row["output"] for row in booked], strict=True)) == told
        assert [usd(row["cost_pico_usd"]) for row in booked] == [self.broker.prices.cost(row) for row in rows]
        return rows

    def booked(self, count):
        rows = booked_requests(self.broker.serve.data, self.since)
        return rows if len(rows) >= count else None


def assert_whole_loop(messages, asked):
    """A call, its result, a second call, its result, words that quote the last result."""
    assert len(asked) == ROUNDS
    kinds = [message.type for message in messages]
    assert kinds == ["human", *["ai", "tool"] * ROUNDS, "ai"]
    for call, result in zip(messages[1:-1:2], messages[2:-1:2], strict=True):
        assert isinstance(result, ToolMessage) and result.tool_call_id == call.tool_calls[0]["id"]
    assert not messages[-1].tool_calls
    assert f"{10 + ROUNDS} degrees" in messages[-1].text


def test_langchains_agent_runs_its_loop(broker, weather, asked):
    books = Books(broker)
    agent = create_agent(model(broker, **rounds(ROUNDS)), [weather], system_prompt="You know the weather.")
    messages = agent.invoke(QUESTION)["messages"]
    assert_whole_loop(messages, asked)
    rows = books.agree(metered(messages))
    sent = json.loads(broker.sandbox.body(rows[-1]))
    assert [message["role"] for message in sent["messages"]] == ["system", "user", *["assistant", "tool"] * ROUNDS]
    assert sent["tools"][0]["function"]["name"] == "get_weather"


def test_langchains_agent_streams_its_loop(broker, weather, asked):
    books = Books(broker)
    agent = create_agent(model(broker, **rounds(ROUNDS)), [weather])
    pieces, states = [], []
    for mode, event in agent.stream(QUESTION, stream_mode=["messages", "values"]):
        (pieces if mode == "messages" else states).append(event)
    messages = states[-1]["messages"]
    assert_whole_loop(messages, asked)
    words = [piece for piece, _ in pieces if piece.id == messages[-1].id]
    assert len(words) > 5
    assert "".join(piece.text for piece in words) == messages[-1].text
    books.agree(metered(messages))


async def test_langchains_agent_runs_and_streams_its_loop_asynchronously(broker, weather, asked):
    """One test, since LangChain keeps an async HTTP client beyond the event loop that it was made in."""
    books = Books(broker)
    agent = create_agent(model(broker, **rounds(ROUNDS)), [weather])
    messages = (await agent.ainvoke(QUESTION))["messages"]
    assert_whole_loop(messages, asked)
    asked.clear()
    states = [state async for state in agent.astream(QUESTION, stream_mode="values")]
    assert_whole_loop(states[-1]["messages"], asked)
    books.agree(metered(messages) + metered(states[-1]["messages"]))


@pytest.mark.parametrize("strategy", [ProviderStrategy, ToolStrategy])
def test_langchains_agent_ends_with_a_structured_answer(broker, weather, asked, strategy):
    """By a response format after the tools, or by a tool whose arguments are the answer."""
    books = Books(broker)
    state = create_agent(model(broker), [weather], response_format=strategy(Verdict)).invoke(QUESTION)
    assert isinstance(state["structured_response"], Verdict)
    assert asked
    rows = books.agree(metered(state["messages"]))
    sent = json.loads(broker.sandbox.body(rows[-1]))
    if strategy is ProviderStrategy:
        assert sent["response_format"]["type"] == "json_schema"
    else:
        assert sent["tool_choice"] == "required"


def test_langchains_model_takes_wishes_and_shows_the_headers(broker):
    wishes = {"extra_body": {"tokenbroker": {"providers": ["sandbox-fjord"]}}, "include_response_headers": True}
    books = Books(broker)
    answer = model(broker, **wishes).invoke("hello")
    (row,) = books.agree(metered([answer]))
    assert row["provider"] == "sandbox-fjord"
    headers = answer.response_metadata["headers"]
    assert Decimal(headers["x-tokenbroker-cost-usd"]) == broker.prices.cost(row)


def test_langchains_model_gives_a_structured_answer(broker):
    answer = model(broker).with_structured_output(Verdict, method="json_schema").invoke("How is the weather?")
    assert isinstance(answer, Verdict)
