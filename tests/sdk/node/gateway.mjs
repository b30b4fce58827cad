// Starts the sandbox of pretend providers and the gateway in front of it, once per test file, and ends both.
//
// Each prints one JSON line when it listens, so nothing here waits a fixed time. The Python tests beside this folder go
// deeper; these show that the other official SDK, with an HTTP stack of its own, is served as well.

import { spawn } from "node:child_process";
import { createWriteStream } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

import OpenAI from "openai";

const REPOSITORY = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../../..");
const BINARY = path.resolve(REPOSITORY, process.env.TOKENBROKER_BIN ?? "target/release/tokenbroker");
const READY_MILLISECONDS = 30_000;

/** The caller's environment without anything that configures a gateway or a provider, and with the keys that the table names. */
function environment(table) {
  const foreign = (name) => name.startsWith("TOKENBROKER") || name.endsWith("_API_KEY");
  const kept = Object.entries(process.env).filter(([name]) => !foreign(name));
  const named = [...table.matchAll(/^api_key_env = "(\w+)"/gm)].map(([, name]) => [name, "sandbox"]);
  return Object.fromEntries([...kept, ...named]);
}

/** Starts one server; resolves with its first line of JSON, fails with its log if it ends or stays silent. */
async function start(name, args, folder, table = "") {
  const log = path.join(folder, `${name}.log`);
  const child = spawn(BINARY, args, { cwd: folder, env: environment(table), stdio: ["ignore", "pipe", "pipe"] });
  child.stderr.pipe(createWriteStream(log));
  const exited = new Promise((resolve) => child.once("close", resolve));
  const silent = AbortSignal.timeout(READY_MILLISECONDS);
  const ready = await new Promise((resolve, reject) => {
    createInterface({ input: child.stdout }).once("line", resolve);
    child.once("error", reject);
    exited.then((code) => reject(new Error(`${name} ended with ${code} before it was ready; its log is ${log}`)));
    silent.addEventListener("abort", () => reject(new Error(`${name} said nothing; its log is ${log}`)));
  });
  const kill = () => {
    child.kill("SIGKILL");
    return exited;
  };
  return { ...JSON.parse(ready), log, kill };
}

export class Broker {
  static async start() {
    const broker = new Broker();
    broker.folder = await mkdtemp(path.join(tmpdir(), "tokenbroker-"));
    const table = path.join(broker.folder, "providers.toml");
    broker.sandbox = await start("sandbox", ["sandbox", "--json", "--write-table", table], broker.folder);
    const listen = ["--listen", "127.0.0.1:0", "--operations-listen", "127.0.0.1:0"];
    const args = ["serve", "--json", "--providers", table, "--data-dir", path.join(broker.folder, "data"), ...listen];
    broker.serve = await start("serve", args, broker.folder, await readFile(table, "utf8")).catch(async (reason) => {
      await broker.sandbox.kill();
      throw reason;
    });
    broker.client = new OpenAI({ baseURL: `${broker.serve.api}/v1`, apiKey: "any", maxRetries: 0, timeout: 60_000 });
    return broker;
  }

  /** One entry per upstream request, oldest first, as it stands now: those that still run have no `ending`. */
  async served() {
    const lines = (await (await fetch(`${this.sandbox.control}/served`)).text()).split("\n");
    return lines.filter(Boolean).map((line) => JSON.parse(line));
  }

  /** Ends both servers; their logs are shown when something went wrong. */
  async stop(failed) {
    await this.serve.kill();
    await this.sandbox.kill();
    if (failed) console.error(await readFile(this.serve.log, "utf8"));
    await rm(this.folder, { recursive: true });
  }
}

/** What `look` resolves to as soon as it is true; fails after `milliseconds`. */
export async function eventually(look, milliseconds, what) {
  const deadline = performance.now() + milliseconds;
  for (;;) {
    const found = await look();
    if (found) return found;
    if (performance.now() > deadline) throw new Error(`not within ${milliseconds} ms: ${what}`);
  }
}

export const user = (content) => [{ role: "user", content }];
