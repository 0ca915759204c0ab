// The official openai client for Node, unmodified. Run by test_openai_node.py.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import test from "node:test";

// The packages are in the state directory, not beside this file.
const require = createRequire(`${process.env.WEFT_NODE_HOME}/package.json`);
const { default: OpenAI, AuthenticationError, NotFoundError, BadRequestError, APIUserAbortError,
  APIConnectionTimeoutError } = require("openai");

const baseURL = `${process.env.WEFT_URL}/v1`;
const client = new OpenAI({ baseURL, apiKey: process.env.WEFT_KEY, maxRetries: 0 });
const model = process.env.WEFT_MODEL_ID;
const messages = [{ role: "user", content: "Say hello." }];

test("models are listed", async () => {
  const ids = [];
  for await (const one of client.models.list()) ids.push(one.id);
  assert.ok(ids.includes(model));
});

test("a chat answers", async () => {
  const answer = await client.chat.completions.create({ model, messages, max_tokens: 8, temperature: 0 });
  assert.ok(answer.choices[0].message.content.length > 0);
  assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens);
});

test("a stream adds up to the whole answer and ends with usage", async () => {
  const asked = { model, messages, max_tokens: 16, temperature: 0 };
  const whole = await client.chat.completions.create(asked);
  const stream = await client.chat.completions.create(
    { ...asked, stream: true, stream_options: { include_usage: true } });
  let text = "", usage = null, reason = null;
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta?.content ?? "";
    reason = chunk.choices[0]?.finish_reason ?? reason;
    usage = chunk.usage ?? usage;
  }
  assert.equal(text, whole.choices[0].message.content);
  assert.equal(reason, whole.choices[0].finish_reason);
  assert.equal(usage.total_tokens, whole.usage.total_tokens);
});

test("several streams at once", async () => {
  const texts = await Promise.all([1, 2, 3, 4].map(async (n) => {
    const stream = await client.chat.completions.create(
      { model, max_tokens: 8, stream: true, messages: [{ role: "user", content: `Count to ${n}.` }] });
    let text = "";
    for await (const chunk of stream) text += chunk.choices[0]?.delta?.content ?? "";
    return text;
  }));
  assert.ok(texts.every((text) => text.length > 0));
});

test("errors are the classes that the client knows", async () => {
  await assert.rejects(
    client.chat.completions.create({ model: "no-such-model", messages }), NotFoundError);
  await assert.rejects(
    client.chat.completions.create({ model, messages, temperature: 9 }), BadRequestError);
  const stranger = new OpenAI({ baseURL, apiKey: "weft_wrong", maxRetries: 0 });
  await assert.rejects(stranger.models.list().then(), AuthenticationError);
});

test("a timeout is a timeout", async () => {
  await assert.rejects(
    client.chat.completions.create({ model, messages, max_tokens: 200 }, { timeout: 50 }),
    APIConnectionTimeoutError);
});

test("an abort ends the request", async () => {
  const controller = new AbortController();
  setTimeout(() => controller.abort(), 50);
  await assert.rejects(
    client.chat.completions.create({ model, messages, max_tokens: 200 },
      { signal: controller.signal }), APIUserAbortError);
});

test("a stream can be left early", async () => {
  const stream = await client.chat.completions.create({ model, messages, max_tokens: 200, stream: true });
  let seen = 0;
  for await (const _ of stream) if (++seen === 3) break;
  assert.equal(seen, 3);
});
