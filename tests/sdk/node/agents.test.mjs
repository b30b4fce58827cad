// An agent of Vercel's AI SDK over a provider of each kind, through each API that it speaks: two rounds of tools, the first with two
// calls at once. The providers are those of ../python/agent_providers.py, which refuse a history that is not as they told it.

import assert from "node:assert/strict";
import { test } from "node:test";

import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, isStepCount, streamText, tool } from "ai";
import { z } from "zod";

import { Broker, oneBroker } from "./gateway.mjs";

const the = oneBroker(() => Broker.startAgents());

const MODELS = {
  chat: (provider) => createOpenAICompatible({ name: "tokenbroker", baseURL: the.broker.baseURL, apiKey: "any", includeUsage: true })(provider),
  responses: (provider) => createOpenAI({ baseURL: the.broker.baseURL, apiKey: "any" }).responses(provider),
  messages: (provider) => createAnthropic({ baseURL: the.broker.baseURL, apiKey: "any" })(provider),
};
const OPTIONS = {
  tokenbroker: { reasoningEffort: "low" },
  openai: { store: false, forceReasoning: true, reasoningEffort: "low", include: ["reasoning.encrypted_content"] },
  anthropic: { thinking: { type: "enabled", budgetTokens: 1024 } },
};
/** What is proved of the thoughts of each round: as they were given, by a word for a lost proof, or not at all. */
const PROOFS = {
  chat: { chat: "none", interleaving: "none", reasoning: "given", messages: "none", gemini: "given" },
  responses: { chat: "none", interleaving: "none", reasoning: "given", messages: "given", gemini: "given" },
  messages: { chat: "none", interleaving: "none", reasoning: "given", messages: "given", gemini: "given" },
};

const agent = (api, provider, asked) => ({
  model: MODELS[api](provider),
  maxRetries: 0,
  maxOutputTokens: 4096,
  instructions: the.broker.script.system,
  prompt: the.broker.script.question,
  providerOptions: OPTIONS,
  stopWhen: isStepCount(5),
  tools: {
    get_weather: tool({
      description: "The weather in a city now",
      inputSchema: z.object({ city: z.string() }),
      execute: ({ city }) => (asked.push(city), `${10 + city.length} degrees in ${city}`),
    }),
  },
});

async function check(api, provider, run) {
  const asked = [];
  await the.broker.log(provider);
  const { steps, text } = await run(agent(api, provider, asked));
  const { wrong, proofs } = await the.broker.log(provider);
  assert.deepEqual(wrong, []);
  const { answer, told } = the.broker.script;
  assert.equal(text, answer);
  assert.deepEqual(asked.toSorted(), ["Hamburg", "Oslo", "奥斯陆"]);
  assert.deepEqual(steps.map(({ usage }) => [usage.inputTokens, usage.outputTokens]), told);
  const booked = await Promise.all(steps.map(({ response }) => the.broker.booked(new Headers(response.headers))));
  assert.deepEqual(booked.map(([row]) => [Number(row.fresh_input + row.cache_read), Number(row.output)]), told);
  assert.deepEqual(proofs, [PROOFS[api][provider], PROOFS[api][provider]]);
}

async function overAll(run) {
  for (const [api, providers] of Object.entries(PROOFS)) {
    for (const provider of Object.keys(providers)) {
      await check(api, provider, run).catch((reason) => {
        throw new Error(`${api} over ${provider}`, { cause: reason });
      });
    }
  }
}

test("the ai sdks agent runs over every provider", () =>
  overAll(async (options) => {
    const { steps, text } = await generateText(options);
    return { steps, text };
  }));

test("the ai sdks agent streams over every provider", () =>
  overAll(async (options) => {
    const result = streamText({ ...options, onError: () => {} });
    for await (const part of result.fullStream) if (part.type === "error") throw part.error;
    return { steps: await result.steps, text: await result.text };
  }));
