/** The same query by CLIP and by CLIP-GPT, side by side; hits of both are marked. */

import { compareHits } from "./compare.js";
import { h } from "./dom.js";

const COUNT = 20;

/**
 * @typedef {import("./backend.js").Item} Item
 *
 * @typedef {object} CompareActions
 * @property {(count: number, signal: AbortSignal) => Promise<[Item[], Item[]]>} load hits by CLIP and by CLIP-GPT
 * @property {(item: Item, note: string) => HTMLElement} figure
 * @property {() => void} onShown
 */

export class CompareView {
  /**
   * @param {import("./activity.js").Activity} activity
   * @param {CompareActions} actions
   */
  constructor(activity, actions) {
    this.activity = activity;
    this.actions = actions;
    this.element = h("section", { class: "view compare", "aria-label": "CLIP and CLIP-GPT compared", hidden: true });
  }

  /** @param {string} kind of query */
  async load(kind) {
    if (kind !== "text") {
      const message = "Enter a text to compare. CLIP’s text tower takes text only: remove images from the query.";
      this.element.replaceChildren(h("p", {}, message));
      return;
    }
    const hits = await this.activity.run(
      "compare",
      "Searching with both encoders",
      (signal) => this.actions.load(COUNT, signal),
      () => this.load(kind),
    );
    if (hits !== undefined) this.#show(...hits);
  }

  /**
   * @param {Item[]} byClip
   * @param {Item[]} byClipGpt
   */
  #show(byClip, byClipGpt) {
    const { left, right, common } = compareHits(byClip, byClipGpt);
    this.element.replaceChildren(
      h("p", { class: "summary" }, `${common} of ${left.length} hits in common`),
      this.#column("CLIP", left, "CLIP-GPT"),
      this.#column("CLIP-GPT", right, "CLIP"),
    );
    this.actions.onShown();
  }

  /**
   * @param {string} name
   * @param {import("./compare.js").Ranked<Item>[]} hits
   * @param {string} other
   */
  #column(name, hits, other) {
    const rows = hits.map(({ hit, rank, otherRank }) => {
      const note = otherRank === null ? `${rank}` : `${rank} · also ${otherRank} by ${other}`;
      return h("li", { class: otherRank === null ? "" : "common" }, this.actions.figure(hit, note));
    });
    return h("section", { class: "column", "aria-label": name }, h("h2", {}, name), h("ol", {}, ...rows));
  }
}
