/** The settings: everything that is neither the query nor the view, in groups. */

import { h, iconButton } from "./dom.js";

/**
 * @typedef {import("./query.js").Features} Features
 * @typedef {import("./stock.js").ClipFront} ClipFront
 *
 * @typedef {object} DrawerActions
 * @property {(name: string, value: string | boolean) => void} change a setting
 * @property {(url: string) => void} changeBackend
 */

export class Drawer {
  /** @param {DrawerActions} actions */
  constructor(actions) {
    this.actions = actions;
    /** @type {[HTMLInputElement | HTMLSelectElement, string][]} controls, and the settings they show */
    this.controls = [];
    this.backend = h("input", { type: "url", onchange: () => actions.changeBackend(this.backend.value.trim()) });
    this.mclip = this.#box("useMclip", "Multilingual CLIP reads texts");
    this.modality = this.#select("modality", "Search over", ["image", "text"]);
    this.safe = this.#box("safeMode", "Safe mode");
    this.violence = this.#box("removeViolence", "Remove violence");
    const scores = ["", ...Array.from({ length: 10 }, (_, score) => String(score))];
    this.aesthetic = h(
      "div",
      {},
      this.#select("aestheticScore", "Aesthetic score", scores, "off"),
      this.#number("aestheticWeight", "Aesthetic weight"),
    );
    this.content = h("fieldset", {}, h("legend", {}, "Content"), this.safe, this.violence, this.aesthetic);
    this.search = h(
      "fieldset",
      {},
      h("legend", {}, "Search"),
      this.#box("hideDuplicateImages", "Hide (near) duplicate images"),
      this.#box("hideDuplicateUrls", "Hide duplicate URLs"),
      this.mclip,
      this.modality,
    );
    this.element = h(
      "dialog",
      { class: "drawer", "aria-label": "Settings" },
      h("header", {}, h("h2", {}, "Settings"), iconButton("close", "Close (Esc)", () => this.element.close())),
      h(
        "fieldset",
        {},
        h("legend", {}, "Results show"),
        this.#box("displayCaptions", "Captions"),
        this.#box("displayFullCaptions", "Full captions"),
        this.#box("displaySimilarities", "Similarities"),
      ),
      this.search,
      this.content,
      h("fieldset", {}, h("legend", {}, "Back end"), h("label", { class: "wide" }, "Backend URL", this.backend)),
      this.#about(),
    );
    this.element.addEventListener("click", ({ target }) => target === this.element && this.element.close());
  }

  open() {
    this.element.showModal();
  }

  #about() {
    const link = h("a", { href: "https://github.com/rom1504/clip-retrieval", rel: "noreferrer" }, "clip-retrieval");
    return h(
      "p",
      { class: "about" },
      link,
      " turns the query into a CLIP embedding and searches an index of image embeddings with it. ",
      "The images are under their own copyright, and may be unsuitable for children.",
    );
  }

  /**
   * @param {string} name
   * @param {string} label
   */
  #box(name, label) {
    const box = h("input", { type: "checkbox", onchange: () => this.actions.change(name, box.checked) });
    this.controls.push([box, name]);
    return h("label", {}, box, label);
  }

  /**
   * @param {string} name
   * @param {string} label
   * @param {string[]} values
   * @param {string} [empty] what the value "" is called
   */
  #select(name, label, values, empty = "") {
    const options = values.map((value) => h("option", { value }, value || empty));
    const select = h("select", { onchange: () => this.actions.change(name, select.value) }, ...options);
    this.controls.push([select, name]);
    return h("label", { class: "wide" }, label, select);
  }

  /**
   * @param {string} name
   * @param {string} label
   */
  #number(name, label) {
    const input = h("input", {
      type: "number",
      min: 0,
      max: 1,
      step: 0.1,
      onchange: () => input.value !== "" && this.actions.change(name, input.value),
    });
    this.controls.push([input, name]);
    return h("label", { class: "wide" }, label, input);
  }

  /**
   * Shows the settings, and hides those that the back end does not have.
   *
   * @param {ClipFront} element
   * @param {Features} features
   */
  update(element, features) {
    const values = /** @type {Record<string, any>} */ (/** @type {unknown} */ (element));
    for (const [control, name] of this.controls) {
      if (control instanceof HTMLInputElement && control.type === "checkbox") control.checked = values[name] === true;
      else if (control.value !== String(values[name])) control.value = String(values[name]);
    }
    if (document.activeElement !== this.backend) this.backend.value = element.backendHost;
    this.mclip.hidden = !features.mclip;
    this.modality.hidden = !features.text_index;
    this.safe.hidden = !features.safety;
    this.violence.hidden = !features.violence;
    this.aesthetic.hidden = !features.aesthetic;
    this.content.hidden = !features.safety && !features.violence && !features.aesthetic;
  }
}
