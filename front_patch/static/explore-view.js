/** What is in the index: its map, its table of contents, and a walk from a cluster to its images and on. */

import { button, h } from "./dom.js";
import { chooseLabels } from "./labels.js";
import { imageSource } from "./stock.js";

const EXAMPLES = 3;
const NEIGHBOURS = 40;
/** Near duplicates are taken out of as many. */
const CANDIDATES = 400;
const LABEL_HEIGHT = 16;
/** Room around the points, in per cent of the map. */
const MARGIN = 6;
const LONGEST_LABEL = 26;
const LARGEST_RADIUS = 26;
const SMALLEST_RADIUS = 7;

/**
 * @typedef {import("./backend.js").Cluster} Cluster
 * @typedef {import("./backend.js").Exploration} Exploration
 * @typedef {import("./backend.js").Item} Item
 */

export class ExploreView {
  /** @param {import("./patch.js").Patch} patch */
  constructor(patch) {
    this.patch = patch;
    this.element = h("section", { class: "view explore", "aria-label": "Explore the index", hidden: true });
    this.map = h("div", { class: "map" });
    /** @type {Cluster[]} */
    this.clusters = [];
    new ResizeObserver(() => this.#chooseLabels()).observe(this.map);
  }

  async load() {
    const { patch } = this;
    const { activity, backend, cluster, near } = patch;
    const index = patch.element.currentIndex;
    patch.understood.clear();
    const answer = await activity.run(
      "explore",
      "Looking into the index",
      async (signal) => {
        const place = await backend.explore(index, cluster, signal);
        const ids = [...idsOf(place), ...near];
        const [items, neighbours] = await Promise.all([
          backend.items(index, ids, signal),
          near.length === 0 ? [] : backend.knn(this.#neighbourFields(/** @type {number} */ (near.at(-1))), signal),
        ]);
        return { place, items: new Map(items.map((item) => [item.id, item])), neighbours };
      },
      () => this.load(),
    );
    if (answer !== undefined) this.#show(answer.place, answer.items, answer.neighbours);
    else if (activity.failed.has("explore")) this.#showWayBack();
  }

  /** A link may name a place that the index no longer has. */
  #showWayBack() {
    this.#replace(button("All images", () => this.patch.visit("")));
  }

  /**
   * Shows other parts; a keyboard goes on from there, as what was pressed is gone.
   *
   * @param {...Node} parts
   */
  #replace(...parts) {
    const { element } = this;
    const focused = element.contains(this.patch.element.shadowRoot.activeElement);
    element.replaceChildren(...parts);
    /** @type {HTMLElement | null} */
    const place = element.querySelector("[aria-current]") ?? element.querySelector("button");
    if (focused) place?.focus();
  }

  /** @param {number} id */
  #neighbourFields(id) {
    const fields = this.patch.results.searchFields(NEIGHBOURS, CANDIDATES);
    return { ...fields, use_mclip: false, segments: [{ id }], use_clipgpt: false };
  }

  /**
   * @param {Exploration} place
   * @param {Map<number, Item>} items the images that are shown, with their metadata
   * @param {Item[]} neighbours of the image that one has walked to
   */
  #show(place, items, neighbours) {
    const parts = [this.#trail(place, items)];
    if (this.patch.near.length > 0) {
      parts.push(this.#images("Images like this one", neighbours.slice(0, NEIGHBOURS)));
    } else {
      if (place.clusters.length > 0) parts.push(this.#overview(place, items));
      const examples = place.example_ids.flatMap((id) => items.get(id) ?? []);
      if (examples.length > 0) parts.push(this.#images("Images of this cluster", examples));
    }
    this.#replace(...parts);
    this.#chooseLabels();
    if (this.patch.captioned) this.patch.cards.captionVisible();
  }

  /**
   * @param {Exploration} place
   * @param {Map<number, Item>} items
   */
  #trail(place, items) {
    const { patch } = this;
    const { near } = patch;
    const everything = `All ${place.num_items.toLocaleString("en")} images`;
    const steps = [
      button(everything, () => patch.visit("")),
      ...place.trail.map(({ id, caption }) => button(caption, () => patch.visit(id))),
      ...near.map((id, step) => this.#imageStep(id, items.get(id), () =>
        patch.visit(patch.cluster, near.slice(0, step + 1)),
      )),
    ];
    steps.at(-1)?.setAttribute("aria-current", "page");
    const list = h("ol", {}, ...steps.map((step) => h("li", {}, step)));
    return h("nav", { class: "trail", "aria-label": "Where you have been" }, list);
  }

  /**
   * @param {number} id
   * @param {Item | undefined} item
   * @param {() => void} open
   */
  #imageStep(id, item, open) {
    const source = item === undefined ? null : imageSource(item, this.patch.element.urlColumn);
    if (source === null) return button(`image ${id}`, open);
    const step = button("", open, { label: item?.caption ?? `image ${id}` });
    step.append(h("img", { src: source, alt: "" }));
    return step;
  }

  /**
   * @param {Exploration} place
   * @param {Map<number, Item>} items
   */
  #overview(place, items) {
    const largest = Math.max(...place.clusters.map(({ share }) => share));
    this.clusters = place.clusters;
    this.map.replaceChildren(...place.clusters.map((cluster) => this.#point(cluster, largest)));
    const bySize = [...place.clusters].sort((a, b) => b.size - a.size);
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
    const radius = Math.max(SMALLEST_RADIUS, LARGEST_RADIUS * Math.sqrt(cluster.share / largest));
    const [x, y] = cluster.position.map((part) => MARGIN + part * (100 - 2 * MARGIN));
    const point = button("", () => this.patch.visit(cluster.id), {
      class: "point",
      label: `${cluster.caption}, ${sizeOf(cluster)}`,
      style: `left: ${x}%; top: ${y}%; --radius: ${radius}px`,
    });
    point.append(h("span", { class: "label" }, shortened(cluster.distinctive_caption ?? cluster.caption)));
    return point;
  }

  /** Shows as many labels as there is room for. */
  #chooseLabels() {
    const { clientWidth } = this.map;
    if (clientWidth === 0) return;
    // Labels may reach into the margin of the map, points do not.
    const margin = parseFloat(getComputedStyle(this.map).marginLeft);
    const points = /** @type {HTMLElement[]} */ ([...this.map.children]);
    const labelled = points.map((point, place) => ({
      x: point.offsetLeft + margin,
      y: point.offsetTop,
      radius: point.offsetWidth / 2,
      width: /** @type {HTMLElement} */ (point.firstElementChild).offsetWidth,
      weight: this.clusters[place].size,
    }));
    const sides = chooseLabels(labelled, LABEL_HEIGHT, clientWidth + 2 * margin);
    points.forEach((point, place) => {
      const side = sides[place];
      point.className = side === null ? "point" : `point labelled ${side}`;
    });
  }

  /**
   * @param {Cluster} cluster
   * @param {Map<number, Item>} items
   */
  #entry(cluster, items) {
    const { patch } = this;
    const { caption, distinctive_caption: distinctive } = cluster;
    const examples = cluster.example_ids.slice(0, EXAMPLES).flatMap((id) => items.get(id) ?? []);
    return h(
      "li",
      {},
      button(caption, () => patch.visit(cluster.id), { class: "title", label: `Open: ${caption}` }),
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
    const open = () => this.patch.visit(cluster.id, [item.id]);
    const source = imageSource(item, this.patch.element.urlColumn);
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
    const list = h("ol", { class: "images" }, ...items.map((item) => h("li", {}, this.patch.cards.figure(item))));
    return h("section", { "aria-label": title }, h("h2", {}, title), list);
  }
}

/** @param {Exploration} place */
function idsOf(place) {
  return [...new Set([...place.example_ids, ...place.clusters.flatMap((one) => one.example_ids.slice(0, EXAMPLES))])];
}

/** @param {Cluster} cluster */
function sizeOf({ size, share }) {
  const percent = share >= 0.01 ? Math.round(share * 100) : "<1";
  return `${size.toLocaleString("en")} ${size === 1 ? "image" : "images"}, ${percent} %`;
}

/** @param {string} text */
function shortened(text) {
  return text.length <= LONGEST_LABEL ? text : `${text.slice(0, LONGEST_LABEL - 1).trimEnd()}…`;
}
