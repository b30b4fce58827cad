// The official openai package for Node.js against the real binary.

import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";

import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

import { Broker, eventually, user } from "./gateway.mjs";

// Seconds of streaming, of which the test that aborts sees the beginning.
const LENGTH = 600;
const WEATHER = {
  type: "function",
  function: {
    name: "get_weather",
    description: "The weather in a city now",
    parameters: {
      type: "object",
      properties: { city: { type: "string" } },
      required: ["city"],
      additionalProperties: false,
    },
  },
};

let broker;
let failed = false;

before(async () => {
  broker = await Broker.start();
});
afterEach((context) => {
  failed ||= context.error != null;
});
after(() => broker?.stop(failed));

const create = (body, options) => broker.client.chat.completions.create({ model: "auto", ...body }, options);

async function collect(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

test("an answer comes whole, metered and explained", async () => {
  const { data, response } = await create({ messages: user("Which river flows through Cologne?") }).withResponse();
  assert.match(data.choices[0].message.content, /^\[sandbox\]/);
  assert.equal(data.choices[0].finish_reason, "stop");
  assert.equal(data.usage.total_tokens, data.usage.prompt_tokens + data.usage.completion_tokens);
  for (const name of ["request-id", "backend", "decision"]) assert.ok(response.headers.get(`x-tokenbroker-${name}`));
  assert.match(response.headers.get("x-tokenbroker-cost-usd"), /^\d+(\.\d+)?$/);
});

test("a stream is joined from its pieces and carries no usage unasked", async () => {
  const chunks = await collect(await create({ messages: user("说一个笑话。"), stream: true }));
  const text = chunks.map((chunk) => chunk.choices[0].delta.content ?? "").join("");
  assert.match(text, /^\[sandbox\]/);
  assert.ok(chunks.every((chunk) => chunk.usage == null));
});

test("a stream ends with the usage that was asked for", async () => {
  const options = { stream: true, stream_options: { include_usage: true } };
  const chunks = await collect(await create({ messages: user("Name three seas."), ...options }));
  assert.deepEqual(chunks.at(-1).choices, []);
  assert.ok(chunks.at(-1).usage.completion_tokens > 0);
});

test("a tool is called, run by the SDK's own runner, and its result answered", async () => {
  const asked = [];
  const weather = { ...WEATHER.function, parse: JSON.parse, function: (args) => (asked.push(args), { degrees: 11 }) };
  const runner = broker.client.chat.completions.runTools({
    model: "auto",
    messages: user("How warm is it in Hamburg?"),
    tools: [{ type: "function", function: weather }],
  });
  assert.match(await runner.finalContent(), /^\[sandbox\]/);
  assert.equal(asked.length, 1);
  assert.equal(typeof asked[0].city, "string");
});

test("a streamed tool call can be put together", async () => {
  const chunks = await collect(await create({ messages: user("Weather in Hamburg?"), tools: [WEATHER], stream: true }));
  const pieces = chunks.flatMap((chunk) => chunk.choices[0].delta.tool_calls ?? []);
  assert.equal(pieces.map((piece) => piece.function.name ?? "").join(""), "get_weather");
  assert.equal(typeof JSON.parse(pieces.map((piece) => piece.function.arguments ?? "").join("")).city, "string");
  assert.equal(chunks.at(-1).choices[0].finish_reason, "tool_calls");
});

test("structured output is parsed by a zod schema", async () => {
  const Recipe = z.object({ name: z.string(), size: z.enum(["small", "large"]), steps: z.array(z.string()) });
  const answer = await broker.client.chat.completions.parse({
    model: "auto",
    messages: user("A recipe for soup."),
    response_format: zodResponseFormat(Recipe, "recipe"),
  });
  assert.ok(Recipe.safeParse(answer.choices[0].message.parsed).success);
});

test("an unknown model is a NotFoundError that names a near one", async () => {
  const names = (await collect(await broker.client.models.list())).map((model) => model.id);
  const known = names.filter((name) => !name.includes("/")).sort((a, b) => b.length - a.length)[0];
  await assert.rejects(create({ model: `${known.slice(0, -1)}~`, messages: user("hello") }), (refusal) => {
    assert.ok(refusal instanceof OpenAI.NotFoundError);
    assert.equal(refusal.code, "model_not_found");
    assert.ok(refusal.message.includes(known));
    return true;
  });
});

test("a malformed request is a BadRequestError", async () => {
  await assert.rejects(create({ messages: user("hello"), max_tokens: "many" }), OpenAI.BadRequestError);
});

test("models can be listed and retrieved", async () => {
  const listed = await collect(await broker.client.models.list());
  assert.ok(listed.some((model) => model.id === "auto"));
  assert.equal((await broker.client.models.retrieve("auto")).id, "auto");
});

test("aborting a stream cuts the upstream within a second", async () => {
  const before = (await broker.served()).length;
  const controller = new AbortController();
  const options = { signal: controller.signal };
  const long = { max_tokens: 4 * LENGTH, sandbox: { output_tokens: LENGTH } };
  const stream = await create({ messages: user("A story."), stream: true, ...long }, options);
  for await (const _ of stream) controller.abort();
  const cut = async () => (await broker.served()).slice(before).find((row) => row.client_gone);
  const row = await eventually(cut, 1000, "an upstream request that was cut");
  assert.ok(row.output_tokens < row.planned_output_tokens);
});
