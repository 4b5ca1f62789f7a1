import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import { matchText, roundedApart } from "../static/match.js";

const cosine = fc.double({ min: -1, max: 1, noNaN: true });

test("a close match needs no words", () => {
  assert.equal(matchText({ similarity: 0.7149, threshold: 0.567 }), "");
});

test("no close match has both numbers, never rounded to the same", () => {
  const text = matchText({ similarity: 0.7637, threshold: 0.764 });
  assert.equal(text, "No close match: the text fits the best image by 0.7637, matches fit by 0.7640 or more.");
});

test("two numbers are rounded to different ones, in their order", () => {
  fc.assert(
    fc.property(cosine, cosine, (first, second) => {
      fc.pre(Math.abs(first - second) > 1e-15);
      const [one, other] = roundedApart(first, second);
      assert.notEqual(one, other);
      assert.equal(Number(one) < Number(other), first < second);
    }),
  );
});
