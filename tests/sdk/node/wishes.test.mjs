// What a client may wish beyond the model: each wish in the body and as a header, to the same effect.

import assert from "node:assert/strict";
import { test } from "node:test";

import OpenAI from "openai";

import { oneBroker, user } from "./gateway.mjs";

const LONG = "Keep this in mind. ".repeat(200);
const PROVIDERS = ["flaky", "fjord", "local", "lotus", "pearl", "summit"].map((name) => `sandbox-${name}`);

const the = oneBroker();

/** The two forms of wishes, as [members of the body, options of the request]. */
const inBody = (wishes) => [{ tokenbroker: wishes }, {}];
const inHeaders = (wishes) => {
  const pairs = Object.entries(wishes).map(([name, value]) => [`x-tokenbroker-${name.replaceAll("_", "-")}`, String(value)]);
  return [{}, { headers: Object.fromEntries(pairs) }];
};

/** A test that runs once with each form. */
function bothForms(name, run) {
  for (const [form, wish] of Object.entries({ body: inBody, header: inHeaders })) {
    const forwarded = (wishes, body = {}) => {
      const [members, options] = wish(wishes);
      return the.broker.forwarded({ ...body, ...members }, options);
    };
    test(name, (context) => {
      context.diagnostic(form);
      return run(forwarded, form);
    });
  }
}

bothForms("a wished quality is kept", async (forwarded) => {
  const { candidates } = await the.broker.decide();
  for (const [tier, least] of Object.entries({ standard: 40, premium: 65 })) {
    const { headers } = await forwarded({ quality: tier });
    const used = candidates.find((candidate) => candidate.backend === headers.get("x-tokenbroker-backend"));
    assert.ok(used.quality >= least);
  }
});

bothForms("a wished maximum cost refuses what is dearer", async (forwarded) => {
  const { dearest } = await the.broker.decide();
  const body = { model: dearest.backend, max_tokens: 100 };
  const before = await the.broker.seen();
  await assert.rejects(forwarded({ max_cost_usd: "0.000000001" }, body), (refusal) => {
    assert.ok(refusal instanceof OpenAI.BadRequestError);
    assert.equal(refusal.code, "no_adequate_backend");
    return true;
  });
  assert.equal(await the.broker.seen(), before);
  const cost = Number((await forwarded({ max_cost_usd: "0.02" }, body)).headers.get("x-tokenbroker-cost-usd"));
  assert.ok(cost > 0 && cost <= 0.02);
});

bothForms("wished regions are kept", async (forwarded) => {
  assert.equal((await forwarded({ regions: ["EU"] })).row.provider, "sandbox-fjord");
  const { row } = await forwarded({ regions: ["EU", "CN"] });
  assert.ok(["sandbox-fjord", "sandbox-pearl", "sandbox-lotus"].includes(row.provider));
});

bothForms("only a wished provider is used", async (forwarded) => {
  for (const name of PROVIDERS) assert.equal((await forwarded({ providers: [name] })).row.provider, name);
});

bothForms("an excluded provider is not used", async (forwarded) => {
  const excluded = [];
  while (excluded.length < PROVIDERS.length - 1) {
    const { row } = await (excluded.length ? forwarded({ exclude: excluded }) : the.broker.forwarded());
    assert.ok(!excluded.includes(row.provider));
    excluded.push(row.provider);
  }
});

bothForms("a wished session stays where its prompt is cached", async (forwarded, form) => {
  const session = `thread-${form}`;
  const wishes = { session, exclude: ["sandbox-flaky", "sandbox-local"] };
  const talk = [{ role: "system", content: `${session}: ${LONG}` }, ...user("first")];
  const first = await forwarded(wishes, { messages: talk });
  talk.push({ role: "assistant", content: first.answer.choices[0].message.content }, ...user("second"));
  const { row, answer } = await forwarded(wishes, { messages: talk });
  assert.equal(row.provider, first.row.provider);
  assert.ok(row.cached_tokens > 0);
  assert.equal(answer.usage.prompt_tokens_details.cached_tokens, row.cached_tokens);
});

bothForms("a wished deadline is kept", async (forwarded) => {
  await the.broker.order("stall_before_headers", { provider: "sandbox-local" });
  await assert.rejects(forwarded({ deadline_ms: 100 }, { model: "local-mini" }), (refusal) => {
    assert.ok(refusal instanceof OpenAI.InternalServerError);
    assert.deepEqual([refusal.status, refusal.code], [504, "upstream_timeout"]);
    return true;
  });
});

bothForms("a wished race asks several and pays for all", async (forwarded) => {
  // None may win before the other was asked.
  await the.broker.order("slow", { latency_ms: 100 });
  const before = await the.broker.seen();
  const { answer, headers } = await forwarded({ race: 2, exclude: ["sandbox-local"] });
  assert.ok(answer.choices[0].message.content);
  const rows = await the.broker.since(before);
  const attempts = await the.broker.booked(headers);
  assert.equal(rows.length, 2);
  assert.deepEqual(attempts.map((attempt) => attempt.provider).sort(), rows.map((row) => row.provider).sort());
  assert.equal(attempts.filter((attempt) => attempt.ending === "complete").length, 1);
  assert.ok(attempts.every((attempt) => attempt.cost_pico_usd > 0n));
});

bothForms("a dry run decides and sends nothing", async (_, form) => {
  const [members, options] = (form === "body" ? inBody : inHeaders)({ dry_run: true });
  const before = await the.broker.seen();
  const { data, response } = await the.broker.create(members, options).withResponse();
  assert.equal(data.chosen.backend, response.headers.get("x-tokenbroker-backend"));
  assert.ok(data.candidates.length > 1);
  assert.equal(await the.broker.seen(), before);
  assert.equal((await the.broker.forwarded()).headers.get("x-tokenbroker-backend"), data.chosen.backend);
});

test("a wish that does not exist is refused", async () => {
  for (const [members, options] of [inBody({ chepest: true }), inHeaders({ chepest: true })]) {
    await assert.rejects(the.broker.create(members, options), (refusal) => {
      assert.ok(refusal instanceof OpenAI.BadRequestError);
      assert.equal(refusal.code, "unknown_parameter");
      return refusal.message.includes("chepest");
    });
  }
});

test("wishes are not forwarded", async () => {
  const { sent } = await the.broker.forwarded({ tokenbroker: { quality: "standard", session: "s-1" }, user: "mine" });
  assert.ok(!("tokenbroker" in sent));
  assert.equal(sent.user, "mine");
});

test("the route endpoint decides and sends nothing", async () => {
  const before = await the.broker.seen();
  assert.ok((await the.broker.decide()).chosen.expected_usd);
  assert.equal(await the.broker.seen(), before);
});
