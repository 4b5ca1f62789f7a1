/** The map of clusters: it zooms, shows images where there is space, and where the results of a search lie. */

import { button, h, iconButton } from "./dom.js";
import { chooseLabels } from "./labels.js";
import { asQuery } from "./start-view.js";

const LABEL_HEIGHT = 18;
/** Space around the points, in percent of the map. */
const MARGIN = 7;
const MAX_LABEL_CHARACTERS = 28;
const MAX_RADIUS = 34;
const MIN_RADIUS = 9;
/** Phones have less space. */
const SMALL = 0.65;
const SMALL_WIDTH = 500;
const MAX_ZOOM = 6;
const ZOOM_STEP = 1.5;
/** Diameters, in pixels, from which a point shows one image, and four. */
const ONE_IMAGE = 36;
const FOUR_IMAGES = 88;
const IMAGES = 4;

/**
 * @typedef {import("./backend.js").Cluster} Cluster
 * @typedef {import("./backend.js").Item} Item
 *
 * @typedef {object} MapActions
 * @property {(cluster: string) => void} visit
 * @property {(item: Item) => string | null} imageOf
 */

export class MapView {
  /** @param {MapActions} actions */
  constructor(actions) {
    this.actions = actions;
    /** @type {Cluster[]} */
    this.clusters = [];
    this.zoom = 1;
    this.plane = h("div", { class: "map" });
    this.tip = h("div", { class: "tip", hidden: true });
    this.frame = h(
      "div",
      { class: "map-frame", onwheel: (event) => this.#onWheel(event), onpointerdown: (event) => this.#onPan(event) },
      this.plane,
    );
    this.zoomIn = iconButton("plus", "Zoom in", () => this.#zoomTo(this.zoom * ZOOM_STEP));
    this.zoomOut = iconButton("minus", "Zoom out", () => this.#zoomTo(this.zoom / ZOOM_STEP));
    const zoom = h("div", { class: "zoom" }, this.zoomIn, this.zoomOut);
    this.element = h("div", { class: "map-box" }, this.frame, zoom, this.tip);
    new ResizeObserver(() => this.#draw()).observe(this.frame);
  }

  /**
   * @param {Cluster[]} clusters
   * @param {Map<number, Item>} items examples of them
   */
  show(clusters, items) {
    this.clusters = clusters;
    this.zoom = 1;
    this.tip.hidden = true;
    const labels = labelsOf(clusters);
    const searched = clusters.some(({ found_ids }) => found_ids?.length);
    this.plane.replaceChildren(...clusters.map((cluster, at) => this.#point(cluster, labels[at], items, searched)));
    this.#draw();
  }

  /**
   * @param {Cluster} cluster
   * @param {string} label
   * @param {Map<number, Item>} items
   * @param {boolean} searched whether any cluster holds results
   */
  #point(cluster, label, items, searched) {
    const [x, y] = cluster.position.map((part) => MARGIN + part * (100 - 2 * MARGIN));
    const found = cluster.found_ids?.length ?? 0;
    const results = found > 0 ? `, ${resultsText(found)}` : "";
    const name = `${asQuery(cluster.caption)}, ${sizeOf(cluster)}${results}`;
    const sources = cluster.example_ids
      .slice(0, IMAGES)
      .flatMap((id) => items.get(id) ?? [])
      .map((item) => this.actions.imageOf(item));
    const point = button("", () => this.actions.visit(cluster.id), {
      class: searched ? (found > 0 ? "point lit" : "point dim") : "point",
      "aria-label": name,
      style: `left: ${x}%; top: ${y}%`,
      onpointerenter: () => this.#showTip(point, cluster, sources),
      onpointerleave: () => (this.tip.hidden = true),
      onfocus: () => this.#showTip(point, cluster, sources),
      onblur: () => (this.tip.hidden = true),
    });
    const images = sources.flatMap((source) =>
      source === null ? [] : h("img", { src: source, alt: "", loading: "lazy", draggable: "false" }),
    );
    point.append(h("span", { class: "disc" }, ...images), h("span", { class: "label" }, label));
    if (found > 0) point.append(h("span", { class: "count" }, String(found)));
    return point;
  }

  #draw() {
    const { clientWidth, clientHeight } = this.frame;
    if (clientWidth === 0 || this.clusters.length === 0) return;
    this.plane.style.width = `${clientWidth * this.zoom}px`;
    this.plane.style.height = `${clientHeight * this.zoom}px`;
    this.zoomIn.disabled = this.zoom >= MAX_ZOOM;
    this.zoomOut.disabled = this.zoom <= 1;
    const largest = Math.max(...this.clusters.map(({ share }) => share));
    const scale = (clientWidth < SMALL_WIDTH ? SMALL : 1) * this.zoom ** 0.8;
    const points = /** @type {HTMLElement[]} */ ([...this.plane.children]);
    points.forEach((point, at) => {
      const radius = scale * Math.max(MIN_RADIUS, MAX_RADIUS * Math.sqrt(this.clusters[at].share / largest));
      point.style.setProperty("--radius", `${radius}px`);
      point.classList.toggle("one", 2 * radius >= ONE_IMAGE && 2 * radius < FOUR_IMAGES);
      point.classList.toggle("four", 2 * radius >= FOUR_IMAGES);
    });
    this.#chooseLabels(points);
  }

  /**
   * Shows as many labels as fit.
   *
   * @param {HTMLElement[]} points
   */
  #chooseLabels(points) {
    const labelled = points.map((point, position) => ({
      x: point.offsetLeft,
      y: point.offsetTop,
      radius: point.offsetWidth / 2,
      width: /** @type {HTMLElement} */ (point.querySelector(".label")).offsetWidth,
      weight: this.clusters[position].size,
    }));
    const sides = chooseLabels(labelled, LABEL_HEIGHT, this.plane.clientWidth, points.flatMap(badgeBox));
    points.forEach((point, position) => {
      point.classList.remove("labelled", "below", "above", "right", "left");
      const side = sides[position];
      if (side !== null) point.classList.add("labelled", side);
    });
  }

  /**
   * @param {HTMLElement} point
   * @param {Cluster} cluster
   * @param {(string | null)[]} sources
   */
  #showTip(point, cluster, sources) {
    const images = sources.flatMap((source) => (source === null ? [] : h("img", { src: source, alt: "" })));
    const found = cluster.found_ids?.length ?? 0;
    this.tip.replaceChildren(
      h("strong", {}, asQuery(cluster.caption)),
      h("span", {}, sizeOf(cluster)),
      ...(found > 0 ? [h("span", { class: "found" }, resultsText(found))] : []),
      h("span", { class: "examples" }, ...images),
    );
    this.tip.hidden = false;
    const box = this.element.getBoundingClientRect();
    const at = point.getBoundingClientRect();
    const left = Math.min(Math.max(at.left + at.width / 2 - box.left, 120), box.width - 120);
    const below = at.top - box.top < box.height / 2;
    this.tip.style.left = `${left}px`;
    this.tip.style.top = below ? `${at.bottom - box.top + 22}px` : "auto";
    this.tip.style.bottom = below ? "auto" : `${box.bottom - at.top + 22}px`;
  }

  /**
   * @param {number} zoom
   * @param {{x: number, y: number}} [at] point of the frame that stays where it is
   */
  #zoomTo(zoom, at = { x: this.frame.clientWidth / 2, y: this.frame.clientHeight / 2 }) {
    const { frame } = this;
    const next = Math.min(MAX_ZOOM, Math.max(1, zoom));
    if (next === this.zoom) return;
    const ratio = next / this.zoom;
    const left = (frame.scrollLeft + at.x) * ratio - at.x;
    const top = (frame.scrollTop + at.y) * ratio - at.y;
    this.zoom = next;
    this.tip.hidden = true;
    this.#draw();
    frame.scrollTo(left, top);
  }

  /** @param {WheelEvent} event */
  #onWheel(event) {
    // A wheel alone scrolls the page; pinching on a touchpad sends wheel events with Ctrl.
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    const box = this.frame.getBoundingClientRect();
    const at = { x: event.clientX - box.left, y: event.clientY - box.top };
    this.#zoomTo(this.zoom * Math.exp(-event.deltaY / 200), at);
  }

  /** @param {PointerEvent} event */
  #onPan(event) {
    // Touch scrolls by itself.
    if (event.pointerType !== "mouse" || event.target !== this.plane) return;
    const { frame } = this;
    const start = { left: frame.scrollLeft + event.clientX, top: frame.scrollTop + event.clientY };
    const pan = (/** @type {PointerEvent} */ { clientX, clientY }) =>
      frame.scrollTo(start.left - clientX, start.top - clientY);
    frame.setPointerCapture(event.pointerId);
    frame.addEventListener("pointermove", pan);
    frame.addEventListener("pointerup", () => frame.removeEventListener("pointermove", pan), { once: true });
  }
}

/**
 * Where the number of results is on a point of the map.
 *
 * @param {HTMLElement} point
 * @returns {import("./labels.js").Box[]} none, or one
 */
function badgeBox(point) {
  /** @type {HTMLElement | null} */
  const count = point.querySelector(".count");
  if (count === null) return [];
  const left = point.offsetLeft - point.offsetWidth / 2 + count.offsetLeft;
  const top = point.offsetTop - point.offsetHeight / 2 + count.offsetTop;
  return [{ left, right: left + count.offsetWidth, top, bottom: top + count.offsetHeight }];
}

/**
 * The label of each cluster: what distinguishes it, or its caption where that is not unique.
 *
 * @param {Cluster[]} clusters
 */
export function labelsOf(clusters) {
  const short = clusters.map(({ caption, distinctive_caption }) => distinctive_caption ?? asQuery(caption));
  const counts = new Map();
  short.forEach((label) => counts.set(label, (counts.get(label) ?? 0) + 1));
  return short.map((label, at) => shortened(counts.get(label) > 1 ? asQuery(clusters[at].caption) : label));
}

/** @param {Cluster} cluster */
export function sizeOf({ size, share }) {
  const percent = share >= 0.01 ? Math.round(share * 100) : "<1";
  return `${size.toLocaleString("en")} ${size === 1 ? "image" : "images"}, ${percent} %`;
}

/** @param {number} count */
export function resultsText(count) {
  return `${count} of the results`;
}

/** @param {string} text */
function shortened(text) {
  return text.length <= MAX_LABEL_CHARACTERS ? text : `${text.slice(0, MAX_LABEL_CHARACTERS - 1).trimEnd()}…`;
}
