/** What the model understood: the predicted image embedding read back, and how like it the closest picture is. */

import { h } from "./dom.js";
import { queryFields } from "./query.js";

export class UnderstoodView {
  /** @param {import("./patch.js").Patch} patch */
  constructor(patch) {
    this.patch = patch;
    this.element = h("p", { class: "understood", role: "status" });
  }

  /** Reads the query back. */
  async load() {
    const { patch } = this;
    const { activity, backend, features } = patch;
    const reader = patch.reader();
    if (reader === null || reader === "clip") return this.clear();
    const indice_name = patch.element.currentIndex;
    const query = { indice_name, ...queryFields(patch.query(), features) };
    this.element.classList.add("old");
    const answer = await activity.run(
      "understood",
      "Reading the query back",
      async (signal) => {
        const understood = await backend.encode(query, signal);
        if (understood.image_embedding === null) return { understood, similarity: null };
        const fields = { ...patch.results.searchFields(1, 1), embedding_input: understood.image_embedding };
        // The threshold is one for pictures, of all the index.
        const unfiltered = { modality: "image", use_mclip: false, aesthetic_score: "", deduplicate: false };
        const [closest] = await backend.knn({ ...fields, ...unfiltered }, signal);
        return { understood, similarity: closest?.similarity ?? null };
      },
      () => this.load(),
    );
    if (answer !== undefined) this.#show(answer.understood, answer.similarity);
    return undefined;
  }

  clear() {
    this.patch.activity.stop("understood");
    this.element.replaceChildren();
  }

  /**
   * @param {import("./backend.js").Understood} understood
   * @param {number | null} similarity of the image embedding to the closest picture of the index
   */
  #show({ caption, min_similarity: least }, similarity) {
    this.element.classList.remove("old");
    this.element.replaceChildren();
    if (caption === null) return;
    this.element.append("Understood as ", h("q", {}, caption));
    if (similarity === null) return;
    const best = similarity.toFixed(2);
    const unlike = typeof least === "number" && similarity < least;
    this.element.append(
      unlike
        ? h("strong", {}, ` Nothing here looks like that: the best similarity is ${best}, below ${least.toFixed(2)}.`)
        : `, best similarity ${best}`,
    );
  }
}
