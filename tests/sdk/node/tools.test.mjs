// Tool calls and structured output.

import assert from "node:assert/strict";
import { test } from "node:test";

import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

import { collect, oneBroker, user } from "./gateway.mjs";

const the = oneBroker();

const tool = (name, properties) => {
  const parameters = { type: "object", properties, required: Object.keys(properties), additionalProperties: false };
  return { type: "function", function: { name, description: `${name} now`, parameters } };
};
const UNIT = { type: "string", enum: ["celsius", "fahrenheit"] };
const WEATHER = tool("get_weather", { city: { type: "string" }, unit: UNIT });
const TIME = tool("get_time", { zone: { type: "string" } });
const NAMED = { type: "function", function: { name: "get_time" } };
const QUESTION = user("How warm is it in Hamburg?");
const Recipe = z.object({ name: z.string(), size: z.enum(["small", "large"]), steps: z.array(z.string()) });

function assertWeatherArguments(raw) {
  const { city, unit } = JSON.parse(raw);
  assert.equal(typeof city, "string");
  assert.ok(UNIT.enum.includes(unit));
}

/** The calls put together from their pieces, as [name, id, arguments] by their index. */
async function streamed(body) {
  const chunks = await collect(await the.broker.create({ ...body, stream: true }));
  const calls = [];
  for (const piece of chunks.flatMap((chunk) => chunk.choices[0].delta.tool_calls ?? [])) {
    const call = (calls[piece.index] ??= ["", "", ""]);
    [piece.function?.name, piece.id, piece.function?.arguments].forEach((text, place) => (call[place] += text ?? ""));
  }
  assert.equal(chunks.at(-1).choices[0].finish_reason, "tool_calls");
  return calls;
}

const names = (answer) => (answer.choices[0].message.tool_calls ?? []).map((call) => call.function.name);

test("the whole loop", async () => {
  const asked = [];
  const weather = { ...WEATHER.function, parse: JSON.parse, function: (args) => (asked.push(args), "eleven degrees") };
  const runner = the.broker.client.chat.completions.runTools({
    model: "auto",
    messages: QUESTION,
    tools: [{ type: "function", function: weather }],
  });
  assert.ok((await runner.finalContent()).includes("eleven degrees"));
  assert.equal(asked.length, 1);
  assertWeatherArguments(JSON.stringify(asked[0]));
});

test("a streamed call is put together from its pieces", async () => {
  const [[name, id, args], ...more] = await streamed({ messages: QUESTION, tools: [WEATHER] });
  assert.equal(more.length, 0);
  assert.equal(name, "get_weather");
  assert.ok(id);
  assertWeatherArguments(args);
});

test("tools are called at once unless forbidden", async () => {
  const both = { messages: QUESTION, tools: [WEATHER, TIME] };
  const at_once = await the.broker.forwarded({ ...both, parallel_tool_calls: true });
  assert.equal(at_once.sent.parallel_tool_calls, true);
  assert.deepEqual(names(at_once.answer), ["get_weather", "get_time"]);
  assert.deepEqual((await streamed(both)).map(([name]) => name), ["get_weather", "get_time"]);
  const one = await the.broker.forwarded({ ...both, parallel_tool_calls: false });
  assert.equal(one.sent.parallel_tool_calls, false);
  assert.equal(names(one.answer).length, 1);
});

test("a tool choice is kept", async () => {
  const both = ["get_weather", "get_time"];
  for (const [choice, expected] of [["none", []], ["auto", both], ["required", both], [NAMED, ["get_time"]]]) {
    const { sent, answer } = await the.broker.forwarded({ tools: [WEATHER, TIME], tool_choice: choice });
    assert.deepEqual(sent.tool_choice, choice);
    assert.deepEqual(names(answer), expected);
  }
});

test("a loop of several steps ends with what the last tool said", async () => {
  const steps = [];
  const weather = { ...WEATHER.function, parse: JSON.parse, function: () => `step ${steps.push("asked")}` };
  const runner = the.broker.client.chat.completions.runTools({
    model: "auto",
    messages: QUESTION,
    tools: [{ type: "function", function: weather }],
    sandbox: { tool_rounds: 3 },
  });
  assert.ok((await runner.finalContent()).includes("step 3"));
  assert.equal(steps.length, 3);
});

test("a zod schema comes back parsed", async () => {
  const body = { model: "auto", messages: user("A recipe for soup."), response_format: zodResponseFormat(Recipe, "recipe") };
  const answer = await the.broker.client.chat.completions.parse(body);
  assert.ok(Recipe.safeParse(answer.choices[0].message.parsed).success);
});

test("a zod schema comes back from a stream", async () => {
  const body = { model: "auto", messages: user("A recipe."), response_format: zodResponseFormat(Recipe, "recipe") };
  const answer = await the.broker.client.chat.completions.stream(body).finalChatCompletion();
  assert.ok(Recipe.safeParse(answer.choices[0].message.parsed).success);
});

test("a raw schema is satisfied", async () => {
  const properties = { colour: { type: "string", enum: ["red", "green"] }, count: { type: "integer" } };
  const schema = { type: "object", properties, required: ["colour", "count"], additionalProperties: false };
  const response_format = { type: "json_schema", json_schema: { name: "pick", strict: true, schema } };
  const { sent, answer } = await the.broker.forwarded({ messages: user("Pick."), response_format });
  assert.deepEqual(sent.response_format, response_format);
  const picked = JSON.parse(answer.choices[0].message.content);
  assert.deepEqual(Object.keys(picked).sort(), ["colour", "count"]);
  assert.ok(properties.colour.enum.includes(picked.colour) && Number.isInteger(picked.count));
});

test("json mode yields an object", async () => {
  const response_format = { type: "json_object" };
  const { sent, answer } = await the.broker.forwarded({ messages: user("Answer in JSON."), response_format });
  assert.deepEqual(sent.response_format, response_format);
  assert.equal(typeof JSON.parse(answer.choices[0].message.content), "object");
});
