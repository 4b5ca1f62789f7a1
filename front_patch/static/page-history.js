/** The state of the page in the address bar and in the browser's history. */

import { fromAddress, toAddress } from "./address.js";

/**
 * The address of a state without the image of its detail view.
 *
 * @param {Parameters<typeof toAddress>[0]} state
 */
const withoutItem = (state) => toAddress({ ...state, item: null, starred: [] }, "");

export class PageHistory {
  /**
   * @param {import("./state.js").State} state
   * @param {() => void} onRestored called after the user has gone back or forward
   * @param {() => void} onItemRestored the same, where only the image of the detail view has changed
   */
  constructor(state, onRestored, onItemRestored) {
    this.state = state;
    this.onRestored = onRestored;
    this.onItemRestored = onItemRestored;
    /** The address that the page was opened with is only replaced once something has been shown. */
    this.recorded = false;
    /** While a state is restored, the stock page reacts to each property that changes. */
    this.restoring = false;
  }

  listen() {
    window.addEventListener("popstate", () => this.#restore());
  }

  /**
   * Writes the state into the address, as a step of the history except for the first time.
   *
   * @param {{replace?: boolean}} [options] `replace`: no step of its own
   */
  record({ replace = false } = {}) {
    if (this.restoring || this.state.element.currentIndex === "") return;
    const address = toAddress(this.state.toPageState(), location.search);
    const inPlace = replace || !this.recorded;
    this.recorded = true;
    if (address === location.search + location.hash) return;
    if (inPlace) history.replaceState(history.state, "", address);
    else history.pushState({}, "", address);
  }

  /** Whether the detail view was opened on this page, so that going back closes it. */
  openedDetail() {
    return history.state?.detail === true;
  }

  /** Marks the step that the detail view was opened with. */
  markDetail() {
    history.replaceState({ detail: true }, "");
  }

  async #restore() {
    const { element } = this.state;
    const pageState = fromAddress(location.search, location.hash);
    if (pageState.back !== element.backendHost) {
      location.reload();
      return;
    }
    const onlyItem = withoutItem(this.state.toPageState()) === withoutItem(pageState);
    this.restoring = true;
    this.state.restore(pageState);
    await element.updateComplete;
    this.restoring = false;
    if (onlyItem) this.onItemRestored();
    else this.onRestored();
  }
}
