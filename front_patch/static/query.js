/** The search as fields of a request. */

import { segmentsOf } from "./chips.js";

/**
 * @typedef {"clip" | "clip-gpt" | "blend"} Encoder
 * @typedef {object} Features what an index can do
 * @property {boolean} clip CLIP's own weights are loaded: its text tower, and uploaded images
 * @property {boolean} clipgpt text and interleaved queries go through CLIP-GPT; items are captioned
 * @property {boolean} explore there are a table of contents and a map
 * @property {number} weight CLIP-GPT's share where a request does not say
 *
 * @typedef {object} Query
 * @property {string} text what stands in the search bar
 * @property {import("./chips.js").Chip[]} chips
 * @property {Encoder} encoder
 * @property {number} weight CLIP-GPT's share in a blend, 0 to 1
 */

/** @type {Features} */
export const STOCK_FEATURES = { clip: true, clipgpt: false, explore: false, weight: 0 };

/**
 * The encoder that the server uses by itself.
 *
 * @param {Features} features
 * @returns {Encoder}
 */
export function defaultEncoder(features) {
  if (features.weight === 1) return "clip-gpt";
  return features.weight === 0 ? "clip" : "blend";
}

/**
 * What kind of query this is: nothing, text alone, one image alone (its neighbours are wanted), or a run of
 * images and texts, which CLIP-GPT alone can read.
 *
 * @param {Query} query
 * @returns {"empty" | "text" | "image" | "interleaved"}
 */
export function kindOf(query) {
  const segments = segmentsOf(query.chips, query.text);
  if (segments.length === 0) return "empty";
  if (segments.every((segment) => "text" in segment)) return "text";
  return segments.length === 1 ? "image" : "interleaved";
}

/**
 * The encoder that reads the query, which for images is not a matter of choice.
 *
 * @param {Query} query
 * @returns {Encoder | null} null for one image alone: nothing needs to be read
 */
export function readerOf(query) {
  const kind = kindOf(query);
  if (kind === "image") return null;
  return kind === "interleaved" && query.encoder === "clip" ? "clip-gpt" : query.encoder;
}

/**
 * The fields of `/knn-service` and `/encode-service` that say what is searched and who reads it.
 *
 * @param {Query} query
 * @param {Features} features
 * @returns {Record<string, unknown>}
 */
export function queryFields(query, features) {
  const segments = segmentsOf(query.chips, query.text);
  const text = segments.flatMap((segment) => ("text" in segment ? [segment.text] : [])).join(" ");
  const asked = kindOf(query) === "text" ? { text } : { segments };
  if (!features.clipgpt) return asked;
  const reader = readerOf(query);
  if (reader === null || reader === "clip") return { ...asked, use_clipgpt: false };
  return { ...asked, use_clipgpt: true, clipgpt_weight: reader === "blend" ? query.weight : 1 };
}
