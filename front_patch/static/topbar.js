/** The top of the page: the index, the search bar, the views, the encoder. */

import { button, h, icon, iconButton } from "./dom.js";
import { ENCODERS, EncoderView } from "./encoder-view.js";

/**
 * @typedef {import("./address.js").View} View
 * @typedef {import("./query.js").Encoder} Encoder
 *
 * @typedef {object} TopbarActions
 * @property {() => void} home
 * @property {(index: string) => void} changeIndex
 * @property {(encoder: Encoder, weight: number | null) => void} changeEncoder
 * @property {(view: View) => void} changeView
 * @property {() => void} openSettings
 * @property {() => void} openHelp
 *
 * @typedef {object} Shown
 * @property {string} index
 * @property {string[]} indices
 * @property {import("./query.js").Query} query
 * @property {import("./query.js").Features} features of the index
 * @property {View} view
 * @property {string} kind of query
 * @property {Encoder | null} effectiveEncoder
 * @property {boolean} useMclip
 * @property {number} numStarred
 */

/** @type {[View, string, Parameters<typeof icon>[0]][]} */
const TABS = [
  ["search", "Search", "grid"],
  ["compare", "Compare", "compare"],
  ["explore", "Explore", "map"],
  ["starred", "Starred", "star"],
];

export class Topbar {
  /**
   * @param {HTMLElement} searchBar
   * @param {TopbarActions} actions
   */
  constructor(searchBar, actions) {
    this.encoders = new EncoderView(actions.changeEncoder);
    this.home = h("button", { type: "button", class: "home", onclick: () => actions.home(), title: "To the start" });
    this.index = h("select", { "aria-label": "Index", onchange: () => actions.changeIndex(this.index.value) });
    this.tabs = TABS.map(([view, name, image]) => {
      const act = () => actions.changeView(view);
      return h("button", { type: "button", onclick: act }, icon(image), h("span", {}, name));
    });
    this.count = h("span", { class: "badge" });
    this.tabs[3].append(this.count);
    this.nav = h("nav", { class: "tabs", "aria-label": "Views" }, ...this.tabs);
    this.element = h(
      "header",
      { class: "topbar" },
      h("div", { class: "names" }, this.home, this.index),
      searchBar,
      h(
        "div",
        { class: "corner" },
        iconButton("settings", "Settings", actions.openSettings),
        button("?", actions.openHelp, { class: "icon-button", label: "Help (?)" }),
      ),
    );
    this.row = h("div", { class: "second-row" }, this.nav, this.encoders.element);
  }

  /**
   * Shows the state of the page, and hides what the index does not support.
   *
   * @param {Shown} shown
   */
  update({ index, indices, query, features, view, kind, effectiveEncoder, useMclip, numStarred }) {
    this.home.textContent = "CLIP-GPT";
    if ([...this.index.options].map(({ value }) => value).join("\n") !== indices.join("\n")) {
      this.index.replaceChildren(...indices.map((name) => h("option", { value: name }, name)));
    }
    this.index.value = index;
    this.encoders.element.hidden = !features.clip || !features.clipgpt || view !== "search";
    const unavailable = kind === "interleaved" ? ["clip"] : [];
    const chosen = effectiveEncoder ?? query.encoder;
    this.encoders.update(chosen, query.weight, features.weight, useMclip ? ENCODERS : unavailable);
    const compare = features.clip && features.clipgpt;
    const available = { search: true, compare, explore: features.explore, starred: true };
    TABS.forEach(([name], position) => {
      const tab = this.tabs[position];
      tab.hidden = !available[name];
      if (name === view) tab.setAttribute("aria-current", "page");
      else tab.removeAttribute("aria-current");
    });
    this.count.textContent = numStarred === 0 ? "" : String(numStarred);
  }
}
