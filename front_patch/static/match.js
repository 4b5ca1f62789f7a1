/** Whether the index has a close match, in words. */

const MIN_DIGITS = 2;
const MAX_DIGITS = 16;

/**
 * @param {import("./backend.js").Match} match
 * @returns {string}
 */
export function matchText({ similarity, threshold }) {
  if (similarity >= threshold) return `best similarity ${similarity.toFixed(MIN_DIGITS)}`;
  const [best, least] = roundedApart(similarity, threshold);
  return `No close match: the best similarity is ${best}, that of matches ${least} or more.`;
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
