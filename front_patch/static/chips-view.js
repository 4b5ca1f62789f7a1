/** The interleaved query as a row of chips, which can be removed and put in order by mouse, touch and keyboard. */

import { moveChip, removeChip } from "./chips.js";
import { button, h } from "./dom.js";
import { imageSource } from "./stock.js";

/** @typedef {import("./chips.js").Chip} Chip */

export class ChipsView {
  /** @param {import("./patch.js").Patch} patch */
  constructor(patch) {
    this.patch = patch;
    this.list = h("ol", { "aria-label": "The query, in order" });
    /** Beside the row, which hides with its last chip. */
    this.said = h("span", { class: "only-heard", role: "status" });
    const help = "Alt and an arrow key move a chip, Delete removes it.";
    this.element = h("div", { class: "chips" }, this.list, h("p", { class: "help" }, help));
    /** @type {Map<number, string>} images of items that stand in the query */
    this.sources = new Map();
    /** @type {Set<number>} items whose images were asked for */
    this.asked = new Set();
    this.drawn = "";
    /** @type {number | null} where the chip is that is being dragged */
    this.dragged = null;
  }

  update() {
    const { chips, element, features } = this.patch;
    this.element.hidden = chips.length === 1 || !features.clipgpt;
    if (features.clipgpt) this.#askSources();
    const state = JSON.stringify([chips, element.text, [...this.sources.keys()]]);
    if (state === this.drawn) return;
    this.drawn = state;
    const focused = this.#focusedPlace();
    this.list.replaceChildren(...chips.map((chip, place) => this.#chip(chip, place)));
    if (focused !== null) this.#focus(focused);
  }

  /** Ids mean other images in another index. */
  forgetSources() {
    this.sources = new Map();
    this.asked = new Set();
    this.patch.activity.stopAll("chip ");
    this.drawn = "";
  }

  #askSources() {
    const { activity, chips } = this.patch;
    const { asked } = this;
    this.asked = new Set(chips.flatMap((chip) => (chip.kind === "item" ? [chip.id] : [])));
    asked.forEach((id) => this.asked.has(id) || activity.stop(`chip ${id}`));
    this.asked.forEach((id) => asked.has(id) || this.sources.has(id) || this.#loadSource(id));
  }

  /**
   * Each by itself: an id that the index does not have would take the others' images from them.
   *
   * @param {number} id
   */
  async #loadSource(id) {
    const { activity, backend, element } = this.patch;
    const items = await activity.run(
      `chip ${id}`,
      "Loading an image of the query",
      (signal) => backend.items(element.currentIndex, [id], signal),
      () => this.#loadSource(id),
    );
    if (items === undefined) return;
    this.sources.set(id, imageSource(items[0], element.urlColumn) ?? "");
    this.update();
  }

  /**
   * @param {Chip} chip
   * @param {number} place
   */
  #chip(chip, place) {
    const name = nameOf(chip, this.patch.element.text);
    const last = this.patch.chips.length - 1;
    return h(
      "li",
      {
        tabindex: 0,
        draggable: "true",
        class: chip.kind,
        "aria-label": `${name}, ${place + 1} of ${last + 1}`,
        onkeydown: (event) => this.#onKey(event, place),
        ondragstart: (event) => this.#onDragStart(event, place),
        ondragover: (event) => event.preventDefault(),
        ondrop: (event) => this.#onDrop(event, place),
      },
      place === 0 ? null : button("‹", () => this.#move(place, place - 1), { label: `Move ${name} to the left` }),
      this.#content(chip, name),
      place === last ? null : button("›", () => this.#move(place, place + 1), { label: `Move ${name} to the right` }),
      chip.kind === "bar" ? null : button("×", () => this.#remove(place), { label: `Remove ${name}` }),
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
   * @param {number} place
   */
  #onKey(event, place) {
    if (event.key === "Delete" || event.key === "Backspace") this.#remove(place);
    else if (event.altKey && event.key === "ArrowLeft") this.#move(place, place - 1);
    else if (event.altKey && event.key === "ArrowRight") this.#move(place, place + 1);
    else if (event.key === "ArrowLeft") this.#focus(place - 1);
    else if (event.key === "ArrowRight") this.#focus(place + 1);
    else return;
    event.preventDefault();
  }

  /**
   * @param {DragEvent} event
   * @param {number} place
   */
  #onDragStart(event, place) {
    this.dragged = place;
    event.dataTransfer?.setData("text/plain", "chip");
  }

  /**
   * @param {DragEvent} event
   * @param {number} place
   */
  #onDrop(event, place) {
    event.preventDefault();
    if (this.dragged !== null) this.#move(this.dragged, place);
    this.dragged = null;
  }

  /**
   * @param {number} from
   * @param {number} to
   */
  #move(from, to) {
    const { chips, element } = this.patch;
    if (to < 0 || to >= chips.length || to === from) return;
    this.said.textContent = `${nameOf(chips[from], element.text)} moved to place ${to + 1} of ${chips.length}`;
    this.patch.changeChips(moveChip(chips, from, to));
    this.update();
    this.#focus(to);
  }

  /** @param {number} place */
  #remove(place) {
    const { chips, element } = this.patch;
    if (chips[place].kind === "bar") return;
    this.said.textContent = `${nameOf(chips[place], element.text)} removed`;
    this.patch.changeChips(removeChip(chips, place));
    this.update();
    if (this.element.hidden) element.shadowRoot.getElementById("searchBar")?.focus();
    else this.#focus(Math.min(place, this.patch.chips.length - 1));
  }

  /** @param {number} place */
  #focus(place) {
    const chip = /** @type {HTMLElement | undefined} */ (this.list.children[place]);
    chip?.focus();
  }

  #focusedPlace() {
    const active = this.patch.element.shadowRoot.activeElement;
    const place = [...this.list.children].findIndex((chip) => active !== null && chip.contains(active));
    return place === -1 ? null : place;
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
