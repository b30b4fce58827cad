// Starts the program for tests that are written in JavaScript: those of the SDKs and those of the page.

import { spawn } from "node:child_process";
import { createWriteStream } from "node:fs";
import path from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

export const REPOSITORY = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..");
export const BINARY = path.resolve(REPOSITORY, process.env.TOKENBROKER_BIN ?? "target/release/tokenbroker");
export const READY_MILLISECONDS = 30_000;

/** The caller's variables but for those that configure a gateway or a provider, and these over them. */
export function environment(variables = {}) {
  const foreign = (name) => name.startsWith("TOKENBROKER") || name.endsWith("_API_KEY");
  const kept = Object.entries(process.env).filter(([name]) => !foreign(name));
  return { ...Object.fromEntries(kept), ...variables };
}

/** Starts a server; resolves with its first line of JSON, fails with its log if it ends or stays silent. */
export async function start(name, args, folder, { variables = {}, program = BINARY } = {}) {
  const log = path.join(folder, `${name}.log`);
  const child = spawn(program, args, { cwd: folder, env: environment(variables), stdio: ["ignore", "pipe", "pipe"] });
  child.stderr.pipe(createWriteStream(log, { flags: "a" }));
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
  return { ...JSON.parse(ready), child, exited, log, kill };
}

/** What `look` resolves to as soon as it is true; fails after `milliseconds`. */
export async function eventually(look, milliseconds, what) {
  const deadline = performance.now() + milliseconds;
  for (;;) {
    const found = await look();
    if (found) return found;
    if (performance.now() > deadline) throw new Error(`not within ${milliseconds} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
