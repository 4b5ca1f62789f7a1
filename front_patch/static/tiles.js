/** The tiles of images: image, similarity, star, the caption of the metadata and that of CLIP-GPT. */

import { button, h, icon } from "./dom.js";
import { ITEM_TYPE } from "./search-bar.js";
import { captionOf } from "./stock.js";

const MIN_RATIO = 0.6;
const MAX_RATIO = 2.2;

/**
 * @typedef {import("./backend.js").Item} Item
 *
 * @typedef {object} TileActions
 * @property {(item: Item) => string | null} imageOf
 * @property {(id: number) => void} open
 * @property {(id: number) => void} star
 * @property {(text: string) => void} searchText
 *
 * @typedef {object} Shown what all tiles show
 * @property {boolean} captioned whether captions by CLIP-GPT are shown
 * @property {Map<number, string>} captions by CLIP-GPT
 * @property {Set<number>} pending items that are being captioned
 * @property {Set<number>} starred
 */

export class Tiles {
  /** @param {TileActions} actions */
  constructor(actions) {
    this.actions = actions;
    /** @type {Shown} */
    this.shown = { captioned: false, captions: new Map(), pending: new Set(), starred: new Set() };
    /** @type {WeakMap<Element, Tile>} */
    this.tiles = new WeakMap();
  }

  /**
   * @param {Item} item
   * @param {string} [note] a line above the image
   */
  make(item, note = "") {
    const tile = new Tile(item, note, this.actions);
    this.tiles.set(tile.element, tile);
    tile.draw(this.shown);
    return tile.element;
  }

  /** @param {Shown} shown */
  update(shown) {
    this.shown = shown;
    this.#all().forEach((tile) => tile.draw(shown));
  }

  /** Ids of the tiles on the screen. */
  visibleIds() {
    return this.#all().filter(({ element }) => isOnScreen(element)).map(({ item }) => item.id);
  }

  #all() {
    return [...document.querySelectorAll("#clipgpt .tile")].flatMap((element) => this.tiles.get(element) ?? []);
  }
}

class Tile {
  /**
   * @param {Item} item
   * @param {string} note
   * @param {TileActions} actions
   */
  constructor(item, note, actions) {
    this.item = item;
    this.drawn = "";
    const caption = captionOf(item);
    const similarity = item.similarity === undefined ? "" : item.similarity.toFixed(2);
    this.star = button(icon("star"), () => actions.star(item.id), { class: "star", tabindex: -1 });
    this.ours = button("", () => actions.searchText(this.ours.textContent ?? ""), { class: "ours", tabindex: -1 });
    this.open = button("", () => actions.open(item.id), {
      class: "open",
      label: [caption || `image ${item.id}`, similarity && `similarity ${similarity}`].filter(Boolean).join(", "),
      tabindex: -1,
    });
    this.open.removeAttribute("title");
    this.element = h(
      "li",
      {
        class: "tile",
        "data-id": item.id,
        ondragstart: ({ dataTransfer }) => dataTransfer?.setData(ITEM_TYPE, String(item.id)),
      },
      note === "" ? null : h("span", { class: "note" }, note),
      h("div", { class: "frame" }, this.open, this.star),
      h("p", { class: "caption", title: caption }, caption),
      this.ours,
    );
    this.#showImage(actions.imageOf(item), caption);
    if (similarity !== "") this.open.append(h("span", { class: "similarity" }, similarity));
  }

  /**
   * @param {string | null} source
   * @param {string} caption
   */
  #showImage(source, caption) {
    const { element, item, open } = this;
    const { width, height } = /** @type {{width?: unknown, height?: unknown}} */ (item);
    if (source === null) {
      this.#showName(caption);
      return;
    }
    const image = h("img", {
      src: source,
      alt: "",
      loading: "lazy",
      decoding: "async",
      onload: () => setRatio(element, image.naturalWidth, image.naturalHeight),
      onerror: () => {
        image.remove();
        this.#showName(caption);
      },
    });
    setRatio(element, Number(width), Number(height));
    open.prepend(image);
  }

  /** @param {string} caption */
  #showName(caption) {
    this.element.classList.add("without-image");
    this.open.prepend(h("span", { class: "no-image" }, caption || "no caption", h("small", {}, nameOf(this.item))));
  }

  /**
   * Touches the page only where something has changed.
   *
   * @param {Shown} shown
   */
  draw({ captioned, captions, pending, starred }) {
    const { id } = this.item;
    const caption = captioned ? (captions.get(id) ?? "") : "";
    const state = JSON.stringify([caption, pending.has(id), starred.has(id)]);
    if (state === this.drawn) return;
    this.drawn = state;
    this.ours.hidden = caption === "" && !pending.has(id);
    this.ours.textContent = caption;
    this.ours.title = "Caption by CLIP-GPT: search with it";
    this.ours.classList.toggle("pending", pending.has(id));
    const label = starred.has(id) ? "Remove the star" : "Star";
    this.star.setAttribute("aria-label", label);
    this.star.setAttribute("aria-pressed", String(starred.has(id)));
    this.star.title = `${label} (s)`;
  }
}

/**
 * @param {HTMLElement} tile
 * @param {number} width of its image
 * @param {number} height
 */
function setRatio(tile, width, height) {
  if (!(width > 0 && height > 0)) return;
  const ratio = String(Math.min(MAX_RATIO, Math.max(MIN_RATIO, width / height)).toFixed(3));
  if (tile.style.getPropertyValue("--ratio") !== ratio) tile.style.setProperty("--ratio", ratio);
}

/**
 * The id of an item, and the name of its file where the metadata have it.
 *
 * @param {Item} item
 */
export function nameOf({ id, image_path: path }) {
  const file = typeof path === "string" ? path.split("/").at(-1) : "";
  return file ? `image ${id} · ${file}` : `image ${id}`;
}

/** @param {Element} element */
function isOnScreen(element) {
  const { top, bottom, width } = element.getBoundingClientRect();
  return width > 0 && bottom > 0 && top < window.innerHeight;
}
