// /v1/completions through the official openai client for Node: several prompts, best_of, echo and
// suffix. Run by test_infill.py against a model that fills in.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import test from "node:test";

const require = createRequire(`${process.env.WEFT_NODE_HOME}/package.json`);
const { default: OpenAI, BadRequestError } = require("openai");

const client = new OpenAI(
  { baseURL: `${process.env.WEFT_URL}/v1`, apiKey: process.env.WEFT_KEY, maxRetries: 0 });
const model = process.env.WEFT_MODEL_ID;
const greedy = { model, temperature: 0, max_tokens: 6 };

async function collect(stream) {
  const texts = [], reasons = [];
  for await (const chunk of stream) {
    for (const choice of chunk.choices) {
      texts[choice.index] = (texts[choice.index] ?? "") + choice.text;
      reasons[choice.index] = choice.finish_reason ?? reasons[choice.index];
    }
  }
  return { texts, reasons };
}

const textsOf = (answer) =>
  [...answer.choices].sort((a, b) => a.index - b.index).map((choice) => choice.text);

test("several prompts are answered in order, each as if it were alone", async () => {
  const prompts = ["One, two, three,", "def main():"];
  const together = textsOf(await client.completions.create({ ...greedy, prompt: prompts, n: 2 }));
  assert.equal(together.length, 4);
  for (const [i, prompt] of prompts.entries()) {
    const [alone] = textsOf(await client.completions.create({ ...greedy, prompt }));
    assert.ok(alone.length > 0);
    assert.deepEqual(together.slice(2 * i, 2 * i + 2), [alone, alone]);
  }
});

test("several prompts stream, each under its own index", async () => {
  const asked = { ...greedy, prompt: ["One, two, three,", "def main():"] };
  const whole = await client.completions.create(asked);
  const { texts, reasons } = await collect(await client.completions.create({ ...asked, stream: true }));
  assert.deepEqual(texts, textsOf(whole));
  assert.deepEqual(reasons, [...whole.choices].sort((a, b) => a.index - b.index).map((c) => c.finish_reason));
});

test("best_of gives the likeliest choice and counts them all", async () => {
  const asked = { model, prompt: "Once upon a time", max_tokens: 6, temperature: 1, seed: 3, logprobs: 1 };
  const all = await client.completions.create({ ...asked, n: 4 });
  const best = await client.completions.create({ ...asked, best_of: 4 });
  assert.equal(best.choices.length, 1);
  const mean = ({ logprobs }) =>
    logprobs.token_logprobs.reduce((sum, one) => sum + one, 0) / logprobs.token_logprobs.length;
  const likeliest = all.choices.reduce((a, b) => (mean(a) >= mean(b) ? a : b));
  assert.equal(best.choices[0].text, likeliest.text);
  assert.equal(best.usage.completion_tokens, all.usage.completion_tokens);
  await assert.rejects(
    client.completions.create({ ...asked, best_of: 2, n: 3 }), BadRequestError);
  await assert.rejects(
    client.completions.create({ ...asked, best_of: 2, stream: true }), BadRequestError);
});

test("echo gives the prompt back, scored as its tokens were when they were made", async () => {
  const prompt = "The capital of France is";
  const made = await client.completions.create({ ...greedy, prompt, logprobs: 1 });
  const whole = prompt + made.choices[0].text;
  const scored = await client.completions.create(
    { model, prompt: whole, max_tokens: 0, echo: true, logprobs: 1, temperature: 0 });
  assert.equal(scored.choices[0].text, whole);
  const logprobs = scored.choices[0].logprobs.token_logprobs;
  assert.equal(logprobs[0], null);
  assert.deepEqual(logprobs.slice(-6), made.choices[0].logprobs.token_logprobs);
  const { texts } = await collect(
    await client.completions.create({ ...greedy, prompt, echo: true, stream: true }));
  assert.equal(texts[0], whole);
});

test("a suffix is what the answer is made to lead to", async () => {
  const asked = { ...greedy, prompt: "def add(a, b):\n    ", suffix: "\n    return c\n" };
  const filled = await client.completions.create(asked);
  const plain = await client.completions.create({ ...greedy, prompt: asked.prompt });
  assert.ok(filled.usage.prompt_tokens > plain.usage.prompt_tokens);
  const { texts } = await collect(await client.completions.create({ ...asked, stream: true }));
  assert.equal(texts[0], filled.choices[0].text);
});
