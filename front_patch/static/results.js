/** The results of a search, which the stock page draws. */

import { drawable } from "./stock.js";

export class Results {
  /**
   * @param {import("./stock.js").ClipFront} element
   * @param {import("./activity.js").Activity} activity
   * @param {import("./requests.js").Requests} requests
   * @param {() => void} retry
   */
  constructor(element, activity, requests, retry) {
    this.element = element;
    this.activity = activity;
    this.requests = requests;
    this.retry = retry;
  }

  clear() {
    this.element.images = [];
  }

  /**
   * Searches, and shows the results.
   *
   * @returns {Promise<import("./backend.js").Item[] | undefined>} undefined where the search failed or is outdated
   */
  async load() {
    const { activity, element, requests, retry } = this;
    const results = await activity.run("search", "Searching", (signal) => requests.results(null, signal), retry);
    if (results === undefined) return undefined;
    element.images = results.map((item, rank) => (rank < element.numImages ? drawable(item, element.urlColumn) : item));
    element.lastMetadataId = Math.min(element.numImages, results.length) - 1;
    await element.updateComplete;
    return results;
  }

  /**
   * The results as the stock page downloads them.
   *
   * @param {number | null} count
   */
  async download(count) {
    const { activity, element, requests } = this;
    const results = await activity.run(
      "download",
      "Downloading the results",
      (signal) => requests.results(count, signal),
      () => element.download(),
    );
    if (results === undefined) throw new Error("The results could not be downloaded.");
    return results;
  }

  /**
   * The metadata of the next results; the stock page requests it while the user scrolls.
   *
   * @param {number} [count]
   */
  async fetchMore(count = 40) {
    const { activity, element, requests } = this;
    const first = (element.lastMetadataId ?? element.images.length) + 1;
    const ids = element.images.slice(first, first + count).map(({ id }) => id);
    // Every scroll event asks again: what failed is only requested again when the user retries.
    const asked = activity.running.has("more") || activity.failed.has("more");
    if (asked || ids.length === 0) return;
    const items = await activity.run(
      "more",
      "Loading more results",
      (signal) => requests.items(ids, signal),
      () => this.fetchMore(count),
    );
    if (items === undefined) return;
    const byId = new Map(items.map((item) => [item.id, drawable(item, element.urlColumn)]));
    element.images = element.images.map((item) => ({ ...byId.get(item.id), ...item }));
    element.lastMetadataId = first + ids.length - 1;
  }
}
