/** The query as fields of a request. */

import { segmentsOf } from "./chips.js";

/**
 * @typedef {"clip" | "clip-gpt" | "blend"} Encoder
 * @typedef {object} Features what an index can do
 * @property {boolean} clip CLIP's own weights are loaded: its text tower, and uploaded images
 * @property {boolean} clipgpt text and interleaved queries go through CLIP-GPT; items are captioned
 * @property {boolean} explore the index has a table of contents and a map
 * @property {boolean} [segments] the model was trained on interleaved queries; otherwise their embeddings are added
 * @property {number} weight of CLIP-GPT, where a request has none
 *
 * @typedef {object} Query
 * @property {string} text in the search bar
 * @property {import("./chips.js").Chip[]} chips
 * @property {Encoder} encoder
 * @property {number} weight of CLIP-GPT in a blend, 0 to 1
 */

/** @type {Features} */
export const STOCK_FEATURES = { clip: true, clipgpt: false, explore: false, weight: 0 };

/**
 * The default encoder of the server. Its weight was measured on texts: a model that was trained on interleaved queries
 * reads these alone.
 *
 * @param {Features} features
 * @param {ReturnType<typeof kindOf>} [kind] of the query
 * @returns {Encoder}
 */
export function defaultEncoder(features, kind = "text") {
  if (features.weight === 1 || (kind === "interleaved" && features.segments)) return "clip-gpt";
  return features.weight === 0 ? "clip" : "blend";
}

/**
 * The kind of a query: empty, text only, one image only (a search for its neighbours), or a sequence of images and
 * texts, which only CLIP-GPT can encode.
 *
 * @param {Pick<Query, "text" | "chips">} query
 * @returns {"empty" | "text" | "image" | "interleaved"}
 */
export function kindOf(query) {
  const segments = segmentsOf(query.chips, query.text);
  if (segments.length === 0) return "empty";
  if (segments.every((segment) => "text" in segment)) return "text";
  return segments.length === 1 ? "image" : "interleaved";
}

/**
 * The encoder of a query: the chosen one, where it can encode the query.
 *
 * @param {Query} query
 * @returns {Encoder | null} null for a single image, which is not encoded
 */
export function effectiveEncoder(query) {
  const kind = kindOf(query);
  if (kind === "image") return null;
  return kind === "interleaved" && query.encoder === "clip" ? "clip-gpt" : query.encoder;
}

/**
 * The fields of `/knn-service` and `/encode-service` that hold the query and its encoder.
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
  const encoder = effectiveEncoder(query);
  if (encoder === null || encoder === "clip") return { ...asked, use_clipgpt: false };
  return { ...asked, use_clipgpt: true, clipgpt_weight: encoder === "blend" ? query.weight : 1 };
}
