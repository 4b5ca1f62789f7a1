/** The methods of the stock page that ours replace on its one element, which stays hidden below our page. */

/** @typedef {import("./stock.js").ClipFront} ClipFront */

export class Overrides {
  /**
   * @param {import("./state.js").State} state
   * @param {import("./controller.js").Controller} controller
   */
  constructor(state, controller) {
    this.element = state.element;
    this.opened = state.opened;
    this.controller = controller;
    /** @type {ClipFront} its methods are the stock ones */
    this.stock = Object.getPrototypeOf(this.element);
    this.mounted = false;
    const nothing = () => {};
    /** @type {Partial<ClipFront>} */
    this.methods = {
      init: () => this.#init(),
      updated: (changed) => this.#updated(changed),
      // The stock page would search whenever its properties change, and write the address before anything is shown:
      // the controller does both.
      textSearch: nothing,
      imageSearch: nothing,
      imageUrlSearch: nothing,
      redoSearch: nothing,
      setUrlParams: nothing,
      // It would listen to the hidden search bar, and measure the hidden results at every step of a scroll.
      postInit: nothing,
      // The default back end's first index is no better where it is the one that did not respond.
      setBackendToDefault: () => {
        if (this.element.backendHost !== this.element.defaultBackend) this.stock.setBackendToDefault.call(this.element);
      },
    };
  }

  install() {
    Object.assign(this.element, this.methods);
  }

  #init() {
    const { element, opened } = this;
    const done = this.stock.init.call(element);
    // Until its first await the stock method sets defaults: the values in the address go over them.
    Object.assign(element, opened.settings);
    return done;
  }

  /** @param {Map<string, unknown>} changed */
  #updated(changed) {
    const { controller, element, stock } = this;
    if (element.indices === undefined) {
      stock.updated.call(element, changed);
      return;
    }
    if (!this.mounted) {
      this.mounted = true;
      controller.mount();
    }
    controller.beforeUpdate(changed);
    stock.updated.call(element, changed);
    controller.afterUpdate(changed);
  }
}
