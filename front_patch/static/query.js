/** The query as fields of a request. */

import { segmentsOf } from "./chips.js";

/**
 * @typedef {"clip" | "clip-gpt" | "blend"} Encoder
 * @typedef {object} Features what an index can do; the optional ones are unknown of a stock back end
 * @property {boolean} clip CLIP's own weights are loaded: its text tower, and uploaded images
 * @property {boolean} clipgpt text and interleaved queries go through CLIP-GPT; items are captioned
 * @property {boolean} explore the index has a table of contents and a map
 * @property {boolean} [segments] the model was trained on interleaved queries; otherwise their embeddings are added
 * @property {number} weight of CLIP-GPT, where a request has none
 * @property {number} [items] in the index
 * @property {string} [clip_model] name of CLIP
 * @property {string} [model] name of the CLIP-GPT model
 * @property {boolean} mclip texts can be encoded by multilingual CLIP
 * @property {boolean} aesthetic results can be ordered by aesthetic score
 * @property {boolean} safety unsafe images can be removed
 * @property {boolean} violence violent images can be removed
 * @property {boolean} text_index the index can be searched by its texts
 * @property {boolean} [filters] results can be restricted by their metadata
 * @property {boolean} [export] the back end writes Parquet files
 * @property {boolean} [minus] parts of a query may have a negative weight
 * @property {boolean} [scores] the back end tells how well texts fit items
 *
 * @typedef {object} Query
 * @property {string} text in the search bar
 * @property {import("./chips.js").Chip[]} chips
 * @property {Encoder} encoder
 * @property {number} weight of CLIP-GPT in a blend, 0 to 1
 */

/** @type {Features} */
export const STOCK_FEATURES = Object.freeze({
  clip: true,
  clipgpt: false,
  explore: false,
  weight: 0,
  mclip: true,
  aesthetic: true,
  safety: true,
  violence: true,
  text_index: true,
});

/**
 * The default encoder of the server. Its weight was measured on texts: a model that was trained on interleaved queries
 * reads these alone.
 *
 * @param {Features} features
 * @param {boolean} [withImages] whether the query has images
 * @returns {Encoder}
 */
export function defaultEncoder(features, withImages = false) {
  if (features.weight === 1 || (withImages && features.segments)) return "clip-gpt";
  return features.weight === 0 ? "clip" : "blend";
}

/**
 * The weight of CLIP-GPT in a blend: the server's, where it blends.
 *
 * @param {Features} features
 */
export function defaultWeight({ weight }) {
  return weight > 0 && weight < 1 ? weight : 0.5;
}

/**
 * The kind of a query: empty (also if it says only what results should be less like), text only, one image only (a
 * search for its neighbours), or a sequence of images and texts, which only CLIP-GPT can encode.
 *
 * @param {Pick<Query, "text" | "chips">} query
 * @returns {"empty" | "text" | "image" | "interleaved"}
 */
export function kindOf(query) {
  const segments = segmentsOf(query.chips, query.text);
  if (segments.every(({ weight }) => weight !== undefined)) return "empty";
  if (segments.some(({ weight }) => weight !== undefined)) return "interleaved";
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
  const kind = kindOf(query);
  if (kind === "text") return { text, ...encoderFields(query, features) };
  // A stock back end takes one image that is not of its index.
  if (kind === "image" && !("id" in segments[0]) && !features.clipgpt) return { ...segments[0] };
  return { segments, ...encoderFields(query, features) };
}

/**
 * @param {Query} query
 * @param {Features} features
 * @returns {Record<string, unknown>} what encodes the query
 */
export function encoderFields(query, features) {
  if (!features.clipgpt) return {};
  const encoder = effectiveEncoder(query);
  if (encoder === null || encoder === "clip") return { use_clipgpt: false };
  return { use_clipgpt: true, clipgpt_weight: encoder === "blend" ? query.weight : 1 };
}
