/** What the query was understood as: the caption of its image embedding, and whether the index has a close match. */

import { h } from "./dom.js";
import { matchText } from "./match.js";
import { unknownText } from "./unknown.js";

const ADDED = "This model was not trained on images with text: their embeddings were added. ";

const READ_BY = {
  both: "Read by CLIP-GPT and CLIP’s text tower",
  clipgpt: "Read by CLIP-GPT alone",
  text_tower: "Read by CLIP’s text tower alone",
  image: "Seen by CLIP",
};

export class ReadbackView {
  /**
   * @param {import("./activity.js").Activity} activity
   * @param {object} actions
   * @param {(signal: AbortSignal) => Promise<import("./backend.js").Encoded>} actions.load
   * @param {() => void} actions.retry
   */
  constructor(activity, actions) {
    this.activity = activity;
    this.actions = actions;
    this.element = h("p", { class: "readback", role: "status" });
  }

  async load() {
    const { actions, activity, element } = this;
    element.classList.add("stale");
    const encoded = await activity.run("readback", "Reading the query back", actions.load, actions.retry);
    if (encoded !== undefined) this.#show(encoded);
  }

  clear() {
    this.activity.stop("readback");
    this.element.replaceChildren();
  }

  /** @param {import("./backend.js").Encoded} encoded */
  #show({ caption, match, added, encoder, unknown_words: unknown = [] }) {
    this.element.classList.remove("stale");
    this.element.title = READ_BY[encoder];
    this.element.replaceChildren();
    if (caption !== null) this.element.append(added ? ADDED : "", "Understood as ", h("q", {}, caption));
    const warnings = [unknown.length > 0 ? unknownText(unknown) : "", match ? matchText(match) : ""].filter(Boolean);
    if (warnings.length > 0) this.element.append(" ", h("strong", {}, warnings.join(" ")));
  }
}
