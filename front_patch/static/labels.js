/** Which labels of a map can be shown without lying on each other. */

/**
 * @typedef {object} Labelled
 * @property {number} x centre of the point, in pixels
 * @property {number} y
 * @property {number} radius of the point, in pixels
 * @property {number} width of the label, in pixels
 * @property {number} weight the heaviest point is labelled first
 */

/**
 * Chooses labels greedily. A label stands under its point, and lies neither on another label nor on another point.
 *
 * @param {Labelled[]} points
 * @param {number} height of a label, in pixels
 * @param {number} room width of the map, in pixels
 * @returns {boolean[]} for each point, whether its label is shown
 */
export function chooseLabels(points, height, room) {
  /** @type {{left: number, right: number, top: number, bottom: number}[]} */
  const taken = [];
  const shown = points.map(() => false);
  const order = points.map((_, place) => place).sort((a, b) => points[b].weight - points[a].weight);
  for (const place of order) {
    const { x, y, radius, width } = points[place];
    const box = { left: x - width / 2, right: x + width / 2, top: y + radius, bottom: y + radius + height };
    if (box.left < 0 || box.right > room) continue;
    const onLabel = taken.some((other) => overlap(box, other));
    const onPoint = points.some((other, at) => at !== place && overlap(box, discBox(other)));
    if (onLabel || onPoint) continue;
    taken.push(box);
    shown[place] = true;
  }
  return shown;
}

/** @param {Labelled} point */
function discBox({ x, y, radius }) {
  return { left: x - radius, right: x + radius, top: y - radius, bottom: y + radius };
}

/**
 * @param {{left: number, right: number, top: number, bottom: number}} a
 * @param {{left: number, right: number, top: number, bottom: number}} b
 */
function overlap(a, b) {
  return a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
}
