/** The state of the page: the query, the view, and the back end and index that they apply to. */

import { SETTINGS } from "./address.js";
import { Backend } from "./backend.js";
import { STOCK_FEATURES, defaultEncoder, effectiveEncoder, kindOf } from "./query.js";

/** Longest image that goes into the address, in base64 characters: a large one of a result is left out. */
const MAX_IMAGE_CHARACTERS = 200_000;

/** The text, the index and the settings are properties of the stock element; what the stock page lacks is kept here. */
export class State {
  /**
   * @param {import("./stock.js").ClipFront} element the stock page
   * @param {import("./address.js").PageState} opened the state in the address when the page was opened
   */
  constructor(element, opened) {
    this.element = element;
    this.opened = opened;
    this.backend = new Backend("");
    this.features = STOCK_FEATURES;
    /** @type {(index: string) => import("./query.js").Features} */
    this.featuresOf = () => STOCK_FEATURES;
    this.encoder = opened.encoder;
    this.weight = opened.weight;
    this.view = opened.view;
    this.chips = opened.chips;
    this.captioned = opened.captioned;
    this.cluster = opened.cluster;
    this.near = opened.near;
  }

  /** @returns {import("./query.js").Query} */
  query() {
    // A link may come from an index with CLIP: without it there is no choice.
    const chosen = this.features.clip ? this.encoder : null;
    const asked = { text: this.element.text, chips: this.chips };
    const encoder = chosen ?? defaultEncoder(this.features, kindOf(asked));
    const weight = chosen === null && encoder === "blend" ? this.features.weight : this.weight;
    return { ...asked, encoder, weight };
  }

  kind() {
    if (this.element.image !== undefined || this.element.imageUrl !== undefined) return "stock-image";
    return kindOf(this.query());
  }

  /** The encoder of the query, or null where neither CLIP-GPT nor CLIP's text tower takes part. */
  effectiveEncoder() {
    const stockOnly = !this.features.clipgpt || this.element.useMclip;
    return stockOnly || this.kind() === "stock-image" ? null : effectiveEncoder(this.query());
  }

  useIndex() {
    this.features = this.featuresOf(this.element.currentIndex);
  }

  /** The ids and clusters of one index mean nothing in another. */
  forgetItems() {
    this.chips = this.chips.filter(({ kind }) => kind !== "item");
    this.cluster = "";
    this.near = [];
  }

  /** @returns {import("./address.js").PageState} */
  toPageState() {
    const { element } = this;
    const values = /** @type {Record<string, any>} */ (/** @type {unknown} */ (element));
    const exploring = this.view === "explore";
    return {
      back: element.backendHost,
      index: element.currentIndex,
      query: element.text,
      useMclip: element.useMclip,
      imageUrl: element.imageUrl ?? "",
      image: (element.image ?? "").length <= MAX_IMAGE_CHARACTERS ? (element.image ?? "") : "",
      settings: Object.fromEntries(
        Object.entries(SETTINGS)
          .filter(([name, byDefault]) => values[name] !== byDefault)
          .map(([name]) => [name, values[name]]),
      ),
      encoder: this.encoder,
      weight: this.weight,
      view: this.view,
      chips: this.chips,
      captioned: this.captioned,
      cluster: exploring ? this.cluster : "",
      near: exploring ? this.near : [],
    };
  }

  /** @param {import("./address.js").PageState} state of the same back end */
  restore(state) {
    Object.assign(this.element, SETTINGS, state.settings, {
      currentIndex: state.index,
      text: state.query,
      useMclip: state.useMclip,
      imageUrl: state.imageUrl || undefined,
      image: state.image || undefined,
    });
    const { encoder, weight, view, chips, captioned, cluster, near } = state;
    Object.assign(this, { encoder, weight, view, chips, captioned, cluster, near });
  }
}
