/** The methods that the stock page calls, and that ours replace on its one element. */

import { missingFromPage } from "./stock.js";

/**
 * @typedef {import("./stock.js").ClipFront} ClipFront
 * @typedef {import("./backend.js").Item} Item
 */

export class Overrides {
  /**
   * @param {import("./state.js").State} state
   * @param {import("./controller.js").Controller} controller
   * @param {(missing: string[]) => void} reportMissing
   */
  constructor(state, controller, reportMissing) {
    this.element = state.element;
    this.opened = state.opened;
    this.controller = controller;
    this.reportMissing = reportMissing;
    /** @type {ClipFront} its methods are the stock ones */
    this.stock = Object.getPrototypeOf(this.element);
    this.mounted = false;
    /** @type {Item[]} items in the order in which the stock page renders them */
    this.rendered = [];
    const { controller: ours, element, stock } = this;
    /** @type {Partial<ClipFront>} */
    this.methods = {
      init: () => this.#init(),
      updated: (changed) => this.#updated(changed),
      renderImage: (item) => {
        this.rendered.push(item);
        return ours.views.cards.figureWithoutImage(item) ?? stock.renderImage.call(element, item);
      },
      textSearch: () => ours.search(),
      imageSearch: () => ours.searchStockImage("image"),
      imageUrlSearch: () => ours.searchStockImage("imageUrl"),
      redoSearch: () => ours.refresh(),
      callClip: (count = null) => ours.download(count),
      fetchMoreMetadata: (count) => ours.fetchMore(count),
      // The stock page would write the address before anything is shown: the controller does it afterwards.
      setUrlParams: () => {},
      // The default back end's first index is no better where it is the one that did not respond.
      setBackendToDefault: () => {
        if (element.backendHost !== element.defaultBackend) stock.setBackendToDefault.call(element);
      },
      updateImage: (file) => ours.uploadStockImage(file),
    };
  }

  install() {
    Object.assign(this.element, this.methods);
  }

  #uninstall() {
    for (const name of Object.keys(this.methods)) Reflect.deleteProperty(this.element, name);
  }

  #init() {
    const { element, opened } = this;
    const done = this.stock.init.call(element);
    // Until its first await the stock method sets defaults: the values in the address go over them.
    Object.assign(element, opened.settings);
    if (opened.image !== "") element.image = opened.image;
    return done;
  }

  /** @param {Map<string, unknown>} changed */
  #updated(changed) {
    const { controller, element, stock } = this;
    const ready = element.images !== undefined && (this.mounted || this.#mount());
    if (ready) controller.beforeUpdate(changed);
    stock.updated.call(element, changed);
    if (ready) controller.afterUpdate(changed, this.rendered);
    this.rendered = [];
  }

  /** @returns {boolean} false where the page lacks parts and stays stock */
  #mount() {
    const missing = missingFromPage(this.element.shadowRoot);
    if (missing.length === 0) {
      this.mounted = true;
      this.controller.mount();
    } else {
      this.#uninstall();
      this.reportMissing(missing);
    }
    return this.mounted;
  }
}
