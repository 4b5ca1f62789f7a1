/** Two lists of hits for the same query, compared. */

/**
 * @template {{id: number}} Hit
 * @typedef {{hit: Hit, rank: number, otherRank: number | null}} Ranked ranks count from 1
 */

/**
 * Ranks both lists, with the rank of every hit in the other list.
 *
 * @template {{id: number}} Hit
 * @param {Hit[]} left
 * @param {Hit[]} right
 * @returns {{left: Ranked<Hit>[], right: Ranked<Hit>[], common: number}}
 */
export function compareHits(left, right) {
  const leftRanked = ranked(left, right);
  return {
    left: leftRanked,
    right: ranked(right, left),
    common: leftRanked.filter(({ otherRank }) => otherRank !== null).length,
  };
}

/**
 * @template {{id: number}} Hit
 * @param {Hit[]} hits
 * @param {Hit[]} others
 * @returns {Ranked<Hit>[]}
 */
function ranked(hits, others) {
  const ranks = new Map(others.map(({ id }, position) => [id, position + 1]));
  return hits.map((hit, position) => ({ hit, rank: position + 1, otherRank: ranks.get(hit.id) ?? null }));
}
