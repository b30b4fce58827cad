// OpenAI's and Anthropic's packages over a provider of each kind, each in its own words: helpers for streams and tools, structured
// output, errors, aborts. The providers are those of ../python/agent_providers.py.

import assert from "node:assert/strict";
import { test } from "node:test";

import Anthropic from "@anthropic-ai/sdk";
import { betaZodTool } from "@anthropic-ai/sdk/helpers/beta/zod";
import { zodOutputFormat } from "@anthropic-ai/sdk/helpers/zod";
import OpenAI from "openai";
import { zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";

import { eventually } from "../../program.mjs";
import { Broker, oneBroker, user } from "./gateway.mjs";

const the = oneBroker(() => Broker.startAgents());

const City = z.object({ city: z.string() });
const Weather = z.object({ city: z.string(), degrees: z.int() });
const TOOL = { name: "get_weather", description: "The weather in a city now" };
const PARAMETERS = { type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false };
const THINKING = { type: "enabled", budget_tokens: 1024 };

const anthropic = () => new Anthropic({ baseURL: the.broker.serve.api, apiKey: "any", maxRetries: 0 });
const weather = (asked) => ({ city }) => (asked.push(city), `${10 + city.length} degrees in ${city}`);

/** What is said at the end of a loop over tools, and the tokens of each of its steps. */
const LOOPS = {
  async chat(model, asked) {
    const parameters = { ...TOOL, parameters: PARAMETERS, parse: JSON.parse, function: weather(asked) };
    const { system, question } = the.broker.script;
    const messages = [{ role: "system", content: system }, ...user(question)];
    const body = { model, messages, stream: true, stream_options: { include_usage: true } };
    const runner = the.broker.client.chat.completions.runTools({ ...body, tools: [{ type: "function", function: parameters }] });
    const text = await runner.finalContent();
    return { text, usages: runner.allChatCompletions().map(({ usage }) => [usage.prompt_tokens, usage.completion_tokens]) };
  },
  async responses(model, asked) {
    const { system, question } = the.broker.script;
    const tools = [{ type: "function", ...TOOL, parameters: PARAMETERS, strict: true }];
    const [input, usages, run] = [user(question), [], weather(asked)];
    for (;;) {
      const body = { model, instructions: system, input, tools, reasoning: { effort: "low" } };
      const answer = await the.broker.client.responses.stream(body).finalResponse();
      usages.push([answer.usage.input_tokens, answer.usage.output_tokens]);
      const calls = answer.output.filter((item) => item.type === "function_call");
      if (calls.length === 0) return { text: answer.output_text, usages };
      const results = calls.map((call) => ({ type: "function_call_output", call_id: call.call_id, output: run(JSON.parse(call.arguments)) }));
      input.push(...answer.output, ...results);
    }
  },
  async messages(model, asked) {
    const { system, question } = the.broker.script;
    const tools = [betaZodTool({ ...TOOL, inputSchema: City, run: weather(asked) })];
    const body = { model, system, messages: user(question), max_tokens: 4096, thinking: THINKING, tools, stream: true };
    const usages = [];
    let last;
    for await (const stream of anthropic().beta.messages.toolRunner(body)) {
      last = await stream.finalMessage();
      usages.push([last.usage.input_tokens + last.usage.cache_read_input_tokens, last.usage.output_tokens]);
    }
    return { text: last.content.find(({ type }) => type === "text").text, usages };
  },
};

/** A structured answer, parsed. */
const PARSED = {
  async chat(body) {
    const format = { response_format: zodResponseFormat(Weather, "weather") };
    return (await the.broker.client.chat.completions.parse({ ...body, ...format })).choices[0].message.parsed;
  },
  async responses({ model, messages }) {
    const format = { text: { format: zodTextFormat(Weather, "weather") } };
    return (await the.broker.client.responses.parse({ model, input: messages, ...format })).output_parsed;
  },
  async messages(body) {
    const format = { output_config: { format: zodOutputFormat(Weather) } };
    return (await anthropic().messages.parse({ ...body, max_tokens: 400, ...format })).parsed_output;
  },
};

/** A stream by the package's helper, of which `onText` hears. */
const STREAMS = {
  chat: (body, onText) => the.broker.client.chat.completions.stream(body).on("content", onText),
  responses: ({ model, messages }, onText) =>
    the.broker.client.responses.stream({ model, input: messages }).on("response.output_text.delta", onText),
  messages: (body, onText) => anthropic().messages.stream({ ...body, max_tokens: 400 }).on("text", onText),
};

const PLAIN = {
  chat: (body) => the.broker.client.chat.completions.create(body),
  responses: ({ model, messages }) => the.broker.client.responses.create({ model, input: messages }),
  messages: (body) => anthropic().messages.create({ ...body, max_tokens: 400 }),
};

async function overAll(ways, check) {
  for (const [api, way] of Object.entries(ways)) {
    for (const model of Object.keys(the.broker.script.logs)) {
      await check(way, model, api).catch((reason) => {
        throw new Error(`${api} over ${model}`, { cause: reason });
      });
    }
  }
}

test("streamed tools run over every provider", () =>
  overAll(LOOPS, async (loop, model) => {
    await the.broker.log(model);
    const asked = [];
    const { text, usages } = await loop(model, asked);
    assert.deepEqual((await the.broker.log(model)).wrong, []);
    assert.equal(text, the.broker.script.answer);
    assert.deepEqual(asked.toSorted(), ["Hamburg", "Oslo", "奥斯陆"]);
    assert.deepEqual(usages, the.broker.script.told);
  }));

test("a structured answer is parsed over every provider", () =>
  overAll(PARSED, async (parsed, model) => {
    assert.deepEqual(await parsed({ model, messages: user("How warm is it in Oslo?") }), { city: "Oslo", degrees: 4 });
  }));

test("a message comes whole and is counted over every provider", () =>
  overAll({ messages: (body) => anthropic().messages.create(body) }, async (create, model) => {
    const body = { model, messages: user("Say hello.") };
    const message = await create({ ...body, max_tokens: 64 });
    assert.deepEqual([message.type, message.role, message.model.length > 0], ["message", "assistant", true]);
    assert.ok(message.usage.output_tokens > 0, JSON.stringify(message.usage));
    const counted = await Promise.all([body, { ...body, system: "Be brief. ".repeat(200) }].map((asked) => anthropic().messages.countTokens(asked)));
    assert.ok(counted[0].input_tokens > 0 && counted[1].input_tokens > counted[0].input_tokens + 200, JSON.stringify(counted));
  }));

test("a refusal is told over every provider", () =>
  overAll(PLAIN, async (ask, model, api) => {
    const kind = api === "messages" ? Anthropic.BadRequestError : OpenAI.BadRequestError;
    await assert.rejects(ask({ model, messages: user("Refuse this.") }), (failure) => {
      assert.ok(failure instanceof kind, String(failure));
      assert.match(failure.message, /I refuse\./);
      return true;
    });
  }));

test("an aborted stream is cut over every provider", () =>
  overAll(STREAMS, async (stream, model, api) => {
    await the.broker.log(model);
    const heard = await new Promise((resolve, reject) => {
      const running = stream({ model, messages: user("Go on and on.") }, (text) => {
        running.abort();
        resolve(typeof text === "string" ? text : text.delta);
      });
      const ended = running[{ chat: "finalChatCompletion", responses: "finalResponse", messages: "finalMessage" }[api]]();
      ended.then(() => reject(new Error("it ended as if whole")), () => {});
    });
    assert.match(heard, /^and on /);
    await eventually(async () => (await the.broker.log(model)).cut, 10_000, "the provider's stream was cut");
  }));
