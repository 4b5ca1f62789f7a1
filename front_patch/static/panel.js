/** The panel under the search bar: the choice of encoder and view, and buttons for the query. */

import { button, h } from "./dom.js";

/**
 * @typedef {import("./address.js").View} View
 * @typedef {import("./query.js").Encoder} Encoder
 *
 * @typedef {object} PanelActions
 * @property {(encoder: Encoder, weight: number) => void} changeEncoder
 * @property {(view: View) => void} changeView
 * @property {() => void} addText
 * @property {(file: File) => void} addUpload
 * @property {() => void} captionVisible
 * @property {(open: boolean) => void} showSettings
 *
 * @typedef {object} Shown
 * @property {import("./query.js").Query} query
 * @property {import("./query.js").Features} features of the index
 * @property {View} view
 * @property {string} kind of query
 * @property {Encoder | null} effectiveEncoder
 * @property {boolean} useMclip
 */

/** @type {[Encoder, string][]} */
const ENCODERS = [
  ["clip", "CLIP"],
  ["clip-gpt", "CLIP-GPT"],
  ["blend", "blend"],
];

export class Panel {
  /**
   * @param {HTMLElement[]} queryParts shown above the tools
   * @param {HTMLElement} activity shown below them
   * @param {PanelActions} actions
   */
  constructor(queryParts, activity, actions) {
    this.actions = actions;
    /** @type {View} */
    this.view = "search";
    /** @type {(encoder: Encoder) => void} */
    const choose = (encoder) => actions.changeEncoder(encoder, Number(this.slider.value));
    this.radios = ENCODERS.map(([value]) =>
      h("input", { type: "radio", name: "encoder", value, onchange: () => choose(value) }),
    );
    this.slider = h("input", {
      type: "range",
      min: 0,
      max: 1,
      step: 0.05,
      "aria-label": "Weight of CLIP-GPT in the blend",
      oninput: () => this.#showWeight(),
      onchange: () => choose("blend"),
    });
    this.weight = h("output", {});
    this.blend = h("span", { class: "blend" }, this.slider, this.weight);
    this.encoders = h(
      "fieldset",
      { class: "encoders" },
      h("legend", {}, "Text is read by"),
      ...ENCODERS.map(([, name], position) => h("label", {}, this.radios[position], name)),
      this.blend,
    );
    this.compare = button("Compare", () => this.#toggle("compare"), {
      label: "Compare: the same query by CLIP and by CLIP-GPT, side by side",
    });
    this.explore = button("Explore", () => this.#toggle("explore"), { label: "Explore: what is in this index?" });
    this.captionAll = button("Caption all visible", () => actions.captionVisible());
    this.addText = button("+ text", () => actions.addText(), {
      label: "+ text: keep this text in the query and add another",
    });
    const label = "Image to add to the query";
    const chooser = h("input", { type: "file", accept: "image/*", hidden: true, "aria-label": label });
    chooser.addEventListener("change", () => {
      if (chooser.files?.[0]) actions.addUpload(chooser.files[0]);
      chooser.value = "";
    });
    this.addImage = button("+ image", () => chooser.click(), {
      label: "+ image: add your own image to the query",
    });
    this.tools = h(
      "div",
      { class: "tools", role: "group", "aria-label": "CLIP-GPT" },
      this.encoders,
      this.addText,
      this.addImage,
      chooser,
      this.compare,
      this.explore,
      this.captionAll,
    );
    this.settingsButton = button("Settings", () => this.#toggleSettings(), {
      class: "settings",
      "aria-expanded": "false",
      "aria-controls": "filter",
    });
    this.element = h(
      "section",
      { id: "clipgpt", "aria-label": "CLIP-GPT" },
      ...queryParts,
      this.tools,
      this.settingsButton,
      activity,
    );
  }

  /**
   * Shows the state of the page, and hides what the index does not support.
   *
   * @param {Shown} shown
   */
  update({ query, features, view, kind, effectiveEncoder, useMclip }) {
    this.view = view;
    this.tools.hidden = !features.clipgpt && !features.explore;
    this.encoders.hidden = !features.clip || !features.clipgpt || view !== "search";
    const choice = effectiveEncoder ?? query.encoder;
    this.radios.forEach((radio) => {
      radio.checked = radio.value === choice;
      radio.disabled = useMclip || (radio.value === "clip" && kind === "interleaved");
    });
    this.blend.hidden = choice !== "blend";
    if (!this.slider.matches(":active")) this.slider.value = String(query.weight);
    this.#showWeight();
    this.addText.hidden = !features.clipgpt;
    this.addText.disabled = query.text.trim() === "";
    this.addImage.hidden = !features.clip || !features.clipgpt;
    this.compare.hidden = !features.clip || !features.clipgpt;
    this.explore.hidden = !features.explore;
    this.captionAll.hidden = !features.clipgpt;
    this.compare.setAttribute("aria-pressed", String(view === "compare"));
    this.explore.setAttribute("aria-pressed", String(view === "explore"));
  }

  #showWeight() {
    this.weight.textContent = `${Math.round(Number(this.slider.value) * 100)} % CLIP-GPT`;
  }

  /** @param {"compare" | "explore"} view */
  #toggle(view) {
    this.actions.changeView(this.view === view ? "search" : view);
  }

  #toggleSettings() {
    const open = this.settingsButton.getAttribute("aria-expanded") !== "true";
    this.settingsButton.setAttribute("aria-expanded", String(open));
    this.actions.showSettings(open);
  }
}
