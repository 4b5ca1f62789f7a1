/** One image, large: what is known of it, why it was found, what is near it, and what can be done with it. */

import { button, h, icon, iconButton } from "./dom.js";
import { Grid } from "./grid.js";
import { captionOf } from "./stock.js";
import { nameOf } from "./tiles.js";

const CAPTIONS = 4;
const NEIGHBOURS = 12;

/** Of links that leave the page. */
const ELSEWHERE = { target: "_blank", rel: "noreferrer" };

/** Metadata that are shown elsewhere. */
const SHOWN_ELSEWHERE = ["id", "image", "caption", "similarity", "score"];

/**
 * @typedef {import("./backend.js").Item} Item
 *
 * @typedef {{text: string, logprob: number}} Caption
 *
 * @typedef {object} DetailActions
 * @property {(item: Item) => string | null} imageOf
 * @property {(id: number, signal: AbortSignal) => Promise<Item>} loadItem
 * @property {(id: number, count: number, signal: AbortSignal) => Promise<Caption[]>} loadCaptions
 * @property {(id: number, signal: AbortSignal) => Promise<import("./fits.js").Fit[]>} loadFits
 * @property {(item: Item, count: number, signal: AbortSignal) => Promise<Item[]>} loadNeighbours
 * @property {(id: number) => void} open
 * @property {() => void} close
 * @property {(item: Item) => void} searchWith
 * @property {(item: Item) => void} addToQuery
 * @property {(item: Item) => void} lessLike
 * @property {(id: number) => void} star
 * @property {(id: number) => void} exploreNear
 * @property {(text: string) => void} searchText
 *
 * @typedef {object} Shown
 * @property {number | null} id
 * @property {Item | undefined} item where it is among the results
 * @property {number[]} order of the images that the arrow keys lead through
 * @property {boolean} starred
 * @property {boolean} captions the index has captions
 * @property {boolean} near the index has neighbours
 * @property {boolean} fits the query has several parts that the image can be compared with
 * @property {boolean} parts queries may have several parts
 * @property {boolean} minus a negative part can be added to the query
 */

/** @type {Shown} */
const NOTHING = {
  id: null,
  item: undefined,
  order: [],
  starred: false,
  captions: false,
  near: false,
  fits: false,
  parts: false,
  minus: false,
};

export class DetailView {
  /**
   * @param {import("./activity.js").Activity} activity
   * @param {import("./tiles.js").Tiles} tiles
   * @param {DetailActions} actions
   */
  constructor(activity, tiles, actions) {
    this.activity = activity;
    this.actions = actions;
    /** @type {Shown} */
    this.shown = NOTHING;
    this.image = h("div", { class: "large" });
    this.title = h("h2", {});
    this.tools = h("div", { class: "tools" });
    this.captions = h("ul", { class: "captions" });
    this.why = h("div", { class: "why" });
    this.fits = h("ul", { class: "captions fits" });
    this.metadata = h("dl", { class: "metadata" });
    this.grid = new Grid(tiles, "Images like this one");
    this.allNear = button("Show more in Explore", () => actions.exploreNear(this.shown.id ?? 0), { class: "quiet" });
    this.near = h("section", {}, h("h3", {}, "Images like this one"), this.grid.element, this.allNear);
    this.previous = iconButton("left", "Previous (←)", () => this.#step(-1), { class: "icon-button previous" });
    this.next = iconButton("right", "Next (→)", () => this.#step(1), { class: "icon-button next" });
    const found = [this.why, this.fits];
    this.element = h(
      "dialog",
      {
        class: "detail",
        "aria-label": "Image",
        oncancel: (event) => this.#onCancel(event),
        onkeydown: (event) => this.#onKey(event),
      },
      iconButton("close", "Close (Esc)", () => actions.close(), { class: "icon-button close" }),
      h("div", { class: "stage" }, this.previous, this.image, this.next),
      h("div", { class: "facts" }, this.title, this.tools, ...found, this.captions, this.metadata, this.near),
    );
    this.element.addEventListener("click", ({ target }) => target === this.element && actions.close());
  }

  /** @param {Shown & Record<string, any>} shown */
  update(shown) {
    /** @type {Record<string, any>} */
    const before = this.shown;
    this.shown = shown;
    if (shown.id === null) {
      if (this.element.open) this.element.close();
      this.#stop();
      return;
    }
    if (!this.element.open) this.element.showModal();
    const at = shown.order.indexOf(shown.id);
    this.previous.disabled = at <= 0;
    this.next.disabled = at === -1 || at === shown.order.length - 1;
    const other = ["id", "captions", "near", "fits"].some((name) => shown[name] !== before[name]);
    if (other) this.#load(shown.id);
    else if (shown.item !== undefined && shown.item !== this.item) this.#show(shown.item);
    else this.#drawTools();
  }

  #stop() {
    ["item", "item captions", "item fits", "item near"].forEach((channel) => this.activity.stop(channel));
  }

  /** @param {number} id */
  async #load(id) {
    const { actions, activity, shown } = this;
    this.#clear();
    const retry = () => this.#load(id);
    const item =
      shown.item ??
      (await activity.run("item", "Loading the image", (signal) => actions.loadItem(id, signal), retry));
    if (item === undefined || this.shown.id !== id) return;
    this.item = item;
    this.#show(item);
    if (shown.fits) this.#loadFits(id);
    if (shown.captions) this.#loadCaptions(id);
    if (shown.near) this.#loadNeighbours(item);
  }

  #clear() {
    this.#stop();
    this.item = undefined;
    this.grid.show([]);
    this.near.hidden = !this.shown.near;
    const { captions, fits, image, metadata, tools, why } = this;
    [image, tools, why, fits, captions, metadata].forEach((part) => part.replaceChildren());
    this.title.textContent = "";
    this.element.scrollTop = 0;
  }

  /** @param {Item} item */
  #show(item) {
    const source = this.actions.imageOf(item);
    const caption = captionOf(item);
    this.image.replaceChildren(
      source === null
        ? h("p", { class: "no-image" }, caption || "no caption", h("small", {}, nameOf(item)))
        : h("img", { src: source, alt: caption || `image ${item.id}` }),
    );
    this.title.textContent = caption || nameOf(item);
    const rank = this.shown.order.indexOf(item.id) + 1;
    const found = item.similarity !== undefined && rank > 0;
    this.why.textContent = found ? `Result ${rank}, similarity ${item.similarity?.toFixed(2)}` : "";
    const rows = Object.entries(item).filter(([name, value]) => !SHOWN_ELSEWHERE.includes(name) && value !== null);
    const terms = [["id", item.id], ...rows];
    this.metadata.replaceChildren(
      ...terms.flatMap(([name, value]) => [h("dt", {}, String(name)), h("dd", {}, valueNode(value))]),
    );
    this.#drawTools();
  }

  #drawTools() {
    const { actions, item, shown } = this;
    if (item === undefined) return;
    const source = actions.imageOf(item);
    const pressed = String(shown.starred);
    const star = button(icon("star"), () => actions.star(item.id), { class: "star", "aria-pressed": pressed });
    star.append(shown.starred ? "Starred" : "Star");
    const link = source === null || source.startsWith("data:") ? null : source;
    const focused = [...this.tools.children].findIndex((one) => one === document.activeElement);
    this.tools.replaceChildren(
      ...[
        button("Search with it", () => actions.searchWith(item), { class: "primary" }),
        shown.parts ? button("Add to the query", () => actions.addToQuery(item)) : null,
        shown.minus ? button("Less like this", () => actions.lessLike(item)) : null,
        star,
        this.#copyButton(),
        link === null ? null : h("a", { class: "button", href: link, ...ELSEWHERE }, "Open source"),
      ].filter((one) => one !== null),
    );
    if (focused !== -1) /** @type {HTMLElement | undefined} */ (this.tools.children[focused])?.focus();
  }

  #copyButton() {
    const copy = button("Copy link", async () => {
      copy.textContent = (await copyText(location.href)) ? "Copied" : "Copy it from the address bar";
    });
    return copy;
  }

  /** @param {number} id */
  async #loadCaptions(id) {
    const found = await this.activity.run(
      "item captions",
      "Captioning the image",
      (signal) => this.actions.loadCaptions(id, CAPTIONS, signal),
      () => this.#loadCaptions(id),
    );
    if (found === undefined || this.shown.id !== id) return;
    const rows = found.map(({ text, logprob }) =>
      h(
        "li",
        {},
        button(text, () => this.actions.searchText(text), { class: "ours", label: `${text} Search with this caption` }),
        h("span", { class: "likelihood", title: "Log-likelihood of the caption" }, logprob.toFixed(2)),
      ),
    );
    const heading = h("li", { class: "heading" }, "Captions by CLIP-GPT, with their log-likelihoods");
    this.captions.replaceChildren(heading, ...rows);
  }

  /** @param {number} id */
  async #loadFits(id) {
    const found = await this.activity.run(
      "item fits",
      "Comparing the image with the query",
      (signal) => this.actions.loadFits(id, signal),
      () => this.#loadFits(id),
    );
    if (found === undefined || this.shown.id !== id) return;
    const rows = found.map(({ name, note, similarity }) => {
      const fit = [similarity.toFixed(2), note].filter(Boolean).join(", ");
      return h("li", {}, h("span", {}, name), h("span", { class: "likelihood" }, fit));
    });
    this.fits.replaceChildren(h("li", { class: "heading" }, "Similarity to each part of the query"), ...rows);
  }

  /** @param {Item} item */
  async #loadNeighbours(item) {
    const found = await this.activity.run(
      "item near",
      "Searching images like this one",
      (signal) => this.actions.loadNeighbours(item, NEIGHBOURS, signal),
      () => this.#loadNeighbours(item),
    );
    if (found !== undefined && this.shown.id === item.id) this.grid.show(found);
  }

  /** @param {number} by */
  #step(by) {
    const { id, order } = this.shown;
    const next = order[order.indexOf(id ?? -1) + by];
    if (next !== undefined) this.actions.open(next);
  }

  /** @param {Event} event */
  #onCancel(event) {
    event.preventDefault();
    this.actions.close();
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    const inGrid = this.grid.element.contains(document.activeElement);
    if (event.altKey || event.ctrlKey || event.metaKey || inGrid) return;
    if (event.key === "ArrowLeft") this.#step(-1);
    else if (event.key === "ArrowRight") this.#step(1);
    else if (event.key === "s" && this.shown.id !== null) this.actions.star(this.shown.id);
    else return;
    event.preventDefault();
  }
}

/** @param {unknown} value */
function valueNode(value) {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return /^https?:\/\//.test(text) ? h("a", { href: text, ...ELSEWHERE }, text) : text;
}

/**
 * @param {string} text
 * @returns {Promise<boolean>} false where the browser does not allow it, as on pages without HTTPS
 */
async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}
