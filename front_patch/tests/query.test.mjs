import assert from "node:assert/strict";
import { test } from "node:test";
import { ONLY_BAR } from "../static/chips.js";
import { STOCK_FEATURES, defaultEncoder, kindOf, queryFields, effectiveEncoder } from "../static/query.js";

const ours = { clip: true, clipgpt: true, explore: true, weight: 1 };
const query = (changes) => ({ text: "a dog", chips: ONLY_BAR, encoder: "clip-gpt", weight: 0.3, ...changes });
const image = [{ kind: "item", id: 7 }, { kind: "bar" }];

test("the chosen encoder encodes a text", () => {
  assert.deepEqual(queryFields(query({}), ours), { text: "a dog", use_clipgpt: true, clipgpt_weight: 1 });
  assert.deepEqual(queryFields(query({ encoder: "clip" }), ours), { text: "a dog", use_clipgpt: false });
  const blend = { text: "a dog", use_clipgpt: true, clipgpt_weight: 0.3 };
  assert.deepEqual(queryFields(query({ encoder: "blend" }), ours), blend);
});

test("an image with a text is encoded by CLIP-GPT, as CLIP cannot", () => {
  const fields = queryFields(query({ chips: image, encoder: "clip" }), ours);
  assert.deepEqual(fields, { segments: [{ id: 7 }, { text: "a dog" }], use_clipgpt: true, clipgpt_weight: 1 });
});

test("a single image is not encoded: its neighbours are searched", () => {
  const alone = query({ chips: image, text: " " });
  assert.equal(kindOf(alone), "image");
  assert.equal(effectiveEncoder(alone), null);
  assert.deepEqual(queryFields(alone, ours), { segments: [{ id: 7 }], use_clipgpt: false });
});

test("a stock back end is sent no fields that it does not know", () => {
  assert.deepEqual(queryFields(query({}), STOCK_FEATURES), { text: "a dog" });
});

test("the default encoder follows from the weight of the server", () => {
  const encoders = [0, 0.4, 1].map((weight) => defaultEncoder({ ...ours, weight }));
  assert.deepEqual(encoders, ["clip", "blend", "clip-gpt"]);
  const trained = [true, false].map((segments) => defaultEncoder({ ...ours, weight: 0.4, segments }, "interleaved"));
  assert.deepEqual(trained, ["clip-gpt", "blend"]);
});
