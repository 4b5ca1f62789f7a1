/** Requests to a clip-retrieval back end, stock or with the plugin. */

import { STOCK_FEATURES } from "./query.js";

/**
 * @typedef {{id: number, similarity?: number, caption?: string, image?: string, [column: string]: unknown}} Item
 *
 * @typedef {object} Understood
 * @property {number[]} embedding
 * @property {number[] | null} image_embedding
 * @property {string | null} caption
 * @property {number | null} [min_similarity]
 *
 * @typedef {object} Cluster
 * @property {string} id
 * @property {string} caption
 * @property {string | null} distinctive_caption what sets it apart from its siblings
 * @property {number} size images
 * @property {number} share of the index
 * @property {number} spread
 * @property {[number, number]} position on the map, each 0 to 1
 * @property {number[]} example_ids
 * @property {number} num_children
 *
 * @typedef {object} Exploration
 * @property {string} indice_name
 * @property {number} num_items
 * @property {string | null} cluster
 * @property {{id: string, caption: string}[]} trail
 * @property {Cluster[]} clusters
 * @property {number[]} example_ids
 */

/** Something that a back end refused or could not do, as a sentence for the one who asked. */
export class BackendError extends Error {}

export class Backend {
  /** @param {string} url */
  constructor(url) {
    this.url = url.replace(/\/+$/, "");
  }

  /**
   * What each index can do, by its name; a stock back end does not say, and an index without a word is a stock one.
   *
   * @param {AbortSignal} signal
   * @returns {Promise<(index: string) => import("./query.js").Features>}
   */
  async features(signal) {
    const response = await reach(`${this.url}/indices-list`, { signal });
    const announced = JSON.parse(response.headers.get("ClipGPT-Features") ?? "{}");
    return (index) => ({ ...STOCK_FEATURES, ...announced[index] });
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
   * @returns {Promise<Understood>}
   */
  encode(body, signal) {
    return this.#post("/encode-service", body, signal);
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
    const answer = await this.#post("/caption-service", { indice_name: index, ids }, signal);
    return new Map(answer.map(({ id, captions }) => [id, captions[0].text]));
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
    const answer = await this.#post("/metadata", { indice_name: index, ids }, signal);
    return answer.map(({ id, metadata }) => ({ ...metadata, id }));
  }

  /**
   * The clusters of an index, or those inside of one cluster.
   *
   * @param {string} index
   * @param {string} cluster "" for the whole index
   * @param {AbortSignal} signal
   * @returns {Promise<Exploration>}
   */
  async explore(index, cluster, signal) {
    const parameters = new URLSearchParams({ indice_name: index, ...(cluster && { cluster }) });
    return (await reach(`${this.url}/explore-service?${parameters}`, { signal })).json();
  }

  /**
   * @param {string} path
   * @param {object} body
   * @param {AbortSignal} [signal]
   */
  async #post(path, body, signal) {
    // Without a content type of its own, as the stock page posts: other origins then need no preflight.
    return (await reach(this.url + path, { method: "POST", body: JSON.stringify(body), signal })).json();
  }
}

/**
 * @param {string} url
 * @param {RequestInit} options
 * @returns {Promise<Response>}
 */
async function reach(url, options) {
  let response;
  try {
    response = await fetch(url, options);
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new BackendError(`The back end does not answer at ${url}.`);
  }
  if (response.ok) return response;
  throw new BackendError(await refusal(response));
}

/**
 * Why a request was refused, in words.
 *
 * @param {Response} response
 */
async function refusal(response) {
  const said = await response.json().then((body) => body.error?.message, () => undefined);
  if (response.status === 503) {
    const seconds = response.headers.get("Retry-After");
    return seconds ? `The back end is busy: try again in ${seconds} s.` : "The back end is busy.";
  }
  if (said) return `The back end says: ${said}.`;
  return `The back end failed to answer (${response.status} ${response.statusText}).`;
}
