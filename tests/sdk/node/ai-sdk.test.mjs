// An agent of Vercel's AI SDK over the gateway: it asks for a tool, the tool runs, its result goes back, the answer quotes it.

import assert from "node:assert/strict";
import { test } from "node:test";

import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, Output, generateText, isStepCount, streamText, tool } from "ai";
import { z } from "zod";

import { oneBroker, pico, trueAmount } from "./gateway.mjs";

// The agent's model asks for a tool this often before it answers.
const ROUNDS = 2;
const QUESTION = "How warm is it in Hamburg?";
const Verdict = z.object({ degrees: z.int(), summary: z.string() });

const the = oneBroker();

/** The AI SDK's own way to a server of OpenAI's dialect; structured output by a JSON schema. */
const compatible = () =>
  createOpenAICompatible({ name: "tokenbroker", baseURL: the.broker.baseURL, apiKey: "any", includeUsage: true, supportsStructuredOutputs: true });

/** What every call of these tests shares: no retries, and the rounds of tools. */
const agent = (asked, rounds = ROUNDS) => ({
  model: compatible()("auto"),
  maxRetries: 0,
  tools: {
    get_weather: tool({
      description: "The weather in a city now",
      inputSchema: z.object({ city: z.string() }),
      execute: ({ city }) => `${10 + asked.push(city)} degrees`,
    }),
  },
  stopWhen: isStepCount(ROUNDS + 3),
  providerOptions: { tokenbroker: { sandbox: { tool_rounds: rounds } } },
});

/** Runs an agent: the provider served, and the gateway booked, the tokens that each of its steps was told. */
async function metered(run) {
  const before = await the.broker.seen();
  const { steps, ...result } = await run();
  const told = steps.map(({ usage }) => [usage.inputTokens, usage.outputTokens]);
  const rows = await the.broker.since(before);
  assert.deepEqual(rows.map((row) => [row.input_tokens, row.output_tokens]), told);
  const booked = await Promise.all(steps.map(({ response }) => the.broker.booked(new Headers(response.headers))));
  const tokens = ([attempt]) => [Number(attempt.fresh_input + attempt.cache_read), Number(attempt.output)];
  assert.deepEqual(booked.map(tokens), told);
  booked.forEach(([attempt], step) => assert.equal(attempt.amount_pico, trueAmount(rows[step], attempt)));
  return { steps, ...result, rows };
}

function assertWholeLoop(steps, text, asked) {
  assert.equal(asked.length, ROUNDS);
  assert.deepEqual(steps.map((step) => step.finishReason), [...Array(ROUNDS).fill("tool-calls"), "stop"]);
  for (const step of steps.slice(0, -1)) {
    assert.equal(step.toolCalls[0].toolName, "get_weather");
    assert.equal(step.toolResults[0].toolCallId, step.toolCalls[0].toolCallId);
  }
  assert.ok(text.includes(`${10 + ROUNDS} degrees`), text);
}

test("the ai sdks agent runs its loop", async () => {
  const asked = [];
  const { steps, text, totalUsage, rows } = await metered(async () => {
    const result = await generateText({ ...agent(asked), prompt: QUESTION });
    return { steps: result.steps, text: result.text, totalUsage: result.totalUsage };
  });
  assertWholeLoop(steps, text, asked);
  assert.equal(totalUsage.outputTokens, rows.reduce((sum, row) => sum + row.output_tokens, 0));
  const sent = JSON.parse(await the.broker.body(rows.at(-1)));
  assert.deepEqual(sent.messages.map(({ role }) => role), ["user", ...Array(ROUNDS).fill(["assistant", "tool"]).flat()]);
});

test("the ai sdks agent streams its loop", async () => {
  const asked = [];
  const kinds = [];
  const { steps, text } = await metered(async () => {
    const result = streamText({ ...agent(asked), prompt: QUESTION, onError: ({ error }) => assert.fail(error) });
    for await (const part of result.fullStream) kinds.push(part.type);
    return { steps: await result.steps, text: await result.text };
  });
  assertWholeLoop(steps, text, asked);
  assert.ok(kinds.filter((kind) => kind === "text-delta").length > 5);
  assert.equal(kinds.filter((kind) => kind === "tool-result").length, ROUNDS);
});

test("the ai sdks agent ends with a structured answer", async () => {
  const asked = [];
  const { output, rows } = await metered(async () => {
    const result = await generateText({ ...agent(asked, 1), prompt: QUESTION, output: Output.object({ schema: Verdict }) });
    return { steps: result.steps, output: result.output };
  });
  assert.ok(Verdict.safeParse(output).success);
  assert.equal(asked.length, 1);
  assert.equal(JSON.parse(await the.broker.body(rows.at(-1))).response_format.type, "json_schema");
});

test("the ai sdk streams a structured answer", async () => {
  const result = streamText({ model: compatible()("auto"), prompt: "A verdict.", output: Output.object({ schema: Verdict }) });
  const parts = [];
  for await (const part of result.partialOutputStream) parts.push(part);
  assert.ok(parts.length > 1);
  assert.ok(Verdict.safeParse(await result.output).success);
});

test("the ai sdk takes wishes and shows the headers", async () => {
  const providerOptions = { tokenbroker: { tokenbroker: { providers: ["sandbox-fjord"] } } };
  const { rows, headers } = await metered(async () => {
    const { response, steps } = await generateText({ model: compatible()("auto"), prompt: "hello", providerOptions });
    return { steps, headers: response.headers };
  });
  assert.equal(rows[0].provider, "sandbox-fjord");
  const [attempt] = await the.broker.booked(new Headers(headers));
  assert.equal(pico(headers["x-tokenbroker-cost-usd"]), attempt.cost_pico_usd);
});

test("the ai sdks openai provider is served", async () => {
  const asked = [];
  const openai = createOpenAI({ baseURL: the.broker.baseURL, apiKey: "any" });
  const { text, steps } = await generateText({ ...agent(asked, 1), model: openai.chat("auto"), prompt: QUESTION });
  assert.equal(steps.length, 2);
  assert.ok(text.includes("11 degrees"));
});

test("the ai sdk does not retry what no retry mends", async () => {
  const asked = generateText({ model: compatible()("no-such-model"), prompt: "hello", maxRetries: 2 });
  await assert.rejects(asked, (failure) => {
    assert.ok(APICallError.isInstance(failure));
    assert.deepEqual([failure.statusCode, failure.isRetryable], [404, false]);
    return true;
  });
});
