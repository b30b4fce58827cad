// Starts the sandbox of pretend providers and the gateway in front of it, once per test file, and ends both.
//
// Each prints one JSON line when it listens, so nothing here waits a fixed time. The tests have the names of those in Python
// beside this folder: ../README.md lists them by feature.

import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import http from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";
import { DatabaseSync } from "node:sqlite";
import { Readable } from "node:stream";
import { after, afterEach, before } from "node:test";
import { promisify } from "node:util";

import OpenAI from "openai";

import { REPOSITORY, eventually, start } from "../../program.mjs";

export const LOCAL = path.join(REPOSITORY, "tests/local");
export const PYTHON = path.resolve(REPOSITORY, process.env.CARGO_TARGET_DIR ?? "target", "venv/bin/python");

/** The keys that a table names, and settings as TOKENBROKER__NAME takes them. */
function variables(table, settings) {
  const named = [...table.matchAll(/^api_key_env = "(\w+)"/gm)].map(([, name]) => [name, "sandbox"]);
  const set = Object.entries(settings).map(([name, value]) => [`TOKENBROKER__${name}`, String(value)]);
  return Object.fromEntries([...named, ...set]);
}

export class Broker {
  /** With settings, as TOKENBROKER__NAME takes them. */
  static start(settings = {}) {
    return Broker.#behind(async (broker, table) => {
      const pretend = ["sandbox", "--json", "--fast", "--steady", "--write-table", table];
      broker.sandbox = await start("sandbox", pretend, broker.folder);
    }, settings);
  }

  /** In front of the real inference server of ../../local, on its model of random weights. */
  static startLocal() {
    return Broker.#behind(async (broker, table) => {
      const model = path.join(broker.folder, "tiny-random.gguf");
      await promisify(execFile)(PYTHON, [path.join(LOCAL, "make_gguf.py"), model]);
      broker.sandbox = await start("server", [path.join(LOCAL, "server.py"), model], broker.folder, { program: PYTHON });
      const text = await readFile(path.join(LOCAL, "providers.toml"), "utf8");
      await writeFile(table, text.replace("@BASE_URL@", `${broker.sandbox.url}/v1`));
    });
  }

  /** In front of the scripted providers of every kind of ../python: what they expect is in `script`. */
  static startAgents() {
    return Broker.#behind(async (broker, table) => {
      const providers = path.join(REPOSITORY, "tests/sdk/python/agent_providers.py");
      broker.sandbox = await start("providers", [providers, table], broker.folder, { program: PYTHON });
      broker.script = broker.sandbox;
    });
  }

  /** In front of whatever this table names. */
  static startOver(text) {
    return Broker.#behind(async (broker, table) => {
      broker.sandbox = { kill: async () => {} };
      await writeFile(table, text);
    });
  }

  static async #behind(startProviders, settings = {}) {
    const broker = new Broker();
    broker.folder = await mkdtemp(path.join(tmpdir(), "tokenbroker-"));
    const table = path.join(broker.folder, "providers.toml");
    await startProviders(broker, table);
    await broker.#serveWith(table, settings).catch(async (reason) => {
      await broker.sandbox.kill();
      throw reason;
    });
    return broker;
  }

  async #serveWith(table, settings) {
    this.data = path.join(this.folder, "data");
    const listen = ["--listen", "127.0.0.1:0", "--operations-listen", "127.0.0.1:0"];
    const args = ["serve", "--json", "--providers", table, "--data-dir", this.data, ...listen];
    this.serve = await start("serve", args, this.folder, { variables: variables(await readFile(table, "utf8"), settings) });
    this.baseURL = `${this.serve.api}/v1`;
    this.client = this.clientWith();
  }

  /** A client that never retries, unless told to: a test wants to see the first answer. */
  clientWith(options = {}) {
    return new OpenAI({ baseURL: this.baseURL, apiKey: "any", maxRetries: 0, timeout: 60_000, ...options });
  }

  async #control(path, options = {}) {
    const answer = await fetch(this.sandbox.control + path, options);
    if (!answer.ok) throw new Error(await answer.text());
    return answer.text();
  }

  /** One entry per upstream request, oldest first, as it stands now: those that still run have no `ending`. */
  async served() {
    return (await this.#control("/served")).split("\n").filter(Boolean).map((line) => JSON.parse(line));
  }

  async seen() {
    return (await this.served()).length;
  }

  /** What was asked of providers after the first `before` requests, once all of it has ended. */
  since(before) {
    const ended = async () => {
      const rows = (await this.served()).slice(before);
      return rows.length > 0 && rows.every((row) => row.ending) && rows;
    };
    return eventually(ended, 10_000, "the end of the upstream requests");
  }

  /** What a provider received, to the byte. */
  body(row) {
    return this.#control(`/served/${row.id}/body`);
  }

  order(fault, { provider = "*", count = null, ...parameters } = {}) {
    const body = JSON.stringify({ provider, fault, count, ...parameters });
    return this.#control("/faults", { method: "POST", body, headers: { "content-type": "application/json" } });
  }

  async lift() {
    if (this.sandbox.control) await this.#control("/faults", { method: "DELETE" });
  }

  /** What a scripted provider heard since it was last asked. */
  async log(provider) {
    return (await fetch(this.script.logs[provider])).json();
  }

  create(body = {}, options = {}) {
    return this.client.chat.completions.create({ model: "auto", messages: user("hello"), ...body }, options);
  }

  /** What a provider received for one chat, with its row, the answer and its headers. */
  async forwarded(body = {}, options = {}) {
    const before = await this.seen();
    const { data, response } = await this.create(body, options).withResponse();
    const [row] = await this.since(before);
    return { sent: JSON.parse(await this.body(row)), row, answer: data, headers: response.headers };
  }

  decide(body = {}) {
    return this.client.post("/route", { body: { model: "auto", messages: user("hello"), ...body } });
  }

  #query(text, ...values) {
    const file = path.join(this.data, "ledger.sqlite3");
    if (!existsSync(file)) return [];
    const books = new DatabaseSync(file, { readOnly: true, timeout: 5000 });
    try {
      const statement = books.prepare(text);
      statement.setReadBigInts(true);
      return statement.all(...values);
    } finally {
      books.close();
    }
  }

  /** The attempts in the books of the request that answered with these headers; whole numbers are BigInts. */
  booked(headers) {
    const id = headers.get("x-tokenbroker-request-id");
    const key = Buffer.from(id.replaceAll("-", ""), "hex");
    const look = () => {
      if (this.#query("SELECT status FROM requests WHERE id = ?", key).length === 0) return false;
      return this.#query("SELECT * FROM attempts WHERE request = ? ORDER BY number", key);
    };
    return eventually(look, 10_000, `request ${id} in the books`);
  }

  /** Ends both servers; their logs are shown when something went wrong. */
  async stop(failed) {
    await this.serve.kill();
    await this.sandbox.kill();
    if (failed) console.error(await readFile(this.serve.log, "utf8"));
    await rm(this.folder, { recursive: true });
  }
}

/** The one gateway of a test file, as `the.broker`; what tests order of its providers is lifted after each. */
export function oneBroker(begin = () => Broker.start()) {
  const the = {};
  let failed = false;
  before(async () => {
    the.broker = await begin();
  });
  afterEach(async (context) => {
    failed ||= context.error != null;
    await the.broker?.lift();
  });
  after(() => the.broker?.stop(failed));
  return the;
}

/** Runs a test on a gateway of its own, whose health, budget or limits it may spoil. */
export async function withOwn(settings, run) {
  const own = await Broker.start(settings);
  try {
    return await run(own);
  } finally {
    await own.stop(false);
  }
}

/** An amount in 10^-12 dollars from its decimal text. */
export function pico(text) {
  const [whole, fraction = ""] = String(text).split(".");
  return BigInt(whole) * 10n ** 12n + BigInt(fraction.padEnd(12, "0"));
}

/** What the provider's own count costs at the booked prices of a token, in 10^-12 units of the vendor's currency. */
export function trueAmount(row, attempt) {
  const cached = BigInt(row.cached_tokens);
  const input = (BigInt(row.input_tokens) - cached) * attempt.input_price_pico + cached * attempt.cache_read_price_pico;
  return input + BigInt(row.output_tokens) * attempt.output_price_pico;
}

/** A `fetch` over node:http that asks for trailers and notes them, and from which port it asked. */
export function fetchWithTrailers(notes, agent) {
  return (url, { method, headers, body, signal }) =>
    new Promise((resolve, reject) => {
      const asked = { ...Object.fromEntries(new Headers(headers)), te: "trailers" };
      const request = http.request(url, { method, headers: asked, signal, agent }, (answer) => {
        answer.once("end", () => notes.push({ trailers: answer.trailers, port: answer.socket?.localPort ?? notes.port }));
        notes.port = request.socket.localPort;
        resolve(new Response(Readable.toWeb(answer), { status: answer.statusCode, headers: answer.headers }));
      });
      request.once("error", reject);
      request.end(body);
    });
}

export async function collect(stream) {
  const items = [];
  for await (const item of stream) items.push(item);
  return items;
}

export const joined = (chunks) => chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");

/** Members for an answer of that length. */
export const longAnswer = (tokens) => ({ max_tokens: 4 * tokens, sandbox: { output_tokens: tokens } });

export const user = (content) => [{ role: "user", content }];
