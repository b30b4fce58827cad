// Plain chat, whole and streamed: the answer, what is said of it in headers, and what it cost.

import assert from "node:assert/strict";
import http from "node:http";
import { test } from "node:test";

import OpenAI from "openai";

import { eventually } from "../../program.mjs";
import { collect, fetchWithTrailers, joined, longAnswer, oneBroker, pico, trueAmount, user } from "./gateway.mjs";

const STREAM_WITH_USAGE = { stream: true, stream_options: { include_usage: true } };
// Seconds of slow streaming, of which the tests that abort see the beginning.
const LENGTH = 600;

const the = oneBroker();

test("an answer comes whole metered and explained", async () => {
  const { row, answer, headers } = await the.broker.forwarded({ messages: user("Which river flows through Cologne?") });
  assert.match(answer.choices[0].message.content, /^\[sandbox\]/);
  assert.equal(answer.choices[0].finish_reason, "stop");
  const { prompt_tokens, completion_tokens, total_tokens } = answer.usage;
  assert.deepEqual([prompt_tokens, completion_tokens], [row.input_tokens, row.output_tokens]);
  assert.equal(total_tokens, prompt_tokens + completion_tokens);
  assert.ok(headers.get("x-tokenbroker-backend").startsWith(row.provider));
  assert.ok(headers.get("x-tokenbroker-decision"));
  assert.equal(headers.get("x-request-id"), headers.get("x-tokenbroker-request-id"));
});

test("the cost in the header is the true one and the booked one", async () => {
  for (const { backend } of (await the.broker.decide()).candidates) {
    const messages = user(`To ${backend}: ${"count this. ".repeat(50)}`);
    const { row, headers } = await the.broker.forwarded({ model: backend, messages });
    const [attempt] = await the.broker.booked(headers);
    assert.equal(attempt.amount_pico, trueAmount(row, attempt));
    assert.equal(pico(headers.get("x-tokenbroker-cost-usd")), attempt.cost_pico_usd);
    assert.equal(attempt.output, BigInt(row.output_tokens));
    assert.equal(attempt.provenance, "reported");
  }
});

test("a clients request id comes back beside ours", async () => {
  const { headers } = await the.broker.forwarded({}, { headers: { "x-request-id": "mine-17" } });
  assert.equal(headers.get("x-request-id"), "mine-17");
  assert.notEqual(headers.get("x-tokenbroker-request-id"), "mine-17");
});

test("the output bound holds", async () => {
  const { answer } = await the.broker.forwarded({ ...longAnswer(50), max_tokens: 5 });
  assert.equal(answer.choices[0].finish_reason, "length");
  assert.equal(answer.usage.completion_tokens, 5);
});

test("many at once get answers of their own", async () => {
  const before = await the.broker.seen();
  const ask = (_, n) => the.broker.create({ messages: user(`Question ${n}: 你好?`) }).withResponse();
  const answers = await Promise.all(Array.from({ length: 50 }, ask));
  assert.equal(new Set(answers.map(({ response }) => response.headers.get("x-tokenbroker-request-id"))).size, 50);
  const told = answers.map(({ data }) => data.usage.completion_tokens).sort();
  assert.deepEqual(told, (await the.broker.since(before)).map((row) => row.output_tokens).sort());
});

test("one connection carries many requests", async () => {
  const notes = [];
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  const client = the.broker.clientWith({ fetch: fetchWithTrailers(notes, agent) });
  for (const stream of [false, true, false]) {
    const answer = await client.chat.completions.create({ model: "auto", messages: user("hello"), stream });
    if (stream) await collect(answer);
  }
  agent.destroy();
  assert.equal(notes.length, 3);
  assert.equal(new Set(notes.map((note) => note.port)).size, 1);
});

test("a stream carries no usage that nobody asked for", async () => {
  const chunks = await collect(await the.broker.create({ messages: user("说一个笑话。"), stream: true }));
  assert.match(joined(chunks), /^\[sandbox\]/);
  assert.ok(chunks.length > 2 && chunks.every((chunk) => chunk.usage == null && chunk.choices.length === 1));
  assert.equal(chunks.at(-1).choices[0].finish_reason, "stop");
});

test("a stream ends with the usage that was asked for", async () => {
  const before = await the.broker.seen();
  const chunks = await collect(await the.broker.create({ messages: user("Name three seas."), ...STREAM_WITH_USAGE }));
  const last = chunks.pop();
  assert.deepEqual(last.choices, []);
  assert.ok(chunks.every((chunk) => chunk.usage == null));
  const [row] = await the.broker.since(before);
  assert.deepEqual([last.usage.prompt_tokens, last.usage.completion_tokens], [row.input_tokens, row.output_tokens]);
});

test("usage is told as asked whatever the provider does by itself", async () => {
  const body = { model: "fjord-small", messages: user("Name three seas."), stream: true };
  const before = await the.broker.seen();
  const { data, response } = await the.broker.create(body).withResponse();
  assert.ok((await collect(data)).every((chunk) => chunk.usage == null && chunk.choices.length === 1));
  const [row] = await the.broker.since(before);
  const [attempt] = await the.broker.booked(response.headers);
  assert.deepEqual([attempt.output, attempt.provenance], [BigInt(row.output_tokens), "reported"]);
  const chunks = await collect(await the.broker.create({ ...body, ...STREAM_WITH_USAGE }));
  assert.equal(chunks.at(-1).usage.completion_tokens, row.output_tokens);
});

test("the sdks own stream helper puts an answer together", async () => {
  const body = { model: "local-mini", messages: user("Name three seas.") };
  const { answer } = await the.broker.forwarded(body);
  const stream = the.broker.client.chat.completions.stream(body);
  const pieces = [];
  stream.on("content", (delta) => pieces.push(delta));
  assert.equal(await stream.finalContent(), answer.choices[0].message.content);
  assert.equal(pieces.join(""), answer.choices[0].message.content);
});

test("a streams cost comes as a trailer", async () => {
  const notes = [];
  const client = the.broker.clientWith({ fetch: fetchWithTrailers(notes) });
  const before = await the.broker.seen();
  const body = { model: "pearl-long", messages: user("A story."), stream: true };
  const { data, response } = await client.chat.completions.create(body).withResponse();
  assert.match(joined(await collect(data)), /^\[sandbox\]/);
  assert.equal(response.headers.get("trailer"), "x-tokenbroker-cost-usd");
  const [row] = await the.broker.since(before);
  const [attempt] = await the.broker.booked(response.headers);
  assert.equal(attempt.amount_pico, trueAmount(row, attempt));
  assert.equal(pico(notes[0].trailers["x-tokenbroker-cost-usd"]), attempt.cost_pico_usd);
  assert.ok(attempt.cost_pico_usd > 0n);
});

/** The provider noticed within a second, and generated no more than a part of its answer. */
async function assertCutUpstream(before) {
  const cut = async () => (await the.broker.served()).slice(before).find((row) => row.client_gone);
  const row = await eventually(cut, 1000, "an upstream request that was cut");
  assert.ok(row.output_tokens < row.planned_output_tokens && !row.finished);
}

test("closing a stream early cuts the upstream", async () => {
  await the.broker.order("slow", { token_ms: 5 });
  const before = await the.broker.seen();
  const stream = await the.broker.create({ messages: user("A story."), stream: true, ...longAnswer(LENGTH) });
  for await (const _ of stream) break;
  await assertCutUpstream(before);
});

test("aborting a stream cuts the upstream", async () => {
  await the.broker.order("slow", { token_ms: 5 });
  const before = await the.broker.seen();
  const controller = new AbortController();
  const body = { messages: user("A story."), stream: true, ...longAnswer(LENGTH) };
  const stream = await the.broker.create(body, { signal: controller.signal });
  for await (const _ of stream) controller.abort();
  await assertCutUpstream(before);
});

test("a client that gives up waiting cuts the upstream", async () => {
  await the.broker.order("slow", { latency_ms: 60_000 });
  const before = await the.broker.seen();
  await assert.rejects(the.broker.create({}, { timeout: 200 }), OpenAI.APIConnectionTimeoutError);
  await assertCutUpstream(before);
});
