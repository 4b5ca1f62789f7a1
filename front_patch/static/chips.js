/**
 * A query in parts: images and texts in order, with the text in the search bar as one of them.
 * All functions here return new lists.
 */

/**
 * @typedef {{kind: "item", id: number, minus?: boolean}} ItemChip an image of the index
 * @typedef {{kind: "upload", image: string, minus?: boolean}} UploadChip an uploaded image, in base64
 * @typedef {{kind: "url", url: string, minus?: boolean}} UrlChip an image at an address
 * @typedef {{kind: "text", text: string, minus?: boolean}} TextChip
 * @typedef {{kind: "bar", minus?: undefined}} BarChip the text in the search bar
 * @typedef {ItemChip | UploadChip | UrlChip | TextChip | BarChip} Chip
 * @typedef {({text: string} | {id: number} | {image: string} | {image_url: string}) & {weight?: number}} Segment as the
 *   back end takes it
 */

/** @type {Chip[]} a query that is only the text in the search bar */
export const ONLY_BAR = [{ kind: "bar" }];

/** Weights of a text and of an image that results should be less like: see benchmarks/demo_minus_words.py. */
const MINUS_TEXT = -0.6;
const MINUS_IMAGE = -0.3;

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
  return chip.kind === "item" || chip.kind === "upload" || chip.kind === "url";
}

/**
 * The query as segments, in order; empty texts are left out.
 *
 * @param {Chip[]} chips
 * @param {string} barText
 * @returns {Segment[]}
 */
export function segmentsOf(chips, barText) {
  return chips.flatMap((chip) => segmentOf(chip, barText).map((segment) => weighted(segment, chip)));
}

/**
 * The parts of the query with what they are called, in order.
 *
 * @param {Chip[]} chips
 * @param {string} barText
 * @returns {{name: string, segment: Segment}[]}
 */
export function partsOf(chips, barText) {
  return chips.flatMap((chip) =>
    segmentsOf([chip], barText).map((segment) => ({ name: nameOf(chip, barText), segment })),
  );
}

/**
 * @param {Chip} chip
 * @param {string} barText
 * @returns {Segment[]} the segment, or none
 */
function segmentOf(chip, barText) {
  if (chip.kind === "item") return [{ id: chip.id }];
  if (chip.kind === "upload") return [{ image: chip.image }];
  if (chip.kind === "url") return [{ image_url: chip.url }];
  const text = (chip.kind === "bar" ? barText : chip.text).trim();
  return text ? [{ text }] : [];
}

/**
 * @param {Segment} segment
 * @param {Chip} chip
 * @returns {Segment}
 */
function weighted(segment, chip) {
  if (!chip.minus) return segment;
  if ("text" in segment) return { text: phraseOf(segment.text), weight: MINUS_TEXT };
  return { ...segment, weight: MINUS_IMAGE };
}

/**
 * A model that has read captions alone does not know single words.
 *
 * @param {string} text
 */
function phraseOf(text) {
  return /\s/.test(text) ? text : `a photo of ${text}`;
}

/**
 * What a part of the query is called.
 *
 * @param {Chip} chip
 * @param {string} barText
 */
export function nameOf(chip, barText) {
  const sign = chip.minus ? "less like " : "";
  if (chip.kind === "item") return `${sign}image ${chip.id}`;
  if (chip.kind === "upload") return `${sign}your image`;
  if (chip.kind === "url") return `${sign}image at ${chip.url}`;
  const text = chip.kind === "text" ? chip.text : barText.trim();
  return text === "" ? "what you type" : `${sign}“${text}”`;
}
