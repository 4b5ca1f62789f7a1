/** The panel under the search bar: the choice of encoder and view, and buttons for the query. */

import { button, h } from "./dom.js";
import { ENCODERS, EncoderView } from "./encoder-view.js";

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
    this.encoders = new EncoderView(actions.changeEncoder);
    this.compare = button("Compare", () => this.#toggle("compare"), {
      label: "Compare: the same query by CLIP and by CLIP-GPT, side by side",
    });
    this.explore = button("Explore", () => this.#toggle("explore"), { label: "Explore: what is in this index?" });
    this.captionAll = button("Caption all visible", () => actions.captionVisible());
    this.addText = button("+ text", () => actions.addText(), {
      label: "+ text: keep this text in the query and add another",
    });
    const chooser = fileChooser((file) => actions.addUpload(file));
    this.addImage = button("+ image", () => chooser.click(), {
      label: "+ image: add your own image to the query",
    });
    this.tools = h(
      "div",
      { class: "tools", role: "group", "aria-label": "CLIP-GPT" },
      this.encoders.element,
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
    this.encoders.element.hidden = !features.clip || !features.clipgpt || view !== "search";
    const unavailable = kind === "interleaved" ? ["clip"] : [];
    this.encoders.update(effectiveEncoder ?? query.encoder, query.weight, useMclip ? ENCODERS : unavailable);
    this.addText.hidden = !features.clipgpt;
    this.addText.disabled = query.text.trim() === "";
    this.addImage.hidden = !features.clip || !features.clipgpt;
    this.compare.hidden = !features.clip || !features.clipgpt;
    this.explore.hidden = !features.explore;
    this.captionAll.hidden = !features.clipgpt;
    this.compare.setAttribute("aria-pressed", String(view === "compare"));
    this.explore.setAttribute("aria-pressed", String(view === "explore"));
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

/** @param {(file: File) => void} use */
function fileChooser(use) {
  const label = "Image to add to the query";
  const chooser = h("input", { type: "file", accept: "image/*", hidden: true, "aria-label": label });
  chooser.addEventListener("change", () => {
    if (chooser.files?.[0]) use(chooser.files[0]);
    chooser.value = "";
  });
  return chooser;
}
