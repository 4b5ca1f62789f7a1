/** Starred images, kept in the browser for each index. */

/**
 * @param {string} backend
 * @param {string} index
 */
const keyOf = (backend, index) => `clipgpt-starred ${JSON.stringify([backend, index])}`;

/**
 * @param {string} backend
 * @param {string} index
 * @returns {number[]}
 */
export function readStars(backend, index) {
  try {
    const ids = JSON.parse(localStorage.getItem(keyOf(backend, index)) ?? "[]");
    return Array.isArray(ids) ? ids.filter(Number.isSafeInteger) : [];
  } catch {
    return []; // damaged, or storage is disabled
  }
}

/**
 * @param {string} backend
 * @param {string} index
 * @param {number[]} ids
 */
export function writeStars(backend, index, ids) {
  try {
    localStorage.setItem(keyOf(backend, index), JSON.stringify(ids));
  } catch {
    // Storage is full or disabled: the stars last as long as the page.
  }
}
