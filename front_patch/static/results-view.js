/** The results of a search: a grid that loads more while the user scrolls. */

import { button, h } from "./dom.js";
import { Grid } from "./grid.js";

/** Results that are added at a time; the first ones come with their metadata. */
const BATCH = 40;

/**
 * @typedef {import("./backend.js").Item} Item
 *
 * @typedef {object} ResultsActions
 * @property {(count: number, signal: AbortSignal) => Promise<Item[]>} load the first `count` come with their
 *   metadata, the others with their ids
 * @property {(ids: number[], signal: AbortSignal) => Promise<Item[]>} loadItems
 * @property {(items: Item[]) => Item[]} withoutDuplicates
 * @property {() => void} retry
 * @property {() => void} onShown
 */

export class ResultsView {
  /**
   * @param {import("./activity.js").Activity} activity
   * @param {import("./tiles.js").Tiles} tiles
   * @param {HTMLElement} toolbar
   * @param {ResultsActions} actions
   */
  constructor(activity, tiles, toolbar, actions) {
    this.activity = activity;
    this.actions = actions;
    /** @type {Item[]} */
    this.items = [];
    this.numShown = 0;
    this.grid = new Grid(tiles, "Results");
    this.empty = h("p", { class: "empty", hidden: true });
    this.more = button("Show more", () => this.#addMore(), { class: "more", hidden: true });
    this.element = h(
      "section",
      { class: "view results", id: "results", tabindex: -1, "aria-label": "Results" },
      toolbar,
      this.grid.element,
      this.empty,
      this.more,
    );
    this.nearEnd = new IntersectionObserver(([entry]) => entry.isIntersecting && this.#addMore(), {
      rootMargin: "900px",
    });
  }

  clear() {
    this.activity.stop("more");
    this.items = [];
    this.numShown = 0;
    this.grid.show([]);
    this.more.hidden = true;
    this.empty.hidden = true;
  }

  /** Searches, and shows the results. */
  async load() {
    const { actions, activity, element } = this;
    element.classList.add("stale");
    const results = await activity.run("search", "Searching", (signal) => actions.load(BATCH, signal), actions.retry);
    if (activity.running.has("search")) return;
    element.classList.remove("stale");
    this.clear();
    if (results !== undefined) this.#show(results);
  }

  /** @param {Item[]} results */
  #show(results) {
    this.items = results;
    this.empty.hidden = results.length > 0;
    this.empty.textContent = "Nothing was found. Try other words, or fewer conditions in the settings.";
    this.#append(BATCH);
    this.actions.onShown();
  }

  /** @param {number} count of further items, whose metadata are there */
  #append(count) {
    const next = this.items.slice(this.numShown, this.numShown + count);
    this.numShown += next.length;
    this.grid.append(this.actions.withoutDuplicates(next));
    this.more.hidden = this.numShown >= this.items.length;
    // Observed from now on, it reports its position once, although it may not have moved.
    this.nearEnd.disconnect();
    this.nearEnd.observe(this.more);
  }

  async #addMore() {
    const { activity, actions, items } = this;
    // The scroll position may ask again and again: what failed is only requested again when the user retries.
    if (this.more.hidden || activity.running.has("more") || activity.failed.has("more")) return;
    const next = items.slice(this.numShown, this.numShown + BATCH);
    const found = await activity.run(
      "more",
      "Loading more results",
      (signal) => actions.loadItems(next.map(({ id }) => id), signal),
      () => this.#addMore(),
    );
    if (found === undefined || this.items !== items) return;
    const byId = new Map(found.map((item) => [item.id, item]));
    next.forEach((item) => Object.assign(item, { ...byId.get(item.id), ...item }));
    this.#append(next.length);
    this.actions.onShown();
  }
}
