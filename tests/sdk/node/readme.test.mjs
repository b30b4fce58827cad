// The README's JavaScript, run as it stands there but for the address.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import path from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { oneBroker } from "./gateway.mjs";

const FOLDER = path.dirname(fileURLToPath(import.meta.url));
const ADDRESS = "http://127.0.0.1:8080/v1";

const the = oneBroker();

test("the readme s snippet prints an answer", async () => {
  const readme = await readFile(path.join(FOLDER, "../../../README.md"), "utf8");
  const snippets = [...readme.matchAll(/^```js\n(.*?)^```/gms)].map(([, snippet]) => snippet);
  assert.equal(snippets.length, 1);
  assert.ok(snippets[0].includes(ADDRESS));
  const snippet = snippets[0].replace(ADDRESS, the.broker.baseURL);
  // Here, so that the SDK is found.
  const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "-e", snippet], { cwd: FOLDER });
  assert.ok(stdout.trim());
});
