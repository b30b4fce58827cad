// The page of the operations listener in a real browser, before the real binary and the sandbox of pretend providers.
//
// The sums are compared with /metrics and with the answers' own headers, the markup with axe. Screenshots of what was
// checked go to target/page, to be looked at.

import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { createRequire } from "node:module";
import path from "node:path";
import { after, before, test } from "node:test";

import { chromium } from "playwright-core";

import { REPOSITORY, eventually } from "../program.mjs";
import { Sandboxed } from "./gateway.mjs";

const SHOTS = path.join(REPOSITORY, "target/page");
const AXE = createRequire(import.meta.url).resolve("axe-core/axe.min.js");
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"];
const QUIET = ["--disable-background-networking", "--disable-component-update", "--disable-sync"];
const PATIENCE = 30_000;
/** A model's name that would do something if it were markup; an alias of the configuration, so that it is served. */
const WICKED = `<script>document.title="owned"</script><img src=x onerror='document.title="owned"'>`;
const WIDE = { width: 1280, height: 900 };
const NARROW = { width: 390, height: 844 };
const TIGHT = { width: 360, height: 740 };

let gateway;
let browser;

before(async () => {
  await mkdir(SHOTS, { recursive: true });
  gateway = await Sandboxed.start({ wicked: WICKED });
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: [...FLAGS, ...QUIET] });
});
after(async () => {
  await browser?.close();
  await gateway?.stop();
});

/** A page that notes whatever goes wrong in it and whatever it asks others for. */
async function open(options = {}, at = gateway) {
  const context = await browser.newContext({ viewport: WIDE, ...options });
  const page = await context.newPage();
  const wrong = [];
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && wrong.push(message.text()));
  page.on("pageerror", (error) => wrong.push(error.message));
  page.on("request", (request) => request.url().startsWith(`${at.operations}/`) || wrong.push(`asked ${request.url()}`));
  page.on("requestfailed", (request) => request.url().includes("/feed") || wrong.push(`failed ${request.url()}`));
  const answer = await page.goto(`${at.operations}/`);
  assert.equal(answer.status(), 200);
  return { page, context, wrong };
}

const live = (page) => page.locator("#live.on").waitFor({ timeout: PATIENCE });
const card = (page, id) => page.locator(`#feed > li:has(bdi:text-is("${id}"))`);
const sum = (text, family) =>
  text
    .split("\n")
    .filter((line) => line.startsWith(`${family}{`) || line.startsWith(`${family} `))
    .reduce((total, line) => total + Number(line.slice(line.lastIndexOf(" ") + 1)), 0);
const exact = async (page, selector) => Number(await page.locator(`${selector} data`).first().getAttribute("value"));

test("before the first request the page says how to send it, with the real address", async () => {
  const { page, context, wrong } = await open();
  const curl = await page.locator("#empty pre").innerText();
  assert.ok(curl.includes(`curl ${gateway.api}/v1/chat/completions`), curl);
  await page.screenshot({ path: path.join(SHOTS, "empty.png") });
  await live(page);
  // It works as it stands, but for the joined lines.
  const body = curl.match(/-d '(.*)'/s)[1];
  const answer = await gateway.ask(JSON.parse(body), "copied");
  assert.equal(answer.status, 200);
  await card(page, "copied").waitFor({ timeout: PATIENCE });
  assert.equal(await page.locator("#empty").isVisible(), false);
  assert.deepEqual(wrong, []);
  await context.close();
});

test("requests appear as they are made and end, and the sums are those of the books", async () => {
  const { page, context, wrong } = await open();
  await live(page);
  const answers = [];
  for (const [n, body] of [{}, { stream: true }, { model: "auto:premium" }, { tokenbroker: { race: 2 } }].entries()) {
    answers.push(await gateway.ask({ model: "auto", ...body }, `live-${n}`));
  }
  const failing = await gateway.ask({ model: "auto", messages: [{ role: "user", content: "moved" }] }, "moved-on", { failing: true });
  const refused = await gateway.ask({ model: "auto:premum" }, "typo");
  assert.deepEqual([failing.status, refused.status], [200, 404]);
  for (const [n, answer] of answers.entries()) {
    const shown = card(page, `live-${n}`);
    await shown.locator("dd", { hasText: "answered" }).first().waitFor({ timeout: PATIENCE });
    assert.equal(await shown.locator(".won .name").innerText(), answer.backend);
    if (answer.cost) assert.equal(await shown.locator(".price data").getAttribute("value"), answer.cost);
  }
  await card(page, "moved-on").locator(".trail").waitFor({ timeout: PATIENCE });
  assert.match(await card(page, "moved-on").locator(".trail").innerText(), /overloaded \(503\)/);
  await page.locator("#feed > li.refused", { hasText: "unknown model" }).waitFor({ timeout: PATIENCE });

  const metrics = await (await fetch(`${gateway.operations}/metrics`)).text();
  const near = (found, expected, what) => assert.ok(Math.abs(found - expected) < 1e-9, `${what}: ${found}, not ${expected}`);
  await eventually(async () => (await exact(page, "#figures .tile:nth-child(2) .figure")) > 0, PATIENCE, "a sum");
  const totals = (await gateway.feed()).totals;
  near(Number(totals.spent_usd), sum(metrics, "tokenbroker_cost_usd_total"), "spent");
  near(Number(totals.baseline.elsewhere_usd), sum(metrics, "tokenbroker_baseline_cost_usd_total"), "baseline");
  assert.equal(totals.failovers, sum(metrics, "tokenbroker_failovers_total"));
  assert.equal(totals.refused, sum(metrics, "tokenbroker_rejections_total"));
  await eventually(async () => (await exact(page, "#figures .tile:nth-child(2) .figure")) === Number(totals.spent_usd), PATIENCE, "spent");
  near(await exact(page, "#figures .hero .amount"), Number(totals.baseline.saved_usd), "saved");
  assert.equal(await page.locator("#figures .tile:nth-child(3) .figure").innerText(), String(totals.requests));
  assert.equal(await page.locator("#figures .tile:nth-child(4) .figure").innerText(), String(totals.failovers));
  assert.deepEqual(wrong, []);
  await context.close();
});

test("what a client names is shown and never run", async () => {
  const { page, context, wrong } = await open();
  await live(page);
  assert.equal((await gateway.ask({ model: WICKED }, "wicked-served")).status, 200);
  assert.equal((await gateway.ask({ model: `${WICKED}!` }, WICKED)).status, 404);
  const served = card(page, "wicked-served");
  await served.waitFor({ timeout: PATIENCE });
  assert.equal(await served.locator(".asked .name").innerText(), WICKED);
  await page.locator("#feed > li.refused .asked .name", { hasText: "<script>" }).waitFor({ timeout: PATIENCE });
  // Once pushed by the script, once in the document as it is served.
  for (const again of [false, true]) {
    if (again) await page.reload();
    assert.equal(await page.title(), "tokenbroker");
    assert.equal(await page.locator("#feed script, #feed img").count(), 0);
  }
  assert.deepEqual(wrong, []);
  await context.close();
});

test("a browser is told to run and fetch nothing else, and another name for this address is refused", async () => {
  const answer = await fetch(`${gateway.operations}/`);
  const policy = answer.headers.get("content-security-policy");
  for (const part of ["default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'"]) {
    assert.ok(policy.includes(part), policy);
  }
  assert.ok(!policy.includes("unsafe"), policy);
  assert.equal(answer.headers.get("x-content-type-options"), "nosniff");
  const markup = await answer.text();
  assert.ok(!/\son\w+=|style=|javascript:|<script>/.test(markup.replaceAll(/&[#\w]+;[^<]*/g, "")), "nothing runs inside the markup");
  const { page, context } = await open();
  const run = await page.evaluate(() => {
    const script = document.createElement("script");
    script.textContent = "document.title = 'owned'";
    document.body.append(script);
    return document.title;
  });
  assert.equal(run, "tokenbroker");
  await context.close();
  assert.equal(await gateway.status("/", "rebound.example"), 421);
  assert.equal(await gateway.status("/feed?once", "rebound.example:9090"), 421);
  assert.equal(await gateway.status("/", "localhost:9090"), 200);
});

for (const scheme of ["light", "dark"]) {
  for (const [size, viewport] of Object.entries({ wide: WIDE, narrow: NARROW, tight: TIGHT })) {
    test(`${scheme} and ${size}: nothing scrolls sideways and axe finds nothing`, async () => {
      const { page, context, wrong } = await open({ colorScheme: scheme, viewport, reducedMotion: "reduce" });
      await live(page);
      const across = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      assert.equal(across, 0);
      await page.screenshot({ path: path.join(SHOTS, `${size}-${scheme}.png`) });
      await context.close();
      assert.deepEqual(wrong, []);
      // axe is brought in from outside, which the page's own policy forbids.
      const looked = await browser.newContext({ colorScheme: scheme, viewport, bypassCSP: true, reducedMotion: "reduce" });
      const again = await looked.newPage();
      await again.goto(`${gateway.operations}/`);
      await live(again);
      await again.addScriptTag({ path: AXE });
      const { violations, passes } = await again.evaluate(() => axe.run(document, { resultTypes: ["violations"] }));
      const told = violations.map(({ id, nodes }) => `${id}: ${nodes.slice(0, 3).map((node) => `${node.html} ${node.failureSummary}`).join("\n")}`);
      assert.deepEqual(told, []);
      assert.ok(passes.some(({ id }) => id === "color-contrast"), "contrast was measured");
      await looked.close();
    });
  }
}

test("without JavaScript everything that was there at load is there", async () => {
  const { page, context, wrong } = await open({ javaScriptEnabled: false });
  assert.match(await page.locator("#live").innerText(), /as of \d\d:\d\d:\d\d UTC/);
  assert.ok((await page.locator("#feed > li").count()) >= 5);
  assert.equal(await page.locator("#pause").isVisible(), false);
  assert.deepEqual(wrong, []);
  await context.close();
});

test("it can be paused and used by keyboard alone", async () => {
  const { page, context, wrong } = await open();
  await live(page);
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.className), "skip");
  await page.locator("#pause").focus();
  await page.keyboard.press("Enter");
  assert.equal(await page.locator("#pause").getAttribute("aria-pressed"), "true");
  await gateway.ask({ model: "auto" }, "while-paused");
  await page.locator("#live", { hasText: "waiting" }).waitFor({ timeout: PATIENCE });
  assert.equal(await card(page, "while-paused").count(), 0);
  await page.keyboard.press("Enter");
  await card(page, "while-paused").waitFor({ timeout: PATIENCE });
  assert.deepEqual(wrong, []);
  await context.close();
});

test("an open page holds no drain up, and finds the gateway again", async () => {
  const own = await Sandboxed.start({});
  const { page, context } = await open({}, own);
  await live(page);
  await own.ask({ model: "auto" }, "before");
  await card(page, "before").waitFor({ timeout: PATIENCE });
  const began = performance.now();
  await own.drain();
  assert.ok(performance.now() - began < 5_000, "the page held the drain up");
  await page.locator("#live.off").waitFor({ timeout: PATIENCE });
  await own.again();
  await live(page);
  await eventually(async () => (await page.locator("#feed > li").count()) === 0, PATIENCE, "the page of the new run");
  await context.close();
  await own.stop();
});
