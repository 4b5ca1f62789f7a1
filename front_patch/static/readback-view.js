/** What the query was understood as: the caption of its image embedding, and how similar the best hit is to it. */

import { h } from "./dom.js";

/** @typedef {import("./backend.js").Item} Item */

export class ReadbackView {
  /**
   * @param {import("./activity.js").Activity} activity
   * @param {object} actions
   * @param {(signal: AbortSignal) => Promise<{encoded: import("./backend.js").Encoded, closest: Item[]}>} actions.load
   *   `closest`: the images closest to the image embedding
   * @param {() => void} actions.retry
   */
  constructor(activity, actions) {
    this.activity = activity;
    this.actions = actions;
    this.element = h("p", { class: "readback", role: "status" });
  }

  /** @param {Promise<Item[] | undefined>} results of the search for the same query */
  async load(results) {
    this.element.classList.add("stale");
    const loaded = await this.activity.run(
      "readback",
      "Reading the query back",
      async (signal) => {
        const { encoded, closest } = await this.actions.load(signal);
        return { encoded, similarity: similarityTo((await results)?.[0], closest) };
      },
      this.actions.retry,
    );
    if (loaded !== undefined) this.#show(loaded.encoded, loaded.similarity);
  }

  clear() {
    this.activity.stop("readback");
    this.element.replaceChildren();
  }

  /**
   * @param {import("./backend.js").Encoded} encoded
   * @param {number | null} similarity of the image embedding to the best hit
   */
  #show({ caption, min_similarity: threshold }, similarity) {
    this.element.classList.remove("stale");
    this.element.replaceChildren();
    if (caption === null) return;
    this.element.append("Understood as ", h("q", {}, caption));
    if (similarity === null) return;
    const best = similarity.toFixed(2);
    if (typeof threshold === "number" && similarity < threshold) {
      const least = threshold.toFixed(2);
      const warning = ` Nothing here looks like that: the best similarity is ${best}, below ${least}.`;
      this.element.append(h("strong", {}, warning));
    } else {
      this.element.append(`, best similarity ${best}`);
    }
  }
}

/**
 * The similarity of the image embedding to the best hit. The search used the query embedding, which ranks best but is
 * not close to any image: its similarity does not say whether there is a match.
 *
 * @param {Item | undefined} best
 * @param {Item[]} closest the images closest to the image embedding
 * @returns {number | null} where the best hit is not among these, an upper bound
 */
function similarityTo(best, closest) {
  if (best === undefined || closest.length === 0) return null;
  const found = closest.find(({ id }) => id === best.id) ?? closest[closest.length - 1];
  return found.similarity ?? null;
}
