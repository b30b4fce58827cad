// The real gateway before the sandbox of pretend providers, in processes of their own.

import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { request } from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";

import { READY_MILLISECONDS, eventually, start } from "../program.mjs";

export class Sandboxed {
  /** `wicked`: an alias of that name for `auto`. */
  static async start({ wicked }) {
    const gateway = new Sandboxed();
    gateway.folder = await mkdtemp(path.join(tmpdir(), "tokenbroker-page-"));
    gateway.table = path.join(gateway.folder, "providers.toml");
    gateway.sandbox = await start("sandbox", ["sandbox", "--json", "--steady", "--fast", "--write-table", gateway.table], gateway.folder);
    const aliases = wicked ? `[aliases]\n${JSON.stringify(wicked)} = "auto"\n` : "";
    const settings = `[routing]\nbaseline = "sandbox-summit/summit-max"\ndefault_quality = "standard"\n${aliases}`;
    gateway.config = path.join(gateway.folder, "tokenbroker.toml");
    await writeFile(gateway.config, settings);
    await gateway.serve("127.0.0.1:0", "127.0.0.1:0");
    return gateway;
  }

  async serve(api, operations) {
    const table = await readFile(this.table, "utf8");
    const keys = Object.fromEntries([...table.matchAll(/^api_key_env = "(\w+)"/gm)].map(([, name]) => [name, "sandbox"]));
    const files = ["--config", this.config, "--providers", this.table, "--data-dir", path.join(this.folder, "data")];
    const addresses = ["--listen", api, "--operations-listen", operations];
    this.process = await start("serve", ["serve", "--json", ...files, ...addresses], this.folder, { variables: keys });
    this.api = this.process.api;
    this.operations = this.process.operations;
  }

  /** Sends a chat request under the client's id. `failing`: the backend that would be chosen refuses it. */
  async ask(body, id, { failing = false } = {}) {
    const whole = JSON.stringify({ messages: [{ role: "user", content: "Name three rivers." }], ...body });
    const post = (url) => fetch(url, { method: "POST", headers: { "content-type": "application/json", "x-request-id": headerText(id) }, body: whole });
    if (failing) {
      const { chosen } = await (await post(`${this.api}/v1/route`)).json();
      const fault = { provider: chosen.provider, fault: "status", status: 503, code: "overloaded", message: "told to" };
      const order = await fetch(`${this.sandbox.control}/faults`, { method: "POST", body: JSON.stringify(fault) });
      if (!order.ok) throw new Error(`no fault: ${await order.text()}`);
    }
    const answer = await post(`${this.api}/v1/chat/completions`);
    await answer.text();
    if (failing) await fetch(`${this.sandbox.control}/faults`, { method: "DELETE" });
    const { headers, status } = answer;
    return { status, backend: headers.get("x-tokenbroker-backend"), cost: headers.get("x-tokenbroker-cost-usd") };
  }

  /** The feed as scripts read it, once nothing is under way. */
  async feed() {
    return eventually(async () => {
      const feed = await (await fetch(`${this.operations}/feed?once`)).json();
      return feed.totals.open === 0 && feed;
    }, READY_MILLISECONDS, "every request to end");
  }

  /** The status of an answer to a request for another host. */
  status(target, host) {
    return new Promise((resolve, reject) => {
      const asked = request(`${this.operations}${target}`, { headers: { host } }, (answer) => {
        answer.resume();
        resolve(answer.statusCode);
      });
      asked.once("error", reject);
      asked.end();
    });
  }

  async drain() {
    this.process.child.kill("SIGTERM");
    return this.process.exited;
  }

  /** Starts the gateway anew at the same addresses. */
  async again() {
    await this.serve(new URL(this.api).host, new URL(this.operations).host);
  }

  async stop() {
    for (const { child, exited } of [this.process, this.sandbox]) {
      child.kill("SIGKILL");
      await exited;
    }
    await rm(this.folder, { recursive: true });
  }
}

/** A header takes printable ASCII. */
const headerText = (text) => text.replaceAll(/[^\x20-\x7e]/g, "?");
