/** The start: what this index is, queries that fit it, and its clusters in images. */

import { button, h } from "./dom.js";
import { captionOf } from "./stock.js";

const QUERIES = 6;
const CLUSTERS = 12;
const MAX_QUERY_CHARACTERS = 60;
export const IMAGES = 4;

/**
 * @typedef {import("./backend.js").Cluster} Cluster
 * @typedef {import("./backend.js").Item} Item
 * @typedef {import("./query.js").Features} Features
 *
 * @typedef {{exploration: import("./backend.js").Exploration, items: Map<number, Item>}} Loaded
 *
 * @typedef {object} StartActions
 * @property {(images: number, signal: AbortSignal) => Promise<Loaded>} load
 * @property {(item: Item) => string | null} imageOf
 * @property {(text: string) => void} searchText
 * @property {(cluster: string) => void} visit
 */

export class StartView {
  /**
   * @param {import("./activity.js").Activity} activity
   * @param {StartActions} actions
   */
  constructor(activity, actions) {
    this.activity = activity;
    this.actions = actions;
    this.title = h("h1", {});
    this.facts = h("p", { class: "facts" });
    this.queries = h("div", { class: "queries" });
    this.clusters = h("ul", { class: "clusters", "aria-label": "What is in this index" });
    this.element = h(
      "section",
      { class: "view start", "aria-label": "Start", hidden: true },
      h("header", {}, this.title, this.facts, this.queries),
      this.clusters,
    );
    this.loaded = "";
  }

  /**
   * @param {string} index
   * @param {Features} features
   */
  update(index, features) {
    this.title.textContent = index;
    this.facts.textContent = factsOf(features);
  }

  /**
   * @param {string} index
   * @param {Features} features
   */
  async load(index, features) {
    if (!features.explore) {
      this.forget();
      return;
    }
    if (this.loaded === index) return;
    const loaded = await this.activity.run(
      "start",
      "Reading what is in this index",
      (signal) => this.actions.load(IMAGES, signal),
      () => this.load(index, features),
    );
    if (loaded === undefined) return;
    this.loaded = index;
    const clusters = [...loaded.exploration.clusters].sort((a, b) => b.size - a.size).slice(0, CLUSTERS);
    this.#showQueries(clusters, loaded.items);
    this.clusters.replaceChildren(...clusters.map((cluster) => this.#cluster(cluster, loaded.items)));
  }

  /** Another index has other clusters. */
  forget() {
    this.activity.stop("start");
    this.loaded = "";
    this.queries.replaceChildren();
    this.clusters.replaceChildren();
  }

  /**
   * @param {Cluster[]} clusters
   * @param {Map<number, Item>} items
   */
  #showQueries(clusters, items) {
    const texts = [...new Set(clusters.map((cluster) => queryFor(cluster, items)))].slice(0, QUERIES);
    this.queries.replaceChildren(
      h("span", {}, "Try"),
      ...texts.map((text) => button(text, () => this.actions.searchText(text), { class: "query" })),
    );
  }

  /**
   * @param {Cluster} cluster
   * @param {Map<number, Item>} items
   */
  #cluster({ id, caption, size, example_ids }, items) {
    const sources = example_ids
      .slice(0, IMAGES)
      .flatMap((example) => items.get(example) ?? [])
      .map((item) => this.actions.imageOf(item));
    const images = sources.map((source) =>
      source === null ? h("span", {}) : h("img", { src: source, alt: "", loading: "lazy", decoding: "async" }),
    );
    const open = button(h("span", { class: "mosaic" }, ...images), () => this.actions.visit(id));
    open.append(
      h("span", { class: "name" }, asQuery(caption)),
      h("span", { class: "size" }, `${size.toLocaleString("en")} images`),
    );
    return h("li", {}, open);
  }
}

/** @param {Features} features */
function factsOf({ items, clip_model, model }) {
  const facts = [
    items === undefined ? "" : `${items.toLocaleString("en")} images`,
    clip_model ? `CLIP ${clip_model}` : "",
    model ? `CLIP-GPT ${model}` : "",
  ];
  return facts.filter(Boolean).join(" · ") || "Describe an image to search this index.";
}

/**
 * A query that finds something in a cluster: the caption of its example, or its title.
 *
 * @param {Cluster} cluster
 * @param {Map<number, Item>} items
 */
function queryFor({ caption, example_ids }, items) {
  const example = items.get(example_ids[0]);
  const text = example === undefined ? "" : captionOf(example);
  return asQuery(text !== "" && text.length <= MAX_QUERY_CHARACTERS ? text : caption);
}

/**
 * A caption as people would type it.
 *
 * @param {string} caption
 */
export function asQuery(caption) {
  const opening = /^(?:an? |the )?(?:photo|picture|image|photograph|view) of /i;
  const bare = caption.replace(opening, "").replace(/[.\s]+$/, "");
  return bare === "" ? caption : bare[0].toLowerCase() + bare.slice(1);
}
