import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { chooseLabels, labelBox } from "../static/labels.js";

const HEIGHT = 16;
const MAP_WIDTH = 400;
const point = fc.record({
  x: fc.integer({ min: 0, max: MAP_WIDTH }),
  y: fc.integer({ min: 0, max: 300 }),
  radius: fc.integer({ min: 4, max: 26 }),
  width: fc.integer({ min: 10, max: 160 }),
  weight: fc.nat(),
});

const box = (one, side) => {
  const { left, top, right, bottom } = labelBox(one, HEIGHT, side);
  return [left, top, right, bottom];
};
const overlap = ([l, t, r, b], [l2, t2, r2, b2]) => l < r2 && l2 < r && t < b2 && t2 < b;

test("labels neither overlap nor leave the map", () => {
  fc.assert(
    fc.property(fc.array(point, { maxLength: 40 }), (points) => {
      const sides = chooseLabels(points, HEIGHT, MAP_WIDTH);
      const boxes = points.flatMap((one, position) => (sides[position] ? [box(one, sides[position])] : []));
      boxes.forEach((one, at) => {
        assert.ok(one[0] >= 0 && one[2] <= MAP_WIDTH);
        assert.ok(!boxes.slice(at + 1).some((other) => overlap(one, other)));
      });
    }),
  );
});

test("of two that collide, the larger cluster is labelled below its point, the other where there is space", () => {
  const small = { x: 100, y: 100, radius: 8, width: 80, weight: 1 };
  const large = { x: 130, y: 102, radius: 8, width: 80, weight: 9 };
  assert.deepEqual(chooseLabels([small, large], HEIGHT, MAP_WIDTH), ["above", "below"]);
});

test("the largest cluster has a label, even where it covers others", () => {
  const large = { x: 200, y: 100, radius: 20, width: 80, weight: 9 };
  const around = [[0, 28], [0, -28], [60, 0], [-60, 0]];
  const small = around.map(([x, y]) => ({ x: 200 + x, y: 100 + y, radius: 14, width: 300, weight: 1 }));
  assert.deepEqual(chooseLabels([...small, large], HEIGHT, MAP_WIDTH)[4], "below");
});

test("a point at the edge is labelled on the side that has space, or not at all", () => {
  const edge = { x: 10, y: 100, radius: 8, width: 80, weight: 1 };
  assert.deepEqual(chooseLabels([edge], HEIGHT, MAP_WIDTH), ["right"]);
  assert.deepEqual(chooseLabels([edge], HEIGHT, 90), [null]);
});

test("a label does not hide the number of results on a point", () => {
  const one = { x: 200, y: 100, radius: 8, width: 80, weight: 1 };
  const badge = { left: 190, right: 210, top: 112, bottom: 130 };
  const heavier = { x: 20, y: 300, radius: 8, width: 20, weight: 9 };
  assert.deepEqual(chooseLabels([one, heavier], HEIGHT, MAP_WIDTH, [badge])[0], "above");
});
