import assert from "node:assert/strict";
import { test } from "node:test";
import { ONLY_BAR } from "../static/chips.js";
import {
  STOCK_FEATURES,
  defaultEncoder,
  defaultWeight,
  effectiveEncoder,
  kindOf,
  queryFields,
} from "../static/query.js";

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

test("a stock back end is sent one image of the user's as it takes it", () => {
  const one = (chip) => queryFields(query({ chips: [chip, { kind: "bar" }], text: "" }), STOCK_FEATURES);
  assert.deepEqual(one({ kind: "upload", image: "aGk=" }), { image: "aGk=" });
  assert.deepEqual(one({ kind: "url", url: "http://a/b" }), { image_url: "http://a/b" });
});

test("a part that results should be less like has a negative weight", () => {
  const chips = [{ kind: "bar" }, { kind: "text", text: "people", minus: true }];
  const { segments } = queryFields(query({ chips }), ours);
  assert.deepEqual(segments, [{ text: "a dog" }, { text: "a photo of people", weight: -0.6 }]);
  assert.equal(kindOf(query({ chips, text: "" })), "empty");
});

test("the default encoder follows from the weight of the server", () => {
  const encoders = [0, 0.4, 1].map((weight) => defaultEncoder({ ...ours, weight }));
  assert.deepEqual(encoders, ["clip", "blend", "clip-gpt"]);
  const trained = [true, false].map((segments) => defaultEncoder({ ...ours, weight: 0.4, segments }, true));
  assert.deepEqual(trained, ["clip-gpt", "blend"]);
  assert.deepEqual([0, 0.4, 1].map((weight) => defaultWeight({ ...ours, weight })), [0.5, 0.4, 0.5]);
});
