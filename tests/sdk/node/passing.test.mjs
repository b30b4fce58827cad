// What the gateway does not act on reaches the provider as it was written, and what the provider says comes back so.

import assert from "node:assert/strict";
import { test } from "node:test";

import OpenAI from "openai";

import { collect, oneBroker, user } from "./gateway.mjs";

const PIXEL = `data:image/png;base64,${Buffer.from("\x89PNG pretend pixel", "latin1").toString("base64")}`;
const TEXT = 'Ünïcödé — 你好，世界 🦀👩\u200d🚀 "quoted" \\ back\tslash\n\u2028 \u0000 مرحبا';

const the = oneBroker();

test("what the gateway does not know reaches the provider", async () => {
  const members = {
    seed: 7,
    stop: ["\n\n"],
    temperature: 0.25,
    top_p: 0.9,
    presence_penalty: -0.5,
    logit_bias: { 50256: -100 },
    metadata: { team: "red" },
    user: "somebody",
    service_tier: "flex",
    store: false,
    x_vendor: { deep: [1, 2.5, null, "ü"] },
    top_k: 40,
  };
  const { sent } = await the.broker.forwarded(members);
  for (const [name, value] of Object.entries(members)) assert.deepEqual(sent[name], value, name);
});

test("text outside ascii comes whole to the provider", async () => {
  const { sent } = await the.broker.forwarded({ messages: user(TEXT) });
  assert.deepEqual(sent.messages, user(TEXT));
  const { answer } = await the.broker.forwarded({ messages: user("用中文写一首诗。") });
  assert.match(answer.choices[0].message.content, /[\u4e00-\u9fff]/);
});

test("a large prompt is answered by a model that can hold it", async () => {
  const text = "All work and no play. ".repeat(20_000);
  const { sent, row, answer } = await the.broker.forwarded({ messages: user(text) });
  assert.equal(sent.messages[0].content, text);
  assert.equal(row.model, "pearl-long");
  assert.equal(answer.usage.prompt_tokens, row.input_tokens);
  assert.ok(row.input_tokens > 100_000);
});

test("an image goes to a model that sees", async () => {
  const image = { type: "image_url", image_url: { url: PIXEL, detail: "low" } };
  const messages = [{ role: "user", content: [{ type: "text", text: "What is this?" }, image] }];
  const { sent, row, answer } = await the.broker.forwarded({ messages });
  assert.deepEqual(sent.messages, messages);
  assert.ok(["lotus-plus", "summit-max", "summit-mini"].includes(row.model));
  assert.ok(answer.choices[0].message.content);
  await assert.rejects(the.broker.create({ model: "local-mini", messages }), (refusal) => {
    assert.ok(refusal instanceof OpenAI.BadRequestError);
    return refusal.code === "no_adequate_backend";
  });
});

test("either name of the output bound holds", async () => {
  for (const name of ["max_tokens", "max_completion_tokens"]) {
    for (const [model, wanted] of [["summit-mini", "max_completion_tokens"], ["pearl-long", "max_tokens"]]) {
      const { sent, row, answer } = await the.broker.forwarded({ model, [name]: 9 });
      assert.equal(sent[wanted], 9);
      assert.ok(!("max_tokens" in sent && "max_completion_tokens" in sent));
      assert.equal(answer.choices[0].finish_reason, "length");
      assert.deepEqual([answer.usage.completion_tokens, row.output_tokens], [9, 9]);
    }
  }
});

test("a developer message is a system message where the provider knows no other", async () => {
  const messages = [{ role: "developer", content: "Be brief." }, ...user("hello")];
  const role = async (model) => (await the.broker.forwarded({ model, messages })).sent.messages[0].role;
  assert.deepEqual([await role("summit-mini"), await role("pearl-long")], ["developer", "system"]);
});

test("many choices come whole and streamed", async () => {
  const { row, answer } = await the.broker.forwarded({ n: 3 });
  const texts = answer.choices.map((choice) => choice.message.content);
  assert.equal(new Set(texts).size, 3);
  assert.equal(answer.usage.completion_tokens, row.output_tokens);
  const streamed = ["", "", ""];
  for await (const { choices } of await the.broker.create({ model: row.model, n: 3, stream: true })) {
    for (const choice of choices) streamed[choice.index] += choice.delta.content ?? "";
  }
  assert.deepEqual(streamed, texts);
});

test("a stop word ends the answer", async () => {
  const body = { model: "local-mini", messages: user("A story.") };
  const whole = (await the.broker.forwarded(body)).answer.choices[0].message.content;
  const cut = (await the.broker.forwarded({ ...body, stop: ["."] })).answer.choices[0];
  assert.equal(cut.message.content, whole.slice(0, whole.indexOf(".")));
  assert.equal(cut.finish_reason, "stop");
});

test("log probabilities come whole and streamed", async () => {
  const wanted = { logprobs: true, top_logprobs: 2 };
  const { row, answer } = await the.broker.forwarded(wanted);
  const tokens = answer.choices[0].logprobs.content;
  assert.equal(tokens.map((token) => token.token).join(""), answer.choices[0].message.content);
  assert.equal(tokens.length, row.output_tokens);
  assert.ok(tokens.every((token) => token.top_logprobs.length === 2));
  const chunks = await collect(await the.broker.create({ model: row.model, stream: true, ...wanted }));
  const streamed = chunks.flatMap((chunk) => chunk.choices[0].logprobs?.content ?? []);
  assert.deepEqual(streamed, tokens);
});

test("a models reasoning comes through and is paid for", async () => {
  const body = { model: "summit-max", reasoning_effort: "high" };
  const { sent, row, answer } = await the.broker.forwarded(body);
  assert.equal(sent.reasoning_effort, "high");
  const thought = answer.choices[0].message.reasoning_content;
  assert.match(thought, /^\[sandbox\] Pretending to think\./);
  const reasoning = answer.usage.completion_tokens_details.reasoning_tokens;
  assert.ok(reasoning > 0 && reasoning < row.output_tokens);
  const chunks = await collect(await the.broker.create({ ...body, stream: true }));
  assert.equal(chunks.map((chunk) => chunk.choices[0].delta.reasoning_content ?? "").join(""), thought);
});

test("reasoning can be put off", async () => {
  const thinking = { type: "disabled" };
  const { sent, answer } = await the.broker.forwarded({ model: "sandbox-pearl/pearl-chat", thinking });
  // The pretend provider knows another word for it.
  assert.deepEqual([sent.reasoning_effort, "thinking" in sent], ["none", false]);
  assert.ok(!("reasoning_content" in answer.choices[0].message));
  assert.equal(answer.usage.completion_tokens_details.reasoning_tokens, 0);
});

test("the bytes that are sent are the clients own", async () => {
  const body = '{"model": "local-mini" ,"messages":[{"role":"user","content":"h\\u00e9"}],  "x": 1.50e+00}';
  const before = await the.broker.seen();
  const headers = { "content-type": "application/json" };
  await the.broker.client.post("/chat/completions", { body: new TextEncoder().encode(body), headers });
  const [row] = await the.broker.since(before);
  const sent = await the.broker.body(row);
  assert.ok(sent.includes('"messages":[{"role":"user","content":"h\\u00e9"}],  "x": 1.50e+00}'), sent);
});
