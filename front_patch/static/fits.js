/** How well an image fits each part of a query. */

/**
 * @typedef {object} Fit
 * @property {string} name of the part
 * @property {"text" | "image"} kind
 * @property {boolean} minus results should be less like it
 * @property {number} similarity
 * @property {"" | "fits best" | "fits least"} note
 */

/**
 * Notes which parts an image fits best and least. Images are more similar to images than to texts, so that each kind is
 * compared with its own; so are only parts that results should be like.
 *
 * @param {Omit<Fit, "note">[]} fits
 * @returns {Fit[]}
 */
export function withNotes(fits) {
  return fits.map((fit) => ({ ...fit, note: fit.minus ? "" : noteOf(fit, fits) }));
}

/**
 * @param {Omit<Fit, "note">} fit
 * @param {Omit<Fit, "note">[]} fits
 * @returns {Fit["note"]}
 */
function noteOf({ kind, similarity }, fits) {
  const alike = fits.filter((other) => other.kind === kind && !other.minus).map((other) => other.similarity);
  const [most, least] = [Math.max(...alike), Math.min(...alike)];
  if (most === least) return "";
  if (similarity === most) return "fits best";
  return similarity === least ? "fits least" : "";
}

/**
 * @param {number[]} one
 * @param {number[]} other of the same length; both of unit norm
 */
export function cosine(one, other) {
  return one.reduce((sum, value, at) => sum + value * other[at], 0);
}
