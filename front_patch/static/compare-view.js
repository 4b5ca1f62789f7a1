/** The same query by CLIP and by CLIP-GPT, side by side, with the hits that both have marked. */

import { compareHits } from "./compare.js";
import { h } from "./dom.js";
import { queryFields } from "./query.js";

const COUNT = 20;

/** Near duplicates are taken out of as many. */
const CANDIDATES = 400;

/** @typedef {import("./backend.js").Item} Item */

export class CompareView {
  /** @param {import("./patch.js").Patch} patch */
  constructor(patch) {
    this.patch = patch;
    this.element = h("section", { class: "view compare", "aria-label": "CLIP and CLIP-GPT compared", hidden: true });
  }

  async load() {
    const { patch } = this;
    const query = patch.query();
    patch.understood.clear();
    if (patch.kind() !== "text") {
      const words = "Write a text to compare. CLIP’s text tower reads text alone: take images out of the query.";
      this.element.replaceChildren(h("p", {}, words));
      return;
    }
    /** @type {(encoder: import("./query.js").Encoder) => Record<string, unknown>} */
    const fields = (encoder) => ({
      ...patch.results.searchFields(COUNT, CANDIDATES),
      use_mclip: false,
      ...queryFields({ ...query, encoder }, patch.features),
    });
    const hits = await patch.activity.run(
      "compare",
      "Searching with both",
      (signal) =>
        Promise.all([patch.backend.knn(fields("clip"), signal), patch.backend.knn(fields("clip-gpt"), signal)]),
      () => this.load(),
    );
    if (hits !== undefined) this.#show(...hits);
  }

  /**
   * @param {Item[]} byClip
   * @param {Item[]} byClipGpt
   */
  #show(byClip, byClipGpt) {
    const { left, right, common } = compareHits(byClip.slice(0, COUNT), byClipGpt.slice(0, COUNT));
    this.element.replaceChildren(
      h("p", { class: "summary" }, `${common} of ${left.length} hits in common`),
      this.#column("CLIP", left, "CLIP-GPT"),
      this.#column("CLIP-GPT", right, "CLIP"),
    );
    if (this.patch.captioned) this.patch.cards.captionVisible();
  }

  /**
   * @param {string} name
   * @param {import("./compare.js").Ranked<Item>[]} hits
   * @param {string} other
   */
  #column(name, hits, other) {
    const rows = hits.map(({ hit, rank, otherRank }) => {
      const note = otherRank === null ? `${rank}` : `${rank} · also ${otherRank} by ${other}`;
      return h("li", { class: otherRank === null ? "" : "common" }, this.patch.cards.figure(hit, note));
    });
    return h("section", { class: "column", "aria-label": name }, h("h2", {}, name), h("ol", {}, ...rows));
  }
}
