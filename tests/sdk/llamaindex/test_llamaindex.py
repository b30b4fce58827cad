"""LlamaIndex's agent over a provider of each shape, in an environment of its own: it wants an older `openai` than the others."""

import pytest
from agent_loop import Loops
from agent_providers import FILLED, NONE, QUESTION, ROUNDS, SYSTEM
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike

from gateway import CLIENT_SECONDS

# Neither signatures nor thoughts come back from it: what it has no word for is lost. It cannot put interleaving calls together.
PROOFS = {"chat": NONE, "reasoning": FILLED, "messages": NONE, "gemini": FILLED}


@pytest.fixture(scope="module")
def loops(tmp_path_factory):
    running = Loops(tmp_path_factory.mktemp("llamaindex"))
    yield running
    running.stop()


@pytest.mark.parametrize("mode", ["whole", "streamed"])
@pytest.mark.parametrize("provider", PROOFS)
async def test_llamaindexs_agent_runs_over_every_provider(loops, provider, mode):
    loop = loops.begin(provider)
    model = OpenAILike(
        model=provider, api_base=f"{loop.serve.api}/v1", api_key="any", is_chat_model=True, is_function_calling_model=True,
        context_window=200_000, max_retries=0, timeout=CLIENT_SECONDS, additional_kwargs={"reasoning_effort": "low"})
    agent = FunctionAgent(tools=[FunctionTool.from_defaults(loop.get_weather)], llm=model, system_prompt=SYSTEM, streaming=mode == "streamed")
    answer = await agent.run(QUESTION)
    assert loop.check(str(answer)) == [PROOFS[provider]] * len(ROUNDS)
