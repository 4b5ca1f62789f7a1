/** Requests to the back end: the state of the page as fields of requests. */

import { partsOf } from "./chips.js";
import { cosine, withNotes } from "./fits.js";
import { STOCK_FEATURES, encoderFields, queryFields } from "./query.js";
import { imageSource } from "./stock.js";

/** @typedef {import("./backend.js").Item} Item */

/** Near duplicates are removed from this many candidates. */
const CANDIDATES = 400;

/** Results that are looked up on the map. */
const ON_THE_MAP = 100;

/** Each method reads the state when it is called, before it waits for anything. */
export class Requests {
  /** @param {import("./state.js").State} state */
  constructor(state) {
    this.state = state;
  }

  /**
   * The results of the query.
   *
   * @param {number} count of results that come with their metadata
   * @param {AbortSignal} signal
   */
  results(count, signal) {
    const fields = this.#searchFields(count, this.state.element.numResultIds);
    return this.state.backend.knn({ ...fields, ...this.#queryFields() }, signal);
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
   * How well an item fits each part of the query.
   *
   * @param {number} id
   * @param {AbortSignal} signal
   */
  async fits(id, signal) {
    const { backend, element, features } = this.state;
    const index = element.currentIndex;
    const query = this.state.query();
    const parts = partsOf(query.chips, query.text);
    const texts = parts.flatMap(({ segment }) => ("text" in segment ? [segment.text] : []));
    const images = parts.flatMap(({ segment }) => ("text" in segment ? [] : [segment]));
    const body = { indice_name: index, ids: [id], texts, ...encoderFields(query, features) };
    const [ofTexts, own, ...others] = await Promise.all([
      texts.length === 0 ? [] : backend.similarities(body, signal),
      ...(images.length === 0 ? [] : [{ id }, ...images]).map((image) => this.#embedding(index, image, signal)),
    ]);
    const ofImages = others.map((other) => cosine(own, other));
    const fits = parts.map(({ name, segment }) => {
      const kind = /** @type {"text" | "image"} */ ("text" in segment ? "text" : "image");
      const similarity = (kind === "text" ? ofTexts : ofImages).shift() ?? NaN;
      return { name, kind, minus: (segment.weight ?? 1) < 0, similarity };
    });
    return withNotes(fits);
  }

  /**
   * @param {string} index
   * @param {import("./chips.js").Segment} image
   * @param {AbortSignal} signal
   */
  async #embedding(index, image, signal) {
    const segments = [{ ...image, weight: 1 }];
    return (await this.state.backend.encode({ indice_name: index, segments, use_clipgpt: false }, signal)).embedding;
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
   * One cluster of the index, or all of it, and images of it; the clusters tell which results of the query they hold.
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
    const found = near.length > 0 || this.state.kind() === "empty" ? [] : await this.#foundIds(signal);
    const exploration = await backend.explore(index, cluster, found, signal);
    const shown = exploration.clusters.flatMap(({ example_ids }) => example_ids.slice(0, examples));
    const [items, neighbours] = await Promise.all([
      this.items([...new Set([...exploration.example_ids, ...shown, ...near])], signal),
      near.length === 0 ? [] : this.neighbours({ id: near[near.length - 1] }, count, signal),
    ]);
    return { exploration, items: new Map(items.map((item) => [item.id, item])), neighbours };
  }

  /** @param {AbortSignal} signal */
  async #foundIds(signal) {
    const fields = { ...this.#searchFields(1, ON_THE_MAP), ...this.#queryFields() };
    return (await this.state.backend.knn(fields, signal)).map(({ id }) => id);
  }

  /**
   * The neighbours of an item.
   *
   * @param {Item} item
   * @param {number} count
   * @param {AbortSignal} signal
   */
  async neighbours(item, count, signal) {
    const { backend, features } = this.state;
    // Near duplicates are what is nearest.
    const where = { ...this.#searchFields(count + 1, count + 1), use_mclip: false, deduplicate: false };
    const found = await backend.knn({ ...where, ...this.#itemFields(item, features) }, signal);
    return found.filter(({ id }) => id !== item.id).slice(0, count);
  }

  /**
   * @param {Item} item
   * @param {import("./query.js").Features} features
   */
  #itemFields(item, features) {
    if (features.explore) return { segments: [{ id: item.id }], ...(features.clipgpt && { use_clipgpt: false }) };
    const source = imageSource(item, this.state.element.urlColumn) ?? "";
    return source.startsWith("data:") ? { image: item.image } : { image_url: source };
  }

  /**
   * The fields of the metadata that filters may name.
   *
   * @param {AbortSignal} signal
   */
  fields(signal) {
    return this.state.backend.fields(this.state.element.currentIndex, signal);
  }

  /**
   * @param {number[]} ids
   * @param {AbortSignal} signal
   */
  captions(ids, signal) {
    return this.state.backend.captions(this.state.element.currentIndex, ids, signal);
  }

  /**
   * @param {number} id
   * @param {number} count
   * @param {AbortSignal} signal
   */
  captionsOf(id, count, signal) {
    return this.state.backend.captionsOf(this.state.element.currentIndex, id, count, signal);
  }

  /**
   * @param {number[]} ids
   * @param {AbortSignal} signal
   * @returns {Promise<Item[]>}
   */
  async items(ids, signal) {
    return ids.length === 0 ? [] : this.state.backend.items(this.state.element.currentIndex, ids, signal);
  }

  #queryFields() {
    const { element, features } = this.state;
    return queryFields(this.state.query(), element.useMclip ? STOCK_FEATURES : features);
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
      ...(this.state.filters.length > 0 && { filter: this.state.filters }),
    };
  }
}
