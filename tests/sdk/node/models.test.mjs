// Every form of `model` that a client may send, and the list of models.

import assert from "node:assert/strict";
import { test } from "node:test";

import OpenAI from "openai";

import { collect, oneBroker, withOwn } from "./gateway.mjs";

// The scale of the sandbox's table: standard begins at 40, premium at 65.
const FLOORS = { economy: 0, standard: 40, premium: 65 };

const the = oneBroker();

const backendOf = (response) => response.headers.get("x-tokenbroker-backend");

/** The quality of the backend that answered, as a dry run tells it. */
async function quality(broker, headers) {
  const backend = headers.get("x-tokenbroker-backend");
  const decision = await broker.decide();
  return decision.candidates.find((candidate) => candidate.backend === backend).quality;
}

test("every listed model can be retrieved", async () => {
  const listed = await collect(await the.broker.client.models.list());
  const names = listed.map((model) => model.id);
  assert.equal(new Set(names).size, names.length);
  for (const name of ["auto", "auto:economy", "auto:standard", "auto:premium"]) assert.ok(names.includes(name));
  for (const model of listed) assert.equal((await the.broker.client.models.retrieve(model.id)).id, model.id);
});

test("a model that is not there is not found", async () => {
  await assert.rejects(the.broker.client.models.retrieve("no-such-model"), OpenAI.NotFoundError);
});

test("auto is answered by the backend that the decision names", async () => {
  const { sent, row, answer } = await the.broker.forwarded();
  assert.ok(answer.choices[0].message.content);
  assert.equal((await the.broker.decide()).chosen.provider, row.provider);
  assert.equal(sent.model, row.model);
  assert.notEqual(sent.model, "auto");
});

test("a tier is a floor under the quality", async () => {
  for (const [tier, floor] of Object.entries(FLOORS)) {
    const { headers } = await the.broker.forwarded({ model: `auto:${tier}` });
    assert.ok((await quality(the.broker, headers)) >= floor);
  }
});

test("a model is served by the cheapest backend that has it", async () => {
  const { sent, row } = await the.broker.forwarded({ model: "pearl-chat" });
  const { candidates, chosen } = await the.broker.decide({ model: "pearl-chat" });
  assert.deepEqual(candidates.map((candidate) => candidate.model), ["pearl-chat", "pearl-chat"]);
  const cheapest = candidates.reduce((a, b) => (Number(b.score_usd) < Number(a.score_usd) ? b : a));
  assert.deepEqual(chosen, cheapest);
  assert.equal(row.provider, chosen.provider);
  assert.equal(sent.model, { "sandbox-flaky": "pearl-chat-r", "sandbox-pearl": "pearl-chat" }[row.provider]);
});

test("a backend by its full name is the one that answers", async () => {
  const listed = await collect(await the.broker.client.models.list());
  for (const { id } of listed.filter((model) => model.id.includes("/"))) {
    const { row, headers } = await the.broker.forwarded({ model: id });
    assert.equal(backendOf({ headers }), id);
    assert.equal(`${row.provider}/${row.model}`, id);
  }
});

test("an alias stands for its target", async () => {
  const aliases = { ALIASES__CAREFUL: "auto:premium", ALIASES__HOUSE: "sandbox-fjord/fjord-small" };
  await withOwn(aliases, async (own) => {
    const names = (await collect(await own.client.models.list())).map((model) => model.id);
    assert.ok(names.includes("careful") && names.includes("house"));
    assert.equal(backendOf(await own.forwarded({ model: "house" })), "sandbox-fjord/fjord-small");
    assert.ok((await quality(own, (await own.forwarded({ model: "careful" })).headers)) >= FLOORS.premium);
  });
});
