/** Whether the index has a close match, in words. */

const MIN_DIGITS = 2;
const MAX_DIGITS = 16;

/**
 * @param {import("./backend.js").Match} match of the query's text to the best image; results show the similarity of the
 *   query's embedding, which is another number
 * @returns {string} a warning, or "" where there is a match
 */
export function matchText({ similarity, threshold }) {
  if (similarity >= threshold) return "";
  const [best, least] = roundedApart(similarity, threshold);
  return `No close match: the text fits the best image by ${best}, matches fit by ${least} or more.`;
}

/**
 * Two different numbers, rounded to the fewest digits that show them as different.
 *
 * @param {number} first
 * @param {number} second
 * @returns {[string, string]}
 */
export function roundedApart(first, second) {
  let digits = MIN_DIGITS;
  while (digits < MAX_DIGITS && Number(first.toFixed(digits)) === Number(second.toFixed(digits))) digits += 1;
  return [first.toFixed(digits), second.toFixed(digits)];
}
