"""Agents of three frameworks over a provider of each kind, through each API that they speak: two rounds of tools, the first with two
calls at once."""

import agents
import pytest
from agent_loop import Loops
from agent_providers import FILLED, GIVEN, NONE, PROVIDERS, QUESTION, ROUNDS, SYSTEM
from langchain.agents import create_agent
from langchain.messages import AIMessage
from langchain.tools import tool
from langchain_anthropic import ChatAnthropic
from langchain_openai import ChatOpenAI
from openai.types.shared import Reasoning
from pydantic_ai import Agent
from pydantic_ai.messages import ModelResponse
from pydantic_ai.models.anthropic import AnthropicModel, AnthropicModelSettings
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIChatModelSettings, OpenAIResponsesModel, OpenAIResponsesModelSettings
from pydantic_ai.profiles.openai import OpenAIModelProfile
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider

from gateway import CLIENT_SECONDS

agents.set_tracing_disabled(True)
MODES = ["whole", "streamed"]
# Of a model whose name it knows pydantic-ai would assume it.
KEEPS_THOUGHTS = OpenAIModelProfile(openai_supports_encrypted_reasoning_content=True)
THINKING = {"type": "enabled", "budget_tokens": 1024}


def kept(api, provider, thoughts_in_chat=True, seals_in_chat=True):
    """What is proved of the thoughts of each round by a framework that gives back all it has a word for. For signatures chat has
    OpenRouter's words, which none of these knows, and Google's, and some have none for thoughts either."""
    if provider in ("chat", "interleaving"):
        proof = NONE
    elif api == "chat":
        proof = {"reasoning": GIVEN if thoughts_in_chat else FILLED, "messages": NONE, "gemini": GIVEN if seals_in_chat else FILLED}[provider]
    else:
        proof = GIVEN
    return [proof] * len(ROUNDS)


@pytest.fixture(scope="module")
def loops(tmp_path_factory):
    running = Loops(tmp_path_factory.mktemp("agents"))
    yield running
    running.stop()


def langchain_model(serve, api, provider):
    common = {"model": provider, "api_key": "any", "max_retries": 0, "timeout": CLIENT_SECONDS}
    if api == "messages":
        return ChatAnthropic(base_url=serve.api, max_tokens=4096, thinking=THINKING, **common)
    common |= {"base_url": f"{serve.api}/v1", "stream_usage": True}
    if api == "responses":
        return ChatOpenAI(use_responses_api=True, store=False, reasoning={"effort": "low"}, include=["reasoning.encrypted_content"], **common)
    return ChatOpenAI(reasoning_effort="low", **common)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("api", ["chat", "responses", "messages"])
def test_langchains_agent_runs_over_every_provider(loops, api, provider, mode):
    loop = loops.begin(provider)
    agent = create_agent(langchain_model(loop.serve, api, provider), [tool(loop.get_weather)], system_prompt=SYSTEM)
    said = {"messages": [{"role": "user", "content": QUESTION}]}
    state = agent.invoke(said) if mode == "whole" else None
    for kind, event in agent.stream(said, stream_mode=["messages", "values"]) if state is None else ():
        state = event if kind == "values" else state
    answers = [message for message in state["messages"] if isinstance(message, AIMessage)]
    usages = [message.usage_metadata for message in answers]
    proofs = loop.check(answers[-1].text, [(usage["input_tokens"], usage["output_tokens"]) for usage in usages])
    assert proofs == kept(api, provider, thoughts_in_chat=False, seals_in_chat=False)


def pydantic_model(serve, api, provider):
    if api == "messages":
        through = AnthropicProvider(api_key="any", base_url=serve.api)
        return AnthropicModel(provider, provider=through), AnthropicModelSettings(anthropic_thinking=THINKING, max_tokens=4096)
    through = OpenAIProvider(base_url=f"{serve.api}/v1", api_key="any")
    if api == "responses":
        return OpenAIResponsesModel(provider, provider=through, profile=KEEPS_THOUGHTS), OpenAIResponsesModelSettings(openai_reasoning_effort="low")
    return OpenAIChatModel(provider, provider=through), OpenAIChatModelSettings(openai_reasoning_effort="low")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("api", ["chat", "responses", "messages"])
async def test_pydantic_ais_agent_runs_over_every_provider(loops, api, provider, mode):
    loop = loops.begin(provider)
    model, settings = pydantic_model(loop.serve, api, provider)
    agent = Agent(model, instructions=SYSTEM, tools=[loop.get_weather], model_settings=settings)
    if mode == "whole":
        result = await agent.run(QUESTION)
        text, messages = result.output, result.all_messages()
    else:
        async with agent.run_stream(QUESTION) as result:
            text, messages = await result.get_output(), result.all_messages()
    usages = [message.usage for message in messages if isinstance(message, ModelResponse)]
    proofs = loop.check(text, [(usage.input_tokens, usage.output_tokens) for usage in usages])
    assert proofs == kept(api, provider)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("api", ["chat", "responses"])
async def test_openais_agents_sdk_runs_over_every_provider(loops, api, provider, mode):
    loop = loops.begin(provider)
    kind = agents.OpenAIChatCompletionsModel if api == "chat" else agents.OpenAIResponsesModel
    settings = agents.ModelSettings(reasoning=Reasoning(effort="low"), include_usage=True, store=False, response_include=["reasoning.encrypted_content"])
    async with loop.serve.async_client() as client:
        agent = agents.Agent(
            name="weather", instructions=SYSTEM, model=kind(provider, client), model_settings=settings, tools=[agents.function_tool(loop.get_weather)])
        if mode == "whole":
            result = await agents.Runner.run(agent, QUESTION)
        else:
            result = agents.Runner.run_streamed(agent, QUESTION)
            async for _ in result.stream_events():
                pass
    usages = [response.usage for response in result.raw_responses]
    proofs = loop.check(result.final_output, [(usage.input_tokens, usage.output_tokens) for usage in usages])
    assert proofs == kept(api, provider, thoughts_in_chat=False)
