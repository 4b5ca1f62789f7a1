/** Requests to a clip-retrieval back end, stock or with the plugin. */

import { STOCK_FEATURES } from "./query.js";

/**
 * @typedef {{id: number, similarity?: number, caption?: string, image?: string, [column: string]: unknown}} Item
 *
 * @typedef {{similarity: number, threshold: number}} Match the best hit; below the threshold nothing matches
 *
 * @typedef {object} Encoded a query as `/encode-service` returns it
 * @property {number[]} embedding
 * @property {number[] | null} image_embedding
 * @property {string | null} caption
 * @property {"clipgpt" | "text_tower" | "both" | "image"} encoder what encoded the query
 * @property {Match | null} [match] of a text, by a model with a threshold
 * @property {string[]} [unknown_words] those of the query that the model was not trained on
 * @property {boolean} [added] the embeddings of the segments were added: the model was not trained on several
 *
 * @typedef {object} Cluster
 * @property {string} id
 * @property {string} caption
 * @property {string | null} distinctive_caption what distinguishes it from its siblings
 * @property {number} size images
 * @property {number} share of the index
 * @property {number} spread
 * @property {[number, number]} position on the map, each 0 to 1
 * @property {number[]} example_ids
 * @property {number} num_children
 * @property {number[]} [found_ids] those of the asked items that are in it
 *
 * @typedef {object} Exploration
 * @property {string} indice_name
 * @property {number} num_items
 * @property {string | null} cluster
 * @property {{id: string, caption: string}[]} trail
 * @property {Cluster[]} clusters
 * @property {number[]} example_ids
 */

/** A request that failed, with a message for the user. */
export class BackendError extends Error {
  /**
   * @param {string} message
   * @param {boolean} retryable whether the same request may succeed later
   */
  constructor(message, retryable) {
    super(message);
    this.retryable = retryable;
  }
}

export class Backend {
  /** @param {string} url */
  constructor(url) {
    this.url = url.replace(/\/+$/, "");
  }

  /**
   * The features of each index, by its name. A stock back end does not list any; an index without features is stock.
   *
   * @param {AbortSignal} signal
   * @returns {Promise<(index: string) => import("./query.js").Features>}
   */
  async features(signal) {
    const response = await this.#reach("/indices-list", { signal });
    const listed = JSON.parse(response.headers.get("ClipGPT-Features") ?? "{}");
    return (index) => ({ ...STOCK_FEATURES, ...listed[index] });
  }

  /**
   * @param {Record<string, unknown>} body
   * @param {AbortSignal} [signal]
   * @returns {Promise<Item[]>}
   */
  knn(body, signal) {
    return this.#post("/knn-service", body, signal);
  }

  /**
   * @param {Record<string, unknown>} body
   * @param {AbortSignal} signal
   * @returns {Promise<Encoded>}
   */
  encode(body, signal) {
    return this.#post("/encode-service", body, signal);
  }

  /**
   * How similar one item is to each text.
   *
   * @param {Record<string, unknown>} body
   * @param {AbortSignal} signal
   * @returns {Promise<number[]>}
   */
  async similarities(body, signal) {
    return (await this.#post("/score-service", { ...body, logprobs: false }, signal)).similarities[0];
  }

  /**
   * Several captions of one item, the most likely first.
   *
   * @param {string} index
   * @param {number} id
   * @param {number} count
   * @param {AbortSignal} signal
   * @returns {Promise<{text: string, logprob: number}[]>}
   */
  async captionsOf(index, id, count, signal) {
    const body = { indice_name: index, ids: [id], num_captions: count, num_beams: count };
    const [response] = await this.#post("/caption-service", body, signal);
    return response.captions;
  }

  /**
   * Captions of items of the index, all in one request.
   *
   * @param {string} index
   * @param {number[]} ids
   * @param {AbortSignal} signal
   * @returns {Promise<Map<number, string>>}
   */
  async captions(index, ids, signal) {
    /** @type {{id: number, captions: {text: string}[]}[]} */
    const response = await this.#post("/caption-service", { indice_name: index, ids }, signal);
    return new Map(response.map(({ id, captions }) => [id, captions[0].text]));
  }

  /**
   * Items with their metadata.
   *
   * @param {string} index
   * @param {number[]} ids
   * @param {AbortSignal} signal
   * @returns {Promise<Item[]>}
   */
  async items(index, ids, signal) {
    /** @type {{id: number, metadata: object}[]} */
    const response = await this.#post("/metadata", { indice_name: index, ids }, signal);
    return response.map(({ id, metadata }) => ({ ...metadata, id }));
  }

  /**
   * The clusters of an index, or of one of its clusters.
   *
   * @param {string} index
   * @param {string} cluster "" for the whole index
   * @param {number[]} ids items to find in the clusters
   * @param {AbortSignal} signal
   * @returns {Promise<Exploration>}
   */
  async explore(index, cluster, ids, signal) {
    const parameters = new URLSearchParams({ indice_name: index, ...(cluster && { cluster }) });
    if (ids.length > 0) parameters.set("ids", ids.join(","));
    const exploration = await (await this.#reach(`/explore-service?${parameters}`, { signal })).json();
    /** @type {Cluster[]} */
    const clusters = exploration.clusters;
    clusters.forEach((one) => (one.found_ids = exploration.found?.[one.id]));
    return exploration;
  }

  /**
   * @param {string} index
   * @param {AbortSignal} signal
   * @returns {Promise<import("./filters.js").Field[]>}
   */
  async fields(index, signal) {
    const parameters = new URLSearchParams({ indice_name: index });
    return (await (await this.#reach(`/fields-service?${parameters}`, { signal })).json()).fields;
  }

  /**
   * A Parquet file of items, with their embeddings.
   *
   * @param {string} index
   * @param {number[]} ids
   * @param {AbortSignal} signal
   */
  async parquet(index, ids, signal) {
    const body = JSON.stringify({ indice_name: index, ids });
    return (await this.#reach("/export-service", { method: "POST", body, signal })).blob();
  }

  /**
   * @param {string} path
   * @param {object} body
   * @param {AbortSignal} [signal]
   */
  async #post(path, body, signal) {
    // Without a JSON content type, as the stock page posts: requests to other origins then need no preflight.
    return (await this.#reach(path, { method: "POST", body: JSON.stringify(body), signal })).json();
  }

  /**
   * @param {string} path
   * @param {RequestInit} options
   * @returns {Promise<Response>}
   */
  async #reach(path, options) {
    let response;
    try {
      response = await fetch(this.url + path, options);
    } catch (error) {
      if (options.signal?.aborted) throw error;
      throw new BackendError(`Cannot reach the back end at ${this.url || location.origin}.`, true);
    }
    if (response.ok) return response;
    throw new BackendError(await errorMessage(response), response.status === 503 || response.status >= 500);
  }
}

/** @param {Response} response */
async function errorMessage(response) {
  const { message, field } = await response.json().then((body) => body.error ?? {}, () => ({}));
  if (response.status === 503) {
    const seconds = response.headers.get("Retry-After");
    return seconds ? `The back end is busy: try again in ${seconds} s.` : "The back end is busy.";
  }
  if (message) return `The back end reports: ${field ? `${field} ` : ""}${message}.`;
  return `The back end failed (${response.status} ${response.statusText}).`;
}
