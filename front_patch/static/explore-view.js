/** What is in the index: its map and table of contents, its clusters, and the neighbours of their images. */

import { button, focusedIn, h } from "./dom.js";
import { Grid } from "./grid.js";
import { MapView, resultsText, sizeOf } from "./map-view.js";
import { asQuery } from "./start-view.js";

const EXAMPLES = 4;
const NEIGHBOURS = 40;

/**
 * @typedef {import("./backend.js").Cluster} Cluster
 * @typedef {import("./backend.js").Exploration} Exploration
 * @typedef {import("./backend.js").Item} Item
 * @typedef {{exploration: Exploration, items: Map<number, Item>, neighbours: Item[]}} Loaded
 *
 * @typedef {object} ExploreActions
 * @property {(
 *   cluster: string, near: number[], examples: number, count: number, signal: AbortSignal
 * ) => Promise<Loaded>} load a cluster with so many examples of each inside, and so many neighbours of the last `near`
 * @property {(item: Item) => string | null} imageOf
 * @property {(cluster: string, near?: number[]) => void} visit
 * @property {(id: number) => void} open
 * @property {() => void} onShown
 */

export class ExploreView {
  /**
   * @param {import("./activity.js").Activity} activity
   * @param {import("./tiles.js").Tiles} tiles
   * @param {ExploreActions} actions
   */
  constructor(activity, tiles, actions) {
    this.activity = activity;
    this.tiles = tiles;
    this.actions = actions;
    this.cluster = "";
    /** @type {number[]} */
    this.near = [];
    this.element = h("section", { class: "view explore", "aria-label": "Explore the index", hidden: true });
    this.map = new MapView({ visit: (cluster) => actions.visit(cluster), imageOf: (item) => actions.imageOf(item) });
  }

  /**
   * @param {string} cluster "" for the whole index
   * @param {number[]} near images opened from there, each a neighbour of the one before
   */
  async load(cluster, near) {
    this.cluster = cluster;
    this.near = near;
    const loaded = await this.activity.run(
      "explore",
      "Loading the map",
      (signal) => this.actions.load(cluster, near, EXAMPLES, NEIGHBOURS, signal),
      () => this.load(cluster, near),
    );
    if (loaded !== undefined) this.#show(loaded);
    else if (this.activity.failed.has("explore")) this.#showWayBack();
  }

  /** A link may name a cluster or an image that the index no longer has. */
  #showWayBack() {
    this.#replace(button("All images", () => this.actions.visit("")));
  }

  /**
   * Shows other parts. The focused button is gone then: the focus moves to the current step of the trail.
   *
   * @param {...Node} parts
   */
  #replace(...parts) {
    const { element } = this;
    const hadFocus = focusedIn(element) !== null;
    element.replaceChildren(...parts);
    /** @type {HTMLElement | null} */
    const current = element.querySelector("[aria-current]") ?? element.querySelector("button");
    if (hadFocus) current?.focus();
  }

  /** @param {Loaded} loaded */
  #show({ exploration, items, neighbours }) {
    /** @type {Node[]} */
    const parts = [this.#trail(exploration, items)];
    if (this.near.length > 0) {
      parts.push(this.#images("Images like this one", neighbours));
    } else {
      if (exploration.clusters.length > 0) parts.push(this.#overview(exploration, items));
      const examples = exploration.example_ids.flatMap((id) => items.get(id) ?? []);
      if (examples.length > 0) parts.push(this.#images("Images of this cluster", examples));
    }
    this.#replace(...parts);
    if (this.near.length === 0) this.map.show(exploration.clusters, items);
    this.actions.onShown();
  }

  /**
   * @param {Exploration} exploration
   * @param {Map<number, Item>} items
   */
  #trail(exploration, items) {
    const { cluster, near } = this;
    const { visit } = this.actions;
    const everything = `All ${exploration.num_items.toLocaleString("en")} images`;
    const steps = [
      button(everything, () => visit("")),
      ...exploration.trail.map(({ id, caption }) => button(asQuery(caption), () => visit(id))),
      ...near.map((id, step) => this.#imageStep(id, items.get(id), () => visit(cluster, near.slice(0, step + 1)))),
    ];
    steps[steps.length - 1].setAttribute("aria-current", "page");
    const list = h("ol", {}, ...steps.map((step) => h("li", {}, step)));
    return h("nav", { class: "trail", "aria-label": "Breadcrumb" }, list);
  }

  /**
   * @param {number} id
   * @param {Item | undefined} item
   * @param {() => void} open
   */
  #imageStep(id, item, open) {
    const source = item === undefined ? null : this.actions.imageOf(item);
    if (source === null) return button(`image ${id}`, open);
    return button(h("img", { src: source, alt: "" }), open, { label: item?.caption ?? `image ${id}` });
  }

  /**
   * @param {Exploration} exploration
   * @param {Map<number, Item>} items
   */
  #overview(exploration, items) {
    const bySize = [...exploration.clusters].sort((a, b) => b.size - a.size);
    return h(
      "div",
      { class: "overview" },
      h("section", { "aria-label": "Map" }, this.map.element),
      h(
        "section",
        { "aria-label": "Table of contents" },
        h("ol", { class: "contents" }, ...bySize.map((cluster) => this.#entry(cluster, items))),
      ),
    );
  }

  /**
   * @param {Cluster} cluster
   * @param {Map<number, Item>} items
   */
  #entry(cluster, items) {
    const { caption, distinctive_caption: distinctive } = cluster;
    const found = cluster.found_ids?.length ?? 0;
    const examples = cluster.example_ids.slice(0, EXAMPLES).flatMap((id) => items.get(id) ?? []);
    const title = asQuery(caption);
    return h(
      "li",
      {},
      button(title, () => this.actions.visit(cluster.id), { class: "title", label: `Open: ${title}` }),
      h("span", { class: "size" }, sizeOf(cluster), found > 0 ? `, ${resultsText(found)}` : null),
      distinctive === null || title.includes(distinctive) ? null : h("span", { class: "distinctive" }, distinctive),
      h("span", { class: "examples" }, ...examples.map((item) => this.#example(item))),
    );
  }

  /** @param {Item} item */
  #example(item) {
    const open = () => this.actions.open(item.id);
    const source = this.actions.imageOf(item);
    const name = item.caption ?? `image ${item.id}`;
    if (source === null) return button(name, open);
    return button(h("img", { src: source, alt: "", loading: "lazy" }), open, { label: name });
  }

  /**
   * @param {string} title
   * @param {Item[]} items
   */
  #images(title, items) {
    const grid = new Grid(this.tiles, title);
    grid.append(items);
    return h("section", { class: "images", "aria-label": title }, h("h2", {}, title), grid.element);
  }
}
