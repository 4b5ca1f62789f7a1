/** What the model understood: the predicted image embedding read back, and how like it the closest image is. */

import { h } from "./dom.js";
import { queryFields } from "./query.js";

/** Among so many of the images closest to the image embedding the best hit is looked for. */
const COMPARED = 1000;

const UNFILTERED = { modality: "image", use_mclip: false, aesthetic_score: "", deduplicate: false };

export class UnderstoodView {
  /** @param {import("./patch.js").Patch} patch */
  constructor(patch) {
    this.patch = patch;
    this.element = h("p", { class: "understood", role: "status" });
  }

  /**
   * Reads the query back.
   *
   * @param {Promise<import("./backend.js").Item[] | undefined>} found what the search for it finds
   */
  async load(found) {
    const { patch } = this;
    const { activity, backend, features } = patch;
    const reader = patch.reader();
    if (reader === null || reader === "clip") return this.clear();
    const indice_name = patch.element.currentIndex;
    const query = { indice_name, ...queryFields(patch.query(), features) };
    const everything = { ...patch.results.searchFields(1, COMPARED), ...UNFILTERED };
    this.element.classList.add("old");
    const answer = await activity.run(
      "understood",
      "Reading the query back",
      async (signal) => {
        const understood = await backend.encode(query, signal);
        const { image_embedding } = understood;
        if (image_embedding === null) return { understood, similarity: null };
        const alike = await backend.knn({ ...everything, embedding_input: image_embedding }, signal);
        return { understood, similarity: similarityTo((await found)?.[0], alike) };
      },
      () => patch.refresh(),
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
   * @param {number | null} similarity of the image embedding to the best hit
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

/**
 * How like the image embedding the best hit is. The index was asked with the query embedding, which ranks best and
 * looks like no image: that similarity says nothing about whether there is a match.
 *
 * @param {import("./backend.js").Item | undefined} best
 * @param {import("./backend.js").Item[]} alike the images closest to the image embedding
 * @returns {number | null} of a best hit that is not among these, the similarity that it does not reach
 */
function similarityTo(best, alike) {
  if (best === undefined || alike.length === 0) return null;
  const found = alike.find(({ id }) => id === best.id) ?? alike[alike.length - 1];
  return found.similarity ?? null;
}
