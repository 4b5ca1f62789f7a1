/**
 * An interleaved query: images and texts in an order, and the place of what stands in the search bar among them.
 * All functions here return new lists.
 */

/**
 * @typedef {{kind: "item", id: number}} ItemChip an image of the index
 * @typedef {{kind: "upload", image: string}} UploadChip an image of one's own, in base64
 * @typedef {{kind: "text", text: string}} TextChip
 * @typedef {{kind: "bar"}} BarChip what stands in the search bar
 * @typedef {ItemChip | UploadChip | TextChip | BarChip} Chip
 * @typedef {{text: string} | {id: number} | {image: string}} Segment as the back end takes it
 */

/** @type {Chip[]} a query that is the search bar alone */
export const ONLY_BAR = [{ kind: "bar" }];

/**
 * The chips with one more, before what stands in the bar: "[image] but at night".
 *
 * @param {Chip[]} chips
 * @param {Chip} chip
 */
export function addChip(chips, chip) {
  const place = chips.findIndex(({ kind }) => kind === "bar");
  return chips.toSpliced(place, 0, chip);
}

/**
 * @param {Chip[]} chips
 * @param {number} place
 */
export function removeChip(chips, place) {
  return chips[place]?.kind === "bar" ? chips : chips.toSpliced(place, 1);
}

/**
 * The chips with the one at `from` moved to `to`; a place beyond either end is that end.
 *
 * @param {Chip[]} chips
 * @param {number} from
 * @param {number} to
 */
export function moveChip(chips, from, to) {
  const end = Math.max(0, Math.min(chips.length - 1, to));
  return chips.toSpliced(from, 1).toSpliced(end, 0, chips[from]);
}

/**
 * @param {Chip} chip
 * @returns {boolean}
 */
export function isImage(chip) {
  return chip.kind === "item" || chip.kind === "upload";
}

/**
 * What the back end is asked with, in order; empty texts are left out.
 *
 * @param {Chip[]} chips
 * @param {string} barText
 * @returns {Segment[]}
 */
export function segmentsOf(chips, barText) {
  return chips.flatMap((chip) => segmentOf(chip, barText));
}

/**
 * @param {Chip} chip
 * @param {string} barText
 * @returns {Segment[]} the segment, or none
 */
function segmentOf(chip, barText) {
  if (chip.kind === "item") return [{ id: chip.id }];
  if (chip.kind === "upload") return [{ image: chip.image }];
  const text = (chip.kind === "bar" ? barText : chip.text).trim();
  return text ? [{ text }] : [];
}
