import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { compareHits } from "../static/compare.js";

const hits = fc.uniqueArray(fc.nat(30), { maxLength: 20 }).map((ids) => ids.map((id) => ({ id })));

test("a hit is marked exactly where the other list has it, with its rank there", () => {
  fc.assert(
    fc.property(hits, hits, (left, right) => {
      const compared = compareHits(left, right);
      const shared = left.filter(({ id }) => right.some((other) => other.id === id));
      assert.equal(compared.common, shared.length);
      for (const { hit, rank, otherRank } of compared.left) {
        assert.equal(left[rank - 1], hit);
        const there = otherRank === null ? undefined : right[otherRank - 1].id;
        assert.equal(there, shared.includes(hit) ? hit.id : undefined);
      }
      assert.equal(compared.right.filter(({ otherRank }) => otherRank !== null).length, shared.length);
    }),
  );
});
