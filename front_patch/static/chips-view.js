/** The interleaved query as a row of chips, which can be removed and put in order by mouse, touch and keyboard. */

import { moveChip, removeChip } from "./chips.js";
import { button, focusedIn, h } from "./dom.js";

/**
 * @typedef {import("./backend.js").Item} Item
 * @typedef {import("./chips.js").Chip} Chip
 *
 * @typedef {object} ChipsActions
 * @property {(item: Item) => string | null} imageOf
 * @property {(id: number, signal: AbortSignal) => Promise<Item>} loadItem
 * @property {(chips: Chip[]) => void} change searches with these chips
 * @property {() => void} leave moves the focus elsewhere, as the last chip is removed
 *
 * @typedef {{chips: Chip[], barText: string, available: boolean}} Shown
 */

export class ChipsView {
  /**
   * @param {import("./activity.js").Activity} activity
   * @param {ChipsActions} actions
   */
  constructor(activity, actions) {
    this.activity = activity;
    this.actions = actions;
    /** @type {Shown} */
    this.shown = { chips: [], barText: "", available: false };
    this.list = h("ol", { "aria-label": "The query, in order" });
    /** For screen readers; beside the row, which hides with its last chip. */
    this.announcement = h("span", { class: "visually-hidden", role: "status" });
    const help = "Alt and an arrow key move a chip, Delete removes it.";
    this.element = h("div", { class: "chips" }, this.list, h("p", { class: "help" }, help));
    /** @type {Map<number, string>} images of items in the query */
    this.sources = new Map();
    /** @type {Set<number>} items whose images were requested */
    this.requested = new Set();
    this.drawn = "";
    /** @type {number | null} position of the chip that is being dragged */
    this.dragged = null;
  }

  /** @param {Shown} shown `available`: whether the index takes interleaved queries */
  update(shown) {
    this.shown = shown;
    const { chips, barText, available } = shown;
    this.element.hidden = chips.length === 1 || !available;
    if (available) this.#requestSources();
    const state = JSON.stringify([chips, barText, [...this.sources.keys()]]);
    if (state === this.drawn) return;
    this.drawn = state;
    const focused = this.#focusedPosition();
    this.list.replaceChildren(...chips.map((chip, position) => this.#chip(chip, position)));
    if (focused !== null) this.#focus(focused);
  }

  /** Ids mean other images in another index. */
  forgetSources() {
    this.sources = new Map();
    this.requested = new Set();
    this.activity.stopAll("chip ");
    this.drawn = "";
  }

  #requestSources() {
    const before = this.requested;
    this.requested = new Set(this.shown.chips.flatMap((chip) => (chip.kind === "item" ? [chip.id] : [])));
    before.forEach((id) => this.requested.has(id) || this.activity.stop(`chip ${id}`));
    this.requested.forEach((id) => before.has(id) || this.sources.has(id) || this.#loadSource(id));
  }

  /**
   * One request for each image: a single id that the index does not have fails the whole request.
   *
   * @param {number} id
   */
  async #loadSource(id) {
    const item = await this.activity.run(
      `chip ${id}`,
      "Loading an image of the query",
      (signal) => this.actions.loadItem(id, signal),
      () => this.#loadSource(id),
    );
    if (item === undefined) return;
    this.sources.set(id, this.actions.imageOf(item) ?? "");
    this.update(this.shown);
  }

  /**
   * @param {Chip} chip
   * @param {number} position
   */
  #chip(chip, position) {
    const name = nameOf(chip, this.shown.barText);
    const last = this.shown.chips.length - 1;
    /** @type {(text: string, by: number, label: string) => HTMLElement} */
    const moveButton = (text, by, label) => button(text, () => this.#move(position, position + by), { label });
    return h(
      "li",
      {
        tabindex: 0,
        draggable: "true",
        class: chip.kind,
        "aria-label": `${name}, ${position + 1} of ${last + 1}`,
        onkeydown: (event) => this.#onKey(event, position),
        ondragstart: (event) => this.#onDragStart(event, position),
        ondragover: (event) => event.preventDefault(),
        ondrop: (event) => this.#onDrop(event, position),
      },
      position === 0 ? null : moveButton("‹", -1, `Move ${name} to the left`),
      this.#content(chip, name),
      position === last ? null : moveButton("›", 1, `Move ${name} to the right`),
      chip.kind === "bar" ? null : button("×", () => this.#remove(position), { label: `Remove ${name}` }),
    );
  }

  /**
   * @param {Chip} chip
   * @param {string} name
   */
  #content(chip, name) {
    if (chip.kind === "upload") return h("img", { src: `data:image/webp;base64,${chip.image}`, alt: name });
    const source = chip.kind === "item" ? this.sources.get(chip.id) : undefined;
    if (source) return h("img", { src: source, alt: name });
    return h("span", {}, name);
  }

  /**
   * @param {KeyboardEvent} event
   * @param {number} position
   */
  #onKey(event, position) {
    if (event.key === "Delete" || event.key === "Backspace") this.#remove(position);
    else if (event.altKey && event.key === "ArrowLeft") this.#move(position, position - 1);
    else if (event.altKey && event.key === "ArrowRight") this.#move(position, position + 1);
    else if (event.key === "ArrowLeft") this.#focus(position - 1);
    else if (event.key === "ArrowRight") this.#focus(position + 1);
    else return;
    event.preventDefault();
  }

  /**
   * @param {DragEvent} event
   * @param {number} position
   */
  #onDragStart(event, position) {
    this.dragged = position;
    event.dataTransfer?.setData("text/plain", "chip");
  }

  /**
   * @param {DragEvent} event
   * @param {number} position
   */
  #onDrop(event, position) {
    event.preventDefault();
    if (this.dragged !== null) this.#move(this.dragged, position);
    this.dragged = null;
  }

  /**
   * @param {number} from
   * @param {number} to
   */
  #move(from, to) {
    const { chips, barText } = this.shown;
    if (to < 0 || to >= chips.length || to === from) return;
    const announcement = `${nameOf(chips[from], barText)} moved to position ${to + 1} of ${chips.length}`;
    this.#change(moveChip(chips, from, to), announcement);
    this.#focus(to);
  }

  /** @param {number} position */
  #remove(position) {
    const { chips, barText } = this.shown;
    if (chips[position].kind === "bar") return;
    this.#change(removeChip(chips, position), `${nameOf(chips[position], barText)} removed`);
    if (this.element.hidden) this.actions.leave();
    else this.#focus(Math.min(position, this.shown.chips.length - 1));
  }

  /**
   * @param {Chip[]} chips
   * @param {string} announcement
   */
  #change(chips, announcement) {
    this.announcement.textContent = announcement;
    this.actions.change(chips);
    this.update({ ...this.shown, chips });
  }

  /** @param {number} position */
  #focus(position) {
    const chip = /** @type {HTMLElement | undefined} */ (this.list.children[position]);
    chip?.focus();
  }

  #focusedPosition() {
    const position = [...this.list.children].findIndex((chip) => focusedIn(chip));
    return position === -1 ? null : position;
  }
}

/**
 * @param {Chip} chip
 * @param {string} barText
 */
function nameOf(chip, barText) {
  if (chip.kind === "item") return `image ${chip.id}`;
  if (chip.kind === "upload") return "your image";
  const text = chip.kind === "text" ? chip.text : barText.trim();
  return text === "" ? "what you type" : `“${text}”`;
}
