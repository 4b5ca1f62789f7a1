/** Requests to the back end: the state of the page as fields of requests. */

import { STOCK_FEATURES, queryFields } from "./query.js";

/** @typedef {import("./backend.js").Item} Item */

/** Near duplicates are removed from this many candidates. */
const CANDIDATES = 400;

/** Each method reads the state when it is called, before it waits for anything. */
export class Requests {
  /** @param {import("./state.js").State} state */
  constructor(state) {
    this.state = state;
  }

  /**
   * The results of the query.
   *
   * @param {number | null} count of results; null: as many as the stock page requests
   * @param {AbortSignal} signal
   */
  results(count, signal) {
    const { state } = this;
    const { element } = state;
    const asked =
      state.kind() === "stock-image"
        ? { image: element.image ?? null, image_url: element.imageUrl ?? null }
        : queryFields(state.query(), element.useMclip ? STOCK_FEATURES : state.features);
    const fields = this.#searchFields(count ?? element.numImages, count ?? element.numResultIds);
    return state.backend.knn({ ...fields, ...asked }, signal);
  }

  /**
   * The results of the query by CLIP and by CLIP-GPT.
   *
   * @param {number} count
   * @param {AbortSignal} signal
   */
  async resultsOfBoth(count, signal) {
    const { state } = this;
    /** @type {(encoder: import("./query.js").Encoder) => Promise<Item[]>} */
    const search = async (encoder) => {
      const fields = queryFields({ ...state.query(), encoder }, state.features);
      const where = { ...this.#searchFields(count, CANDIDATES), use_mclip: false };
      return (await state.backend.knn({ ...where, ...fields }, signal)).slice(0, count);
    };
    return Promise.all([search("clip"), search("clip-gpt")]);
  }

  /**
   * The query encoded.
   *
   * @param {AbortSignal} signal
   */
  readback(signal) {
    const { backend, element, features } = this.state;
    return backend.encode({ indice_name: element.currentIndex, ...queryFields(this.state.query(), features) }, signal);
  }

  /**
   * One cluster of the index, or all of it, and images of it.
   *
   * @param {string} cluster "" for the whole index
   * @param {number[]} near ids of images to look up as well; the neighbours of the last one are searched
   * @param {number} examples of each cluster inside
   * @param {number} count of neighbours
   * @param {AbortSignal} signal
   */
  async explore(cluster, near, examples, count, signal) {
    const { backend, element } = this.state;
    const index = element.currentIndex;
    const where = { ...this.#searchFields(count, CANDIDATES), use_mclip: false, use_clipgpt: false };
    const exploration = await backend.explore(index, cluster, signal);
    const shown = exploration.clusters.flatMap(({ example_ids }) => example_ids.slice(0, examples));
    const ids = [...new Set([...exploration.example_ids, ...shown]), ...near];
    const [items, neighbours] = await Promise.all([
      backend.items(index, ids, signal),
      near.length === 0 ? [] : backend.knn({ ...where, segments: [{ id: near.at(-1) }] }, signal),
    ]);
    const byId = new Map(items.map((item) => [item.id, item]));
    return { exploration, items: byId, neighbours: neighbours.slice(0, count) };
  }

  /**
   * @param {number[]} ids
   * @param {AbortSignal} signal
   */
  captions(ids, signal) {
    return this.state.backend.captions(this.state.element.currentIndex, ids, signal);
  }

  /**
   * @param {number[]} ids
   * @param {AbortSignal} signal
   */
  items(ids, signal) {
    return this.state.backend.items(this.state.element.currentIndex, ids, signal);
  }

  /**
   * The fields of `/knn-service` that set where and how to search, without the query.
   *
   * @param {number} count of results with metadata
   * @param {number} idCount of results
   */
  #searchFields(count, idCount) {
    const { element } = this.state;
    return {
      text: null,
      image: null,
      image_url: null,
      embedding_input: null,
      modality: element.modality,
      num_images: count,
      indice_name: element.currentIndex,
      num_result_ids: idCount,
      use_mclip: element.useMclip,
      deduplicate: element.hideDuplicateImages,
      use_safety_model: element.safeMode,
      use_violence_detector: element.removeViolence,
      aesthetic_score: element.aestheticScore,
      aesthetic_weight: element.aestheticWeight,
    };
  }
}
