/** The words of a query that the model does not know. */

/**
 * @param {string[]} words at least one
 * @returns {string}
 */
export function unknownText(words) {
  const quoted = words.map((word) => `“${word}”`);
  const last = quoted.pop();
  const named = quoted.length > 0 ? `${quoted.join(", ")} and ${last}` : last;
  return `The model does not know ${named}: its training texts do not have ${words.length > 1 ? "them" : "it"}.`;
}
