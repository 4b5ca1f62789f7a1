import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ONLY_BAR, addChip, moveChip, removeChip, segmentsOf } from "../static/chips.js";

const item = (id) => ({ kind: "item", id });
const bar = { kind: "bar" };
const anyChips = fc
  .tuple(fc.array(fc.nat().map(item), { maxLength: 6 }), fc.array(fc.nat().map(item), { maxLength: 6 }))
  .map(([before, after]) => [...before, bar, ...after]);

test("an image comes before the text in the search bar: [image] but at night", () => {
  const chips = addChip(ONLY_BAR, item(3));
  assert.deepEqual(segmentsOf(chips, " but at night "), [{ id: 3 }, { text: "but at night" }]);
  assert.deepEqual(segmentsOf(chips, "  "), [{ id: 3 }]);
});

test("texts, uploads and items keep their order", () => {
  const chips = [{ kind: "text", text: "like" }, { kind: "upload", image: "aGk=" }, bar, item(5)];
  assert.deepEqual(segmentsOf(chips, "with"), [{ text: "like" }, { image: "aGk=" }, { text: "with" }, { id: 5 }]);
});

test("moving neither loses nor duplicates chips", () => {
  fc.assert(
    fc.property(anyChips, fc.nat(20), fc.integer({ min: -5, max: 30 }), (chips, start, to) => {
      const from = start % chips.length;
      const moved = moveChip(chips, from, to);
      const end = Math.max(0, Math.min(chips.length - 1, to));
      assert.equal(moved[end], chips[from]);
      assert.deepEqual(moved.toSpliced(end, 1), chips.toSpliced(from, 1));
    }),
  );
});

test("the text in the search bar cannot be removed, other chips can", () => {
  fc.assert(
    fc.property(anyChips, fc.nat(20), (chips, position) => {
      const left = removeChip(chips, position);
      assert.ok(left.includes(bar));
      const removable = position < chips.length && chips[position] !== bar;
      assert.equal(left.length, chips.length - (removable ? 1 : 0));
    }),
  );
});
