/** The state of the page: the query, the view, and the back end and index that they apply to. */

import { SETTINGS } from "./address.js";
import { Backend } from "./backend.js";
import { isImage, segmentsOf } from "./chips.js";
import { STOCK_FEATURES, defaultEncoder, defaultWeight, effectiveEncoder, kindOf } from "./query.js";

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
    this.filters = opened.filters;
    this.item = opened.item;
    /** @type {number[]} ids of the starred images, in the order in which they were starred */
    this.starred = opened.starred;
  }

  /** @returns {import("./query.js").Query} */
  query() {
    // A link may come from an index with CLIP: without it there is no choice.
    const chosen = this.features.clip ? this.encoder : null;
    const asked = { text: this.element.text, chips: this.chips };
    const encoder = chosen ?? defaultEncoder(this.features, this.chips.some(isImage));
    return { ...asked, encoder, weight: this.weight ?? defaultWeight(this.features) };
  }

  kind() {
    return kindOf(this.query());
  }

  /** The number of parts of the query. */
  numParts() {
    return segmentsOf(this.chips, this.element.text).length;
  }

  /** Whether there is nothing to show but what the index holds. */
  isStart() {
    return this.view === "search" && this.kind() === "empty";
  }

  /** The encoder of the query, or null where neither CLIP-GPT nor CLIP's text tower takes part. */
  effectiveEncoder() {
    const stockOnly = !this.features.clipgpt || this.element.useMclip;
    return stockOnly ? null : effectiveEncoder(this.query());
  }

  useIndex() {
    this.features = this.featuresOf(this.element.currentIndex);
  }

  /** The ids and clusters of one index mean nothing in another. */
  forgetItems() {
    this.chips = this.chips.filter(({ kind }) => kind !== "item");
    this.cluster = "";
    this.near = [];
    this.filters = [];
    this.item = null;
    this.starred = [];
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
      filters: this.filters,
      item: this.item,
      starred: this.view === "starred" ? this.starred : [],
    };
  }

  /** @param {import("./address.js").PageState} state of the same back end */
  restore(state) {
    Object.assign(this.element, SETTINGS, state.settings, {
      currentIndex: state.index,
      text: state.query,
      useMclip: state.useMclip,
    });
    const { encoder, weight, view, chips, captioned, cluster, near, filters, item } = state;
    Object.assign(this, { encoder, weight, view, chips, captioned, cluster, near, filters, item });
  }
}
