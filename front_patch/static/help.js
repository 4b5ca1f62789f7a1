/** The help: what the keys do. */

import { h, iconButton } from "./dom.js";

const KEYS = [
  ["/", "to the search bar"],
  ["← → ↑ ↓", "from result to result"],
  ["Enter", "searches; opens a result"],
  ["← →", "in the detail view: previous and next result"],
  ["s", "stars the result, or removes its star"],
  ["Esc", "closes what is open"],
  ["Alt ← →", "moves a part of the query"],
  ["Delete", "removes a part of the query"],
  ["?", "shows this help"],
];

const HINTS = [
  "Paste or drop an image or its address to search with it; drag a result into the search bar to add it.",
  "A text and images make one query: “[image] but at night”.",
  "The address of the page holds all that it shows: copy it to share.",
];

const MINUS_HINT =
  "“a beach -people” is a beach without people; “Less like this” beside a large image turns the query away from it.";

export class Help {
  constructor() {
    this.minusHint = h("li", { hidden: true }, MINUS_HINT);
    this.element = h(
      "dialog",
      { class: "help", "aria-label": "Help" },
      h("header", {}, h("h2", {}, "Help"), iconButton("close", "Close (Esc)", () => this.element.close())),
      h("dl", {}, ...KEYS.flatMap(([key, does]) => [h("dt", {}, h("kbd", {}, key)), h("dd", {}, does)])),
      h("ul", {}, ...HINTS.map((hint) => h("li", {}, hint)), this.minusHint),
    );
    this.element.addEventListener("click", ({ target }) => target === this.element && this.element.close());
  }

  /** @param {boolean} minus parts of a query may be negative */
  update(minus) {
    this.minusHint.hidden = !minus;
  }

  open() {
    this.element.showModal();
  }
}
