/** What is in the index: its map and table of contents, its clusters, and the neighbours of their images. */

import { button, focusedIn, h } from "./dom.js";
import { chooseLabels } from "./labels.js";

const EXAMPLES = 3;
const NEIGHBOURS = 40;
const LABEL_HEIGHT = 16;
/** Space around the points, in percent of the map. */
const MARGIN = 6;
const MAX_LABEL_CHARACTERS = 26;
const MAX_RADIUS = 26;
const MIN_RADIUS = 7;

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
 * @property {(item: Item) => HTMLElement} figure
 * @property {(item: Item) => string | null} imageOf
 * @property {(cluster: string, near?: number[]) => void} visit
 * @property {() => void} onShown
 */

export class ExploreView {
  /**
   * @param {import("./activity.js").Activity} activity
   * @param {ExploreActions} actions
   */
  constructor(activity, actions) {
    this.activity = activity;
    this.actions = actions;
    this.cluster = "";
    /** @type {number[]} */
    this.near = [];
    this.element = h("section", { class: "view explore", "aria-label": "Explore the index", hidden: true });
    this.map = h("div", { class: "map" });
    /** @type {Cluster[]} */
    this.clusters = [];
    new ResizeObserver(() => this.#chooseLabels()).observe(this.map);
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
    const parts = [this.#trail(exploration, items)];
    if (this.near.length > 0) {
      parts.push(this.#images("Images like this one", neighbours));
    } else {
      if (exploration.clusters.length > 0) parts.push(this.#overview(exploration, items));
      const examples = exploration.example_ids.flatMap((id) => items.get(id) ?? []);
      if (examples.length > 0) parts.push(this.#images("Images of this cluster", examples));
    }
    this.#replace(...parts);
    this.#chooseLabels();
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
      ...exploration.trail.map(({ id, caption }) => button(caption, () => visit(id))),
      ...near.map((id, step) => this.#imageStep(id, items.get(id), () =>
        visit(cluster, near.slice(0, step + 1)),
      )),
    ];
    steps.at(-1)?.setAttribute("aria-current", "page");
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
    const step = button("", open, { label: item?.caption ?? `image ${id}` });
    step.append(h("img", { src: source, alt: "" }));
    return step;
  }

  /**
   * @param {Exploration} exploration
   * @param {Map<number, Item>} items
   */
  #overview(exploration, items) {
    const largest = Math.max(...exploration.clusters.map(({ share }) => share));
    this.clusters = exploration.clusters;
    this.map.replaceChildren(...exploration.clusters.map((cluster) => this.#point(cluster, largest)));
    const bySize = [...exploration.clusters].sort((a, b) => b.size - a.size);
    return h(
      "div",
      { class: "overview" },
      h("section", { "aria-label": "Map" }, h("h2", {}, "Map"), this.map),
      h(
        "section",
        { "aria-label": "Table of contents" },
        h("h2", {}, "Table of contents"),
        h("ol", { class: "contents" }, ...bySize.map((cluster) => this.#entry(cluster, items))),
      ),
    );
  }

  /**
   * @param {Cluster} cluster
   * @param {number} largest share of a cluster on this map
   */
  #point(cluster, largest) {
    const radius = Math.max(MIN_RADIUS, MAX_RADIUS * Math.sqrt(cluster.share / largest));
    const [x, y] = cluster.position.map((part) => MARGIN + part * (100 - 2 * MARGIN));
    const point = button("", () => this.actions.visit(cluster.id), {
      class: "point",
      label: `${cluster.caption}, ${sizeOf(cluster)}`,
      style: `left: ${x}%; top: ${y}%; --radius: ${radius}px`,
    });
    point.append(h("span", { class: "label" }, shortened(cluster.distinctive_caption ?? cluster.caption)));
    return point;
  }

  /** Shows as many labels as fit. */
  #chooseLabels() {
    const { clientWidth } = this.map;
    if (clientWidth === 0) return;
    // Labels may reach into the margin of the map, points do not.
    const margin = parseFloat(getComputedStyle(this.map).marginLeft);
    const points = /** @type {HTMLElement[]} */ ([...this.map.children]);
    const labelled = points.map((point, position) => ({
      x: point.offsetLeft + margin,
      y: point.offsetTop,
      radius: point.offsetWidth / 2,
      width: /** @type {HTMLElement} */ (point.firstElementChild).offsetWidth,
      weight: this.clusters[position].size,
    }));
    const sides = chooseLabels(labelled, LABEL_HEIGHT, clientWidth + 2 * margin);
    points.forEach((point, position) => {
      const side = sides[position];
      point.className = side === null ? "point" : `point labelled ${side}`;
    });
  }

  /**
   * @param {Cluster} cluster
   * @param {Map<number, Item>} items
   */
  #entry(cluster, items) {
    const { caption, distinctive_caption: distinctive } = cluster;
    const examples = cluster.example_ids.slice(0, EXAMPLES).flatMap((id) => items.get(id) ?? []);
    return h(
      "li",
      {},
      button(caption, () => this.actions.visit(cluster.id), { class: "title", label: `Open: ${caption}` }),
      h("span", { class: "size" }, sizeOf(cluster)),
      distinctive === null || distinctive === caption ? null : h("span", { class: "distinctive" }, distinctive),
      h("span", { class: "examples" }, ...examples.map((item) => this.#example(cluster, item))),
    );
  }

  /**
   * @param {Cluster} cluster
   * @param {Item} item
   */
  #example(cluster, item) {
    const open = () => this.actions.visit(cluster.id, [item.id]);
    const source = this.actions.imageOf(item);
    const name = item.caption ?? `image ${item.id}`;
    const example = button("", open, { label: `Images like: ${name}` });
    if (source === null) example.append(name);
    else example.append(h("img", { src: source, alt: "", loading: "lazy" }));
    return example;
  }

  /**
   * @param {string} title
   * @param {Item[]} items
   */
  #images(title, items) {
    const list = h("ol", { class: "images" }, ...items.map((item) => h("li", {}, this.actions.figure(item))));
    return h("section", { "aria-label": title }, h("h2", {}, title), list);
  }
}

/** @param {Cluster} cluster */
function sizeOf({ size, share }) {
  const percent = share >= 0.01 ? Math.round(share * 100) : "<1";
  return `${size.toLocaleString("en")} ${size === 1 ? "image" : "images"}, ${percent} %`;
}

/** @param {string} text */
function shortened(text) {
  return text.length <= MAX_LABEL_CHARACTERS ? text : `${text.slice(0, MAX_LABEL_CHARACTERS - 1).trimEnd()}…`;
}
