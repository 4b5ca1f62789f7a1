import assert from "node:assert/strict";
import { test } from "node:test";
import { cosine, withNotes } from "../static/fits.js";

const part = (kind, similarity, minus = false) => ({ name: "a part", kind, minus, similarity });
const notes = (...fits) => withNotes(fits).map(({ note }) => note);

test("the part that an image fits best and the one that it fits least are noted", () => {
  assert.deepEqual(notes(part("text", 0.4), part("text", 0.6), part("text", 0.1)), ["", "fits best", "fits least"]);
});

test("texts are not compared with images, nor with what results should be less like", () => {
  assert.deepEqual(notes(part("text", 0.4), part("image", 0.9), part("text", 0.1, true)), ["", "", ""]);
  assert.deepEqual(notes(part("text", 0.4), part("text", 0.4)), ["", ""]);
});

test("the similarity of two embeddings is their cosine", () => {
  assert.equal(cosine([0.6, 0.8], [1, 0]), 0.6);
});
