/** The results of a search, as the stock page shows them. */

import { STOCK_FEATURES, queryFields } from "./query.js";

export class Results {
  /** @param {import("./patch.js").Patch} patch */
  constructor(patch) {
    this.patch = patch;
  }

  /** Searches, and shows what was found. */
  async load() {
    const { patch } = this;
    const { activity, element } = patch;
    if (patch.kind() === "empty") {
      element.images = [];
      patch.understood.clear();
      return;
    }
    const fields = this.#fields();
    const found = activity.run("search", "Searching", (signal) => patch.backend.knn(fields, signal), () =>
      patch.refresh(),
    );
    patch.understood.load(found);
    const results = await found;
    if (results === undefined) return;
    element.images = results;
    element.lastMetadataId = Math.min(element.numImages, results.length) - 1;
    await element.updateComplete;
    if (patch.captioned) patch.cards.captionVisible();
    element.initialScroll();
  }

  /**
   * The results as the stock page downloads them.
   *
   * @param {number | null} count
   */
  async download(count) {
    const { activity, backend, element } = this.patch;
    const fields = this.#fields(count);
    const results = await activity.run(
      "download",
      "Collecting the results",
      (signal) => backend.knn(fields, signal),
      () => element.download(),
    );
    if (results === undefined) throw new Error("The results could not be collected.");
    return results;
  }

  /**
   * The metadata of the next results; the stock page asks for it while one scrolls.
   *
   * @param {number} [count]
   */
  async fetchMore(count = 40) {
    const { activity, backend, element, view } = this.patch;
    const first = (element.lastMetadataId ?? element.images.length) + 1;
    const ids = element.images.slice(first, first + count).map(({ id }) => id);
    // Scrolling asks again and again: what failed is only asked for again when the user says so.
    const asked = activity.running.has("more") || activity.failed.has("more");
    if (view !== "search" || asked || ids.length === 0) return;
    const items = await activity.run(
      "more",
      "Loading more results",
      (signal) => backend.items(element.currentIndex, ids, signal),
      () => this.fetchMore(count),
    );
    if (items === undefined) return;
    const byId = new Map(items.map((item) => [item.id, item]));
    element.images = element.images.map((item) => ({ ...byId.get(item.id), ...item }));
    element.lastMetadataId = first + ids.length - 1;
  }

  /**
   * The fields of `/knn-service` for what the page shows.
   *
   * @param {number | null} count of results; null: as many as the stock page asks for
   */
  #fields(count = null) {
    const { patch } = this;
    const { element } = patch;
    const asked =
      patch.kind() === "stock-image"
        ? { image: element.image ?? null, image_url: element.imageUrl ?? null }
        : queryFields(patch.query(), element.useMclip ? STOCK_FEATURES : patch.features);
    return { ...this.searchFields(count ?? element.numImages, count ?? element.numResultIds), ...asked };
  }

  /**
   * The fields of `/knn-service` that say where and how to search, without what is searched.
   *
   * @param {number} count of results with metadata
   * @param {number} idCount of results
   */
  searchFields(count, idCount) {
    const { element } = this.patch;
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
