/**
 * The entry point: waits for clip-retrieval's element and puts our page over it. The page loads this module before the
 * stock script, so that it has run by the time that script defines the element.
 */

import { fromAddress } from "./address.js";
import { Controller } from "./controller.js";
import { Overrides } from "./overrides.js";
import { State } from "./state.js";
import { missingFromClass } from "./stock.js";

const TAG = "clip-front";
// Read at once: the stock page changes its address when it starts.
const opened = fromAddress(location.search, location.hash);

customElements.whenDefined(TAG).then((stockClass) => {
  const element = /** @type {import("./stock.js").ClipFront | null} */ (document.querySelector(TAG));
  const missing = element === null ? [`element <${TAG}>`] : missingFromClass(stockClass);
  if (element === null || missing.length > 0) {
    reportMissing(missing);
    return;
  }
  const state = new State(element, opened);
  new Overrides(state, new Controller(state)).install();
});

/** @param {string[]} missing */
function reportMissing(missing) {
  const parts = missing.join(", ");
  console.error(`CLIP-GPT is not added to this version of the page, which lacks ${parts}. The stock page still works.`);
}
