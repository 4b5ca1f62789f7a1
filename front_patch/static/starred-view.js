/** The images starred over several searches: seen together, exported, used as one query. */

import { button, h } from "./dom.js";
import { exportEntries } from "./export.js";
import { Grid } from "./grid.js";
import { Menu } from "./menu.js";

/**
 * @typedef {import("./backend.js").Item} Item
 *
 * @typedef {object} StarredActions
 * @property {(ids: number[], signal: AbortSignal) => Promise<Item[]>} loadItems
 * @property {(format: import("./export.js").Format, items: Item[]) => void} exportItems
 * @property {(ids: number[]) => void} searchWith
 * @property {() => void} removeAll
 */

/** The most images that make one query. */
const MAX_IN_QUERY = 10;

export class StarredView {
  /**
   * @param {import("./activity.js").Activity} activity
   * @param {import("./tiles.js").Tiles} tiles
   * @param {StarredActions} actions
   */
  constructor(activity, tiles, actions) {
    this.activity = activity;
    this.actions = actions;
    /** @type {Item[]} */
    this.items = [];
    this.grid = new Grid(tiles, "Starred images");
    this.summary = h("p", { class: "summary" });
    const search = () => actions.searchWith(this.items.map(({ id }) => id).slice(0, MAX_IN_QUERY));
    this.search = button("Search with these", search, { class: "primary" });
    this.menu = new Menu("Export", "Export");
    this.menu.show(...exportEntries(this.menu, (format) => actions.exportItems(format, this.items)));
    this.remove = button("Remove all stars", () => actions.removeAll());
    this.tools = h("div", { class: "tools" }, this.search, this.menu.element, this.remove);
    this.element = h(
      "section",
      { class: "view starred", "aria-label": "Starred images", hidden: true },
      h("div", { class: "toolbar" }, this.summary, this.tools),
      this.grid.element,
    );
  }

  /**
   * @param {number[]} ids
   * @param {boolean} canSearch whether queries may have several parts
   */
  async load(ids, canSearch) {
    this.search.hidden = !canSearch && ids.length !== 1;
    this.tools.hidden = ids.length === 0;
    const count = `${ids.length} starred ${ids.length === 1 ? "image" : "images"}`;
    const none = "No image is starred yet. The star on an image, or the key s, keeps it here over several searches.";
    this.summary.textContent = ids.length === 0 ? none : count;
    const items = await this.activity.run(
      "starred",
      "Loading the starred images",
      (signal) => this.actions.loadItems(ids, signal),
      () => this.load(ids, canSearch),
    );
    if (items === undefined) return;
    this.items = items;
    this.grid.show(items);
  }
}
