/**
 * The way in: waits for clip-retrieval's element and extends it. This module stands before the stock script in the
 * page, so that it has run by the time that script defines the element.
 */

import { Patch } from "./patch.js";
import { missingFromClass } from "./stock.js";

const TAG = "clip-front";
const address = new URL(location.href);

customElements.whenDefined(TAG).then((stockClass) => {
  const element = /** @type {import("./stock.js").ClipFront | null} */ (document.querySelector(TAG));
  const missing = element === null ? [`element <${TAG}>`] : missingFromClass(stockClass);
  if (element === null || missing.length > 0) tellMissing(missing);
  else new Patch(element, address, tellMissing).install();
});

/** @param {string[]} missing */
function tellMissing(missing) {
  const parts = missing.join(", ");
  console.error(`CLIP-GPT is not added to this page, which has changed: it lacks ${parts}. All else works as stock.`);
}
