/** What can be done with all results: caption them, export them; and what the query was understood as. */

import { h } from "./dom.js";
import { exportEntries } from "./export.js";
import { Menu } from "./menu.js";

/**
 * @typedef {object} ToolbarActions
 * @property {(on: boolean) => void} caption
 * @property {(format: import("./export.js").Format) => void} exportResults
 */

export class Toolbar {
  /**
   * @param {HTMLElement} readback
   * @param {ToolbarActions} actions
   */
  constructor(readback, actions) {
    this.captions = h("button", {
      type: "button",
      "aria-pressed": "false",
      title: "Show what CLIP-GPT sees in the images on the screen",
      onclick: () => actions.caption(this.captions.getAttribute("aria-pressed") !== "true"),
    });
    this.captions.append("Caption these");
    this.menu = new Menu("Export", "Export the results");
    this.menu.show(...exportEntries(this.menu, (format) => actions.exportResults(format)));
    this.tools = h("div", { class: "tools" }, this.captions, this.menu.element);
    this.element = h("div", { class: "toolbar" }, readback, this.tools);
  }

  /**
   * @param {import("./query.js").Features} features
   * @param {boolean} captioned
   * @param {boolean} hasResults
   */
  update(features, captioned, hasResults) {
    this.captions.hidden = !features.clipgpt;
    this.captions.setAttribute("aria-pressed", String(captioned));
    this.tools.hidden = !hasResults;
  }
}
