/**
 * An interleaved query: images and texts in order, with the text in the search bar as one of them.
 * All functions here return new lists.
 */

/**
 * @typedef {{kind: "item", id: number}} ItemChip an image of the index
 * @typedef {{kind: "upload", image: string}} UploadChip an uploaded image, in base64
 * @typedef {{kind: "text", text: string}} TextChip
 * @typedef {{kind: "bar"}} BarChip the text in the search bar
 * @typedef {ItemChip | UploadChip | TextChip | BarChip} Chip
 * @typedef {{text: string} | {id: number} | {image: string}} Segment as the back end takes it
 */

/** @type {Chip[]} a query that is only the text in the search bar */
export const ONLY_BAR = [{ kind: "bar" }];

/**
 * The chips with one more, before the text in the search bar: "[image] but at night".
 *
 * @param {Chip[]} chips
 * @param {Chip} chip
 */
export function addChip(chips, chip) {
  const position = chips.findIndex(({ kind }) => kind === "bar");
  return chips.toSpliced(position, 0, chip);
}

/**
 * @param {Chip[]} chips
 * @param {number} position
 */
export function removeChip(chips, position) {
  return chips[position]?.kind === "bar" ? chips : chips.toSpliced(position, 1);
}

/**
 * The chips with the one at `from` moved to `to`; a position beyond either end is that end.
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
 * The query as segments, in order; empty texts are left out.
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
