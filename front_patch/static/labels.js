/** Which labels of a map can be shown without overlaps. */

/**
 * @typedef {object} Labelled
 * @property {number} x centre of the point, in pixels
 * @property {number} y
 * @property {number} radius of the point, in pixels
 * @property {number} width of the label, in pixels
 * @property {number} weight the heaviest point is labelled first
 *
 * @typedef {{left: number, right: number, top: number, bottom: number}} Box
 */

/** @typedef {"below" | "above" | "right" | "left"} Side of its point that a label is on */

/** @type {Side[]} the first one with enough space is taken */
const SIDES = ["below", "above", "right", "left"];

/**
 * Chooses labels greedily. A label overlaps neither another label nor a badge nor another point; only that of the
 * heaviest point may cover others, as a map whose largest point has no name says little.
 *
 * @param {Labelled[]} points
 * @param {number} height of a label, in pixels
 * @param {number} mapWidth in pixels
 * @param {Box[]} [badges] on points
 * @returns {(Side | null)[]} the side of each label; null where it does not fit
 */
export function chooseLabels(points, height, mapWidth, badges = []) {
  const taken = [...badges];
  /** @type {(Side | null)[]} */
  const sides = points.map(() => null);
  const order = points.map((_, position) => position).sort((a, b) => points[b].weight - points[a].weight);
  for (const position of order) {
    const discs = points.filter((_, at) => at !== position).map(discBox);
    const boxes = SIDES.map((side) => labelBox(points[position], height, side));
    const inside = boxes.map(({ left, right }) => left >= 0 && right <= mapWidth);
    const free = boxes.findIndex((box, at) => inside[at] && ![...taken, ...discs].some((other) => overlap(box, other)));
    const chosen = free === -1 && position === order[0] ? inside.indexOf(true) : free;
    if (chosen === -1) continue;
    taken.push(boxes[chosen]);
    sides[position] = SIDES[chosen];
  }
  return sides;
}

/**
 * @param {Labelled} point
 * @param {number} height
 * @param {Side} side
 * @returns {Box}
 */
export function labelBox({ x, y, radius, width }, height, side) {
  const away = { below: [0, radius + height / 2], above: [0, -radius - height / 2] };
  const beside = { right: [radius + width / 2, 0], left: [-radius - width / 2, 0] };
  const [right, down] = { ...away, ...beside }[side];
  const [left, top] = [x + right - width / 2, y + down - height / 2];
  return { left, right: left + width, top, bottom: top + height };
}

/** @param {Labelled} point */
function discBox({ x, y, radius }) {
  return { left: x - radius, right: x + radius, top: y - radius, bottom: y + radius };
}

/**
 * @param {Box} a
 * @param {Box} b
 */
function overlap(a, b) {
  return a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
}
