// What goes wrong comes back as the SDK's own exception for it, and is tried again only where that helps.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";

import OpenAI from "openai";

import { eventually } from "../../program.mjs";
import { collect, joined, longAnswer, oneBroker, user, withOwn } from "./gateway.mjs";

const KEY = { KEYS__TESTER__SHA256: createHash("sha256").update("tb-right").digest("hex") };

const the = oneBroker();

/** A client that retries twice, notes the answers it gets and calls back at each. */
function counting(broker, { seen = () => {}, ...options } = {}) {
  const answers = [];
  const noting = async (url, init) => {
    const answer = await fetch(url, init);
    answers.push(answer);
    seen(answer);
    return answer;
  };
  const client = broker.clientWith({ maxRetries: 2, fetch: noting, ...options });
  const ask = (body = {}) => client.chat.completions.create({ model: "auto", messages: user("hello"), ...body });
  return { answers, ask };
}

/** The error that something is rejected with, of this class, status and code. */
async function rejected(promise, kind, status, code) {
  let refusal;
  await assert.rejects(promise, (error) => {
    refusal = error;
    assert.ok(error instanceof kind, String(error));
    assert.deepEqual([error.status, error.code], [status, code]);
    return true;
  });
  return refusal;
}

test("an unknown model is not found and near names are told", async () => {
  const listed = (await collect(await the.broker.client.models.list())).map((model) => model.id);
  const known = listed.filter((name) => !name.includes("/")).sort((a, b) => b.length - a.length)[0];
  const asked = the.broker.create({ model: `${known.slice(0, -1)}~` });
  const refusal = await rejected(asked, OpenAI.NotFoundError, 404, "model_not_found");
  assert.ok(refusal.message.includes(known));
});

test("a bad parameter is a bad request", async () => {
  await assert.rejects(the.broker.create({ max_tokens: "many" }), OpenAI.BadRequestError);
});

test("an endpoint that is not served says so", async () => {
  const asked = the.broker.client.moderations.create({ input: "x" });
  await rejected(asked, OpenAI.InternalServerError, 501, "not_implemented");
});

test("a wrong key is an authentication error", () =>
  withOwn(KEY, async (own) => {
    const wrong = counting(own, { apiKey: "tb-wrong" });
    const refusal = await rejected(wrong.ask(), OpenAI.AuthenticationError, 401, "invalid_api_key");
    assert.ok(!String(refusal).includes("tb-wrong"));
    assert.equal(wrong.answers.length, 1);
    assert.equal(await own.seen(), 0);
  }));

test("the right key is let in", () =>
  withOwn(KEY, async (own) => {
    const { ask } = counting(own, { apiKey: "tb-right" });
    assert.ok((await ask()).choices.length);
  }));

test("a spent budget is told and not retried", () =>
  withOwn(
    { ...KEY, KEYS__TESTER__BUDGET_USD: "0.000001", KEYS__TESTER__EXCLUDE_PROVIDERS: '["sandbox-local"]' },
    async (own) => {
      const { ask, answers } = counting(own, { apiKey: "tb-right" });
      const refusal = await rejected(ask({ max_tokens: 500 }), OpenAI.APIError, 402, "insufficient_quota");
      assert.equal(refusal.type, "insufficient_quota");
      assert.equal(refusal.error.tokenbroker.limit_usd, "0.000001");
      assert.equal(answers.length, 1);
      assert.equal(await own.seen(), 0);
    },
  ));

test("a request that fits no model is refused with the reason", async () => {
  const asked = the.broker.create({ model: "lotus-lite", messages: user("All work and no play. ".repeat(10_000)) });
  await rejected(asked, OpenAI.BadRequestError, 400, "context_length_exceeded");
});

test("a body that is too large is refused", async () => {
  await rejected(the.broker.create({ messages: user("x".repeat(9 << 20)) }), OpenAI.APIError, 413, "request_too_large");
});

test("a providers own refusal comes through in its words", () =>
  withOwn({}, async (own) => {
    const words = { type: "invalid_request_error", code: "odd_thing", message: "no such luck" };
    await own.order("status", { status: 400, count: 1, ...words });
    const { ask, answers } = counting(own);
    const refusal = await rejected(ask(), OpenAI.BadRequestError, 400, "odd_thing");
    assert.ok(refusal.message.includes("no such luck"));
    assert.deepEqual([answers.length, await own.seen()], [1, 1]);
  }));

test("a failing provider is not seen by the client", () =>
  withOwn({}, async (own) => {
    const winner = (await own.forwarded()).row.provider;
    await own.order("status", { provider: winner, status: 503 });
    for (const stream of [false, true]) {
      const before = await own.seen();
      const { data, response } = await own.create({ stream }).withResponse();
      const text = stream ? joined(await collect(data)) : data.choices[0].message.content;
      assert.match(text, /^\[sandbox\]/);
      const [first, second] = await own.since(before);
      assert.deepEqual([first.provider, first.status, second.status], [winner, 503, 200]);
      assert.ok(response.headers.get("x-tokenbroker-backend").startsWith(second.provider));
      const attempts = await own.booked(response.headers);
      assert.deepEqual(attempts.map((attempt) => attempt.http_status), [503n, 200n]);
      assert.equal(attempts[0].cost_pico_usd, 0n);
    }
  }));

test("when every provider fails the sdk does not try again", async () => {
  const cases = [
    ["cut_mid_stream", {}, 502, "upstream_error"],
    ["status", { status: 429, type: "rate_limit_error" }, 503, "upstream_unavailable"],
    ["stall_before_headers", {}, 504, "upstream_timeout"],
  ];
  for (const [fault, parameters, status, code] of cases) {
    await withOwn({ TIMEOUTS__TOTAL_MS: 500 }, async (own) => {
      await own.order(fault, parameters);
      const { ask, answers } = counting(own);
      const failure = await rejected(ask(), OpenAI.InternalServerError, status, code);
      assert.equal(failure.error.tokenbroker.attempts.length, await own.seen());
      assert.ok((await own.seen()) > 1);
      assert.deepEqual(answers.map((answer) => answer.headers.get("x-should-retry")), ["false"]);
    });
  }
});

test("a full gateway is asked again by the sdk", () =>
  withOwn({ LIMITS__MAX_CONCURRENT_REQUESTS: 1 }, async (own) => {
    await own.order("slow", { token_ms: 5 });
    const holder = await own.create({ messages: user("A story."), stream: true, ...longAnswer(600) });
    const { ask, answers } = counting(own, { seen: () => holder.controller.abort() });
    await eventually(async () => (await own.seen()) === 1, 5000, "the stream that holds the place");
    assert.ok((await ask()).choices.length);
    const first = answers[0];
    assert.deepEqual([first.status, first.headers.get("x-should-retry")], [503, "true"]);
    assert.ok(Number(first.headers.get("retry-after")) >= 1);
    assert.equal(answers.at(-1).status, 200);
  }));

test("a stream that breaks is an exception", async () => {
  for (const fault of ["cut_mid_stream", "error_in_stream", "bad_json"]) {
    await withOwn({}, async (own) => {
      await own.order(fault);
      const { data, response } = await own.create({ model: "local-mini", stream: true }).withResponse();
      // What is no JSON, the SDK itself stumbles over.
      await assert.rejects(collect(data), fault === "bad_json" ? SyntaxError : OpenAI.APIError);
      const [attempt] = await own.booked(response.headers);
      assert.ok(attempt.provenance !== "reported" && attempt.ending !== "complete" && attempt.output > 0n);
    });
  }
});

test("a stream that breaks has given what came before", () =>
  withOwn({}, async (own) => {
    await own.order("cut_mid_stream", { after: 4 });
    const got = [];
    const reading = async () => {
      for await (const chunk of await own.create({ model: "local-mini", stream: true })) got.push(chunk);
    };
    await assert.rejects(reading(), (failure) => {
      assert.ok(failure instanceof OpenAI.APIError && failure.status === undefined);
      return ["upstream_truncated", "upstream_broken"].includes(failure.code);
    });
    assert.ok(joined(got).startsWith("[sandbo"));
    assert.ok(got.every((chunk) => !chunk.choices[0].finish_reason));
  }));
