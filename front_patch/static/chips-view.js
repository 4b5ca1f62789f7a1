/** The query in the search bar: its parts as chips around the text field, put in order by mouse, touch and keyboard. */

import { moveChip, nameOf, removeChip } from "./chips.js";
import { button, focusedIn, h, iconButton } from "./dom.js";

/**
 * @typedef {import("./backend.js").Item} Item
 * @typedef {import("./chips.js").Chip} Chip
 *
 * @typedef {object} ChipsActions
 * @property {(item: Item) => string | null} imageOf
 * @property {(id: number, signal: AbortSignal) => Promise<Item>} loadItem
 * @property {(chips: Chip[]) => void} change searches with these chips
 */

export class ChipsView {
  /**
   * @param {import("./activity.js").Activity} activity
   * @param {HTMLInputElement} input the text field
   * @param {ChipsActions} actions
   */
  constructor(activity, input, actions) {
    this.activity = activity;
    this.input = input;
    this.actions = actions;
    /** @type {Chip[]} */
    this.chips = [];
    const onDrop = (/** @type {DragEvent} */ event) => this.#onDrop(event, this.#bar());
    this.barItem = h("li", { class: "bar", ondragover: allowDrop, ondrop: onDrop }, input);
    this.element = h("ol", { class: "chips", "aria-label": "The query, in order" }, this.barItem);
    /** For screen readers. */
    this.announcement = h("span", { class: "visually-hidden", role: "status" });
    /** @type {Map<number, string>} images of items in the query */
    this.sources = new Map();
    /** @type {Set<number>} items whose images were requested */
    this.requested = new Set();
    this.drawn = "";
    /** @type {number | null} position of the chip that is being dragged */
    this.dragged = null;
    input.addEventListener("keydown", (event) => this.#onInputKey(event));
  }

  /** @param {Chip[]} chips */
  update(chips) {
    this.chips = chips;
    this.#requestSources();
    const state = JSON.stringify([chips, [...this.sources.keys()]]);
    if (state === this.drawn) return;
    this.drawn = state;
    const focused = this.#focusedPosition();
    const typing = focusedIn(this.input) !== null;
    this.element.replaceChildren(
      ...chips.map((chip, position) => (chip.kind === "bar" ? this.barItem : this.#chip(chip, position))),
    );
    if (typing) this.input.focus();
    else if (focused !== null) this.#focus(focused);
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
    this.requested = new Set(this.chips.flatMap((chip) => (chip.kind === "item" ? [chip.id] : [])));
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
    this.update(this.chips);
  }

  /**
   * @param {Chip} chip
   * @param {number} position
   */
  #chip(chip, position) {
    const name = nameOf(chip, "");
    const last = this.chips.length - 1;
    /** @type {(text: string, by: number, label: string) => HTMLElement} */
    const moveButton = (text, by, label) =>
      button(text, () => this.#move(position, position + by), { label, class: "move", tabindex: -1 });
    return h(
      "li",
      {
        tabindex: 0,
        draggable: "true",
        class: `chip ${chip.kind}${chip.minus ? " minus" : ""}`,
        title: "Alt and an arrow key move it, Delete removes it",
        "aria-label": `${name}, ${position + 1} of ${last + 1}`,
        onkeydown: (event) => this.#onKey(event, position),
        ondragstart: (event) => this.#onDragStart(event, position),
        ondragover: allowDrop,
        ondrop: (event) => this.#onDrop(event, position),
      },
      position === 0 ? null : moveButton("‹", -1, `Move ${name} to the left`),
      this.#content(chip, name),
      position === last ? null : moveButton("›", 1, `Move ${name} to the right`),
      iconButton("close", `Remove ${name}`, () => this.#remove(position), { tabindex: -1 }),
    );
  }

  /**
   * @param {Chip} chip
   * @param {string} name
   */
  #content(chip, name) {
    if (chip.kind === "upload") return h("img", { src: `data:image/webp;base64,${chip.image}`, alt: name });
    if (chip.kind === "url") return h("img", { src: chip.url, alt: name });
    const source = chip.kind === "item" ? this.sources.get(chip.id) : undefined;
    if (source) return h("img", { src: source, alt: name });
    return h("span", {}, chip.kind === "text" && !chip.minus ? chip.text : name);
  }

  /** @param {KeyboardEvent} event */
  #onInputKey(event) {
    const atStart = this.input.selectionStart === 0 && this.input.selectionEnd === 0;
    const before = this.#bar() - 1;
    if (!atStart || before < 0) return;
    if (event.key === "Backspace" && this.input.value === "") this.#remove(before);
    else if (event.key === "ArrowLeft") this.#focus(before);
    else return;
    event.preventDefault();
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
    if (this.dragged === null) return;
    event.preventDefault();
    event.stopPropagation();
    this.#move(this.dragged, position);
    this.dragged = null;
  }

  /**
   * @param {number} from
   * @param {number} to
   */
  #move(from, to) {
    const { chips } = this;
    if (to < 0 || to >= chips.length || to === from) return;
    const announcement = `${nameOf(chips[from], "")} moved to position ${to + 1} of ${chips.length}`;
    this.#change(moveChip(chips, from, to), announcement);
    this.#focus(to);
  }

  /** @param {number} position */
  #remove(position) {
    const { chips } = this;
    const typing = focusedIn(this.input) !== null;
    this.#change(removeChip(chips, position), `${nameOf(chips[position], "")} removed`);
    this.#focus(typing ? this.#bar() : Math.min(position, this.chips.length - 1));
  }

  /**
   * @param {Chip[]} chips
   * @param {string} announcement
   */
  #change(chips, announcement) {
    this.announcement.textContent = announcement;
    this.actions.change(chips);
    this.update(chips);
  }

  /** @param {number} position */
  #focus(position) {
    if (position === this.#bar()) this.input.focus();
    else /** @type {HTMLElement | undefined} */ (this.element.children[position])?.focus();
  }

  #focusedPosition() {
    const position = [...this.element.children].findIndex((chip) => focusedIn(chip));
    return position === -1 ? null : position;
  }

  #bar() {
    return this.chips.findIndex(({ kind }) => kind === "bar");
  }
}

/** @param {DragEvent} event */
function allowDrop(event) {
  event.preventDefault();
}
