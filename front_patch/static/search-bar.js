/** The search bar: the query, what can be added to it, and images that are pasted or dropped. */

import { ChipsView } from "./chips-view.js";
import { button, h, icon } from "./dom.js";
import { Menu } from "./menu.js";

/** What a tile is dragged as. */
export const ITEM_TYPE = "application/x-clipgpt-item";

/**
 * @typedef {object} SearchBarActions
 * @property {(text: string) => void} typed
 * @property {() => void} search
 * @property {() => void} addText
 * @property {(text: string) => void} addMinus
 * @property {(file: File) => void} addUpload
 * @property {(url: string) => void} addUrl
 * @property {(id: number) => void} addItem
 */

export class SearchBar {
  /**
   * @param {import("./activity.js").Activity} activity
   * @param {SearchBarActions} actions
   * @param {import("./chips-view.js").ChipsActions} chipsActions
   */
  constructor(activity, actions, chipsActions) {
    this.actions = actions;
    this.takesImages = false;
    this.input = h("input", {
      id: "query-text",
      type: "search",
      enterkeyhint: "search",
      autocomplete: "off",
      "aria-label": "Describe an image",
      oninput: () => actions.typed(this.input.value),
      onpaste: (event) => this.#onTransfer(event, event.clipboardData),
    });
    this.chips = new ChipsView(activity, this.input, chipsActions);
    this.chooser = fileChooser((file) => actions.addUpload(file));
    this.menu = new Menu(icon("plus"), "Add to the query", { class: "icon-button" });
    this.fileEntry = this.menu.entry("An image of yours…", () => this.chooser.click());
    this.textEntry = this.menu.entry("", () => {
      actions.addText();
      this.input.focus();
    });
    this.urlForm = this.#lineForm("An image at an address", { type: "url", placeholder: "https://" }, actions.addUrl);
    this.minusForm = this.#lineForm("Less like", { type: "text", placeholder: "people" }, actions.addMinus);
    this.menu.show(this.fileEntry, this.textEntry, this.urlForm, this.minusForm);
    const submit = h("button", { class: "submit", "aria-label": "Search", title: "Search (Enter)" }, icon("search"));
    this.element = h(
      "form",
      { class: "search-bar", role: "search", novalidate: true, onsubmit: (event) => this.#onSubmit(event) },
      this.menu.element,
      this.chips.element,
      submit,
      this.chooser,
      this.chips.announcement,
    );
    this.element.addEventListener("click", ({ target }) => {
      if (target === this.chips.element || target === this.element) this.input.focus();
    });
    document.addEventListener("dragover", (event) => this.#onDragOver(event));
    document.addEventListener("dragleave", ({ relatedTarget }) => relatedTarget ?? this.#highlight(false));
    document.addEventListener("drop", (event) => {
      this.#highlight(false);
      this.#onTransfer(event, event.dataTransfer);
    });
  }

  /**
   * A line of input in the menu.
   *
   * @param {string} label
   * @param {Record<string, import("./dom.js").Attribute>} attributes of the input
   * @param {(text: string) => void} use
   */
  #lineForm(label, attributes, use) {
    const input = h("input", attributes);
    // Not a form: it is inside of the search bar's.
    const submit = () => {
      const text = input.value.trim();
      if (text === "" || !input.reportValidity()) return;
      input.value = "";
      this.menu.toggle(false);
      use.call(this.actions, text);
    };
    input.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault();
      submit();
    });
    return h("div", { class: "line" }, h("label", {}, h("span", {}, label), input), button("Add", submit));
  }

  /**
   * @param {import("./query.js").Query} query
   * @param {object} can
   * @param {boolean} can.images the back end encodes images
   * @param {boolean} can.parts queries may have several parts
   * @param {boolean} can.minus parts may be negative
   */
  update(query, { images, parts, minus }) {
    this.takesImages = images;
    if (this.input.value !== query.text) this.input.value = query.text;
    const alone = query.chips.length === 1;
    this.input.placeholder = alone ? this.#placeholder(images) : "and in words…";
    this.menu.element.hidden = !images && !parts;
    this.fileEntry.hidden = !images;
    this.urlForm.hidden = !images;
    this.minusForm.hidden = !minus;
    const text = query.text.trim();
    this.textEntry.hidden = !parts;
    this.textEntry.disabled = text === "";
    this.textEntry.textContent = text === "" ? "Another text (type one first)" : `Another text, beside “${text}”`;
    this.chips.update(query.chips);
  }

  /** @param {boolean} images */
  #placeholder(images) {
    return images ? "Describe or drop an image" : "Describe an image";
  }

  /** @param {SubmitEvent} event */
  #onSubmit(event) {
    event.preventDefault();
    this.actions.search();
  }

  /** @param {DragEvent} event */
  #onDragOver(event) {
    const types = event.dataTransfer?.types ?? [];
    const wanted = ["Files", "text/uri-list", ITEM_TYPE].some((type) => types.includes(type));
    if (!wanted || !this.takesImages || this.chips.dragged !== null) return;
    event.preventDefault();
    this.#highlight(true);
  }

  /** @param {boolean} on */
  #highlight(on) {
    this.element.classList.toggle("drop", on);
  }

  /**
   * An image, or an address, from the clipboard or from a drag.
   *
   * @param {Event} event
   * @param {DataTransfer | null} data
   */
  #onTransfer(event, data) {
    if (data === null || !this.takesImages || this.chips.dragged !== null) return;
    const item = data.getData(ITEM_TYPE);
    const file = [...data.files].find(({ type }) => type.startsWith("image/")) ?? data.files[0];
    const text = (data.getData("text/uri-list") || data.getData("text/plain")).trim();
    if (item !== "") this.actions.addItem(Number(item));
    else if (file !== undefined) this.actions.addUpload(file);
    else if (/^https?:\/\/\S+$/.test(text)) this.actions.addUrl(text);
    else return;
    event.preventDefault();
  }
}

/** @param {(file: File) => void} use */
function fileChooser(use) {
  const chooser = h("input", { type: "file", accept: "image/*", hidden: true, "aria-label": "Image to search with" });
  chooser.addEventListener("change", () => {
    if (chooser.files?.[0]) use(chooser.files[0]);
    chooser.value = "";
  });
  return chooser;
}
