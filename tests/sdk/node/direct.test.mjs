// What is no conversation, by OpenAI's own SDK: embeddings, images, speech and transcriptions over one scripted host.

import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import { after, test } from "node:test";

import { toFile } from "openai";

import { Broker, oneBroker, pico } from "./gateway.mjs";

const SOUND = Buffer.from("ID3\x04\x00\r\n\r\ndata: {".repeat(2_000), "latin1");
const PICTURE = Buffer.from("\x89PNG\r\n", "latin1").toString("base64");

/** Answers each path with what was put there, and keeps what it was asked. */
class Host {
  asked = [];
  answers = {};

  static async start() {
    const host = new Host();
    host.server = http.createServer(async (request, response) => {
      const body = Buffer.concat(await Array.fromAsync(request));
      host.asked.push({ path: request.url, type: request.headers["content-type"], body });
      const { type = "application/json", content } = host.answers[request.url];
      response.writeHead(200, { "content-type": type }).end(content);
    });
    host.server.listen(0, "127.0.0.1");
    await once(host.server, "listening");
    return host;
  }

  /** The next one to this path is answered so. */
  put(path, content, type) {
    this.answers[path] = { type, content: Buffer.isBuffer(content) ? content : JSON.stringify(content) };
  }

  table(...backends) {
    const rows = backends.map(
      ([model, serves, price, more = ""]) => `
[[backends]]
provider = "north"
model = "${model}"
upstream_model = "north-${model}"
serves = "${serves}"
context_tokens = 8_192
tokenizer = "cl100k"
${more}
[[backends.prices]]
${price}
source = "invented for tests"
`,
    );
    return `schema = 1
version = "test"
[providers.north]
name = "north"
base_url = "http://127.0.0.1:${this.server.address().port}/v1"
dialect = "openai-chat"
owner = "north"
jurisdiction = "US"
region = "US"
currency = "USD"
source = "invented for tests"
${rows.join("")}`;
  }
}

const host = await Host.start();
after(() => host.server.close());
const the = oneBroker(() =>
  Broker.startOver(
    host.table(
      ["vectors", "embeddings", "input = 0.5", "dimensions = 2"],
      ["brush", "images", 'images = [{ size = "1024x1024", quality = "hd", per_image = 0.08 }]'],
      ["voice", "speech", "per_million_characters = 15"],
      ["ear", "transcriptions", "per_minute = 0.006"],
    ),
  ),
);

/** Asks, and looks at what was sent and what is in the books; gives what the SDK made of the answer. */
async function paid(asked, dollars) {
  const { data, response } = await asked.withResponse();
  const [attempt] = await the.broker.booked(response.headers);
  assert.equal(attempt.cost_pico_usd, pico(dollars));
  return data;
}

test("vectors come as numbers and are paid by their tokens", async () => {
  const embedding = Buffer.from(new Float32Array([0.25, -0.5]).buffer).toString("base64");
  const usage = { prompt_tokens: 7, total_tokens: 7 };
  host.put("/v1/embeddings", { object: "list", model: "north-vectors", data: [{ object: "embedding", index: 0, embedding }], usage });
  const made = await paid(the.broker.client.embeddings.create({ model: "vectors", input: "hello there" }), "0.0000035");
  assert.deepEqual([...made.data[0].embedding], [0.25, -0.5]);
});

test("an image comes as it is and is paid by size and quality", async () => {
  host.put("/v1/images/generations", { created: 1, data: [{ b64_json: PICTURE }] });
  const wish = { model: "brush", prompt: "a cat", size: "1024x1024", quality: "hd" };
  const made = await paid(the.broker.client.images.generate(wish), "0.08");
  assert.equal(made.data[0].b64_json, PICTURE);
  assert.equal(JSON.parse(host.asked.at(-1).body).model, "north-brush");
});

test("speech comes as it is and is paid by its characters", async () => {
  host.put("/v1/audio/speech", SOUND, "audio/mpeg");
  const said = await paid(the.broker.client.audio.speech.create({ model: "voice", voice: "alloy", input: "h\u00e9llo \u4f60\u597d" }), "0.00012");
  assert.deepEqual(Buffer.from(await said.arrayBuffer()), SOUND);
});

test("a file is written down and paid by its time", async () => {
  host.put("/v1/audio/transcriptions", { text: "hello", usage: { type: "duration", seconds: 9 } });
  const file = await toFile(SOUND, "speech.mp3", { type: "audio/mpeg" });
  const heard = await paid(the.broker.client.audio.transcriptions.create({ model: "ear", file, language: "en" }), "0.0009");
  assert.equal(heard.text, "hello");
  const { type, body } = host.asked.at(-1);
  assert.match(type, /^multipart\/form-data; boundary=/);
  assert.ok(body.includes(SOUND) && body.includes("north-ear"));
});
