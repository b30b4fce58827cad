// Vercel's AI SDK in front of a real inference server on a model of random weights: each call of a tool is forced, and what is
// asserted is structure (see ../../local/test_agents.py).

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { Output, generateText, isStepCount, streamText, tool } from "ai";
import { z } from "zod";

import { Broker, LOCAL, PYTHON, oneBroker } from "./gateway.mjs";

const PRINT = "import json, make_gguf; print(json.dumps(make_gguf.one_call()))";
/** What brings the model to one call and no more, beside the tool choice. */
const ONE_CALL = { logit_bias: JSON.parse(execFileSync(PYTHON, ["-c", PRINT], { cwd: LOCAL })), parallel_tool_calls: false };
const Pet = z.object({ kind: z.enum(["cat", "dog"]), age: z.int().min(0).max(99) });

const the = oneBroker(() => Broker.startLocal());

const model = () => {
  const settings = { name: "tokenbroker", baseURL: the.broker.baseURL, apiKey: "any", includeUsage: true };
  return createOpenAICompatible({ ...settings, supportsStructuredOutputs: true })("tiny-random");
};

/** A call at first, words after the tool's result. */
const agent = (asked) => ({
  model: model(),
  maxRetries: 0,
  prompt: "How warm?",
  tools: {
    get_weather: tool({
      description: "The weather in a city after some days",
      inputSchema: z.object({ city: z.enum(["Hamburg", "Bremen"]), days: z.int().min(1).max(7) }),
      execute: ({ city, days }) => (asked.push(city), `${city}: ${10 + days} degrees`),
    }),
  },
  stopWhen: isStepCount(3),
  maxOutputTokens: 200,
  prepareStep: ({ stepNumber }) =>
    stepNumber === 0
      ? { toolChoice: "required", providerOptions: { tokenbroker: ONE_CALL } }
      : { toolChoice: "none", providerOptions: { tokenbroker: { max_tokens: 12 } } },
});

async function assertLoop(steps, asked) {
  assert.equal(asked.length, 1);
  assert.equal(steps.length, 2);
  assert.match(String(steps[0].toolResults[0].output), /^(Hamburg|Bremen): 1[1-7] degrees$/);
  assert.equal(steps[1].toolCalls.length, 0);
  assert.ok(steps[1].text.length > 0);
  const told = steps.map(({ usage }) => [usage.inputTokens, usage.outputTokens]);
  const booked = await Promise.all(steps.map(({ response }) => the.broker.booked(new Headers(response.headers))));
  const tokens = ([attempt]) => [Number(attempt.fresh_input + attempt.cache_read), Number(attempt.output)];
  assert.deepEqual(booked.map(tokens), told);
  assert.ok(booked.every(([attempt]) => attempt.provenance === "reported"));
  assert.ok(told[1][0] > told[0][0]);
}

test("the ai sdks agent runs its loop over the local server", async () => {
  const asked = [];
  const { steps } = await generateText(agent(asked));
  await assertLoop(steps, asked);
});

test("the ai sdks agent streams its loop over the local server", async () => {
  const asked = [];
  const result = streamText({ ...agent(asked), onError: ({ error }) => assert.fail(error) });
  await result.consumeStream();
  await assertLoop(await result.steps, asked);
});

test("the ai sdk gets a structured answer from the local server", async () => {
  const { output } = await generateText({ model: model(), prompt: "A pet.", maxOutputTokens: 400, output: Output.object({ schema: Pet }) });
  assert.ok(Pet.safeParse(output).success);
});
