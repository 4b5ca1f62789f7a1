/** The same query by CLIP and by CLIP-GPT, side by side; hits of both are marked. */

import { compareHits } from "./compare.js";
import { h } from "./dom.js";

const COUNT = 20;

/**
 * @typedef {import("./backend.js").Item} Item
 *
 * @typedef {object} CompareActions
 * @property {(count: number, signal: AbortSignal) => Promise<[Item[], Item[]]>} load hits by CLIP and by CLIP-GPT
 * @property {() => void} onShown
 */

export class CompareView {
  /**
   * @param {import("./activity.js").Activity} activity
   * @param {import("./tiles.js").Tiles} tiles
   * @param {CompareActions} actions
   */
  constructor(activity, tiles, actions) {
    this.activity = activity;
    this.tiles = tiles;
    this.actions = actions;
    this.element = h("section", { class: "view compare", "aria-label": "CLIP and CLIP-GPT compared", hidden: true });
  }

  /** @param {string} kind of query */
  async load(kind) {
    if (kind !== "text") {
      const message =
        kind === "empty"
          ? "Type a text to see what CLIP and CLIP-GPT find for it, side by side."
          : "CLIP’s text encoder takes a text only: remove images from the query to compare.";
      this.element.replaceChildren(h("p", { class: "empty" }, message));
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
    const tiles = hits.map(({ hit, rank, otherRank }) => {
      const note = otherRank === null ? `${rank}` : `${rank} · ${otherRank} by ${other}`;
      const tile = this.tiles.make(hit, note);
      tile.classList.toggle("common", otherRank !== null);
      tile.querySelector(".open")?.setAttribute("tabindex", "0");
      return tile;
    });
    const list = h("ol", { class: "squares" }, ...tiles);
    return h("section", { class: "column", "aria-label": name }, h("h2", {}, name), list);
  }
}
