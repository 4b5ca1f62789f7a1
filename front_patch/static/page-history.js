/** The state of the page in the address bar and in the browser's history. */

import { fromAddress, toAddress } from "./address.js";

export class PageHistory {
  /**
   * @param {import("./state.js").State} state
   * @param {() => void} onRestored called after the user has gone back or forward
   */
  constructor(state, onRestored) {
    this.state = state;
    this.onRestored = onRestored;
    /** The address that the page was opened with is only replaced once something has been shown. */
    this.recorded = false;
    /** While a state is restored, the stock page reacts to each property that changes. */
    this.restoring = false;
  }

  listen() {
    window.addEventListener("popstate", () => this.#restore());
  }

  /** Writes the state into the address; the first time without a step in the history. */
  record() {
    if (this.restoring || this.state.element.currentIndex === "") return;
    const address = toAddress(this.state.toPageState(), location.search);
    const first = !this.recorded;
    this.recorded = true;
    if (address === location.search + location.hash) return;
    if (first) history.replaceState({}, "", address);
    else history.pushState({}, "", address);
  }

  async #restore() {
    const { element } = this.state;
    const pageState = fromAddress(location.search, location.hash);
    if (pageState.back !== element.backendHost) {
      location.reload();
      return;
    }
    // The stock page searches whenever its properties change: here one search is enough.
    this.restoring = true;
    this.state.restore(pageState);
    await element.updateComplete;
    this.restoring = false;
    this.onRestored();
  }
}
