/** Conditions on the metadata of results, as the back end takes them. */

/**
 * @typedef {{field: string, op: string, value: string | number | boolean}} Condition
 *
 * @typedef {object} Field
 * @property {string} name
 * @property {string} type
 * @property {string[]} ops
 * @property {unknown} [minimum]
 * @property {unknown} [maximum]
 * @property {{value: unknown, count: number}[]} [values] frequent ones
 */

/** Operators that take one value, as people read them. */
export const OPERATORS = { "=": "is", "!=": "is not", "<": "<", "<=": "≤", ">": ">", ">=": "≥", contains: "contains" };

/**
 * @param {Condition} condition
 */
export function conditionText({ field, op, value }) {
  return `${field} ${OPERATORS[/** @type {keyof typeof OPERATORS} */ (op)] ?? op} ${value}`;
}

/**
 * What the user has typed as a value of a field.
 *
 * @param {Field} field
 * @param {string} text
 */
export function valueOf({ type }, text) {
  if (type === "integer" || type === "number") return Number(text);
  return type === "boolean" ? text === "true" : text;
}

/** @param {Condition} condition */
export function conditionToText({ field, op, value }) {
  return JSON.stringify([field, op, value]);
}

/**
 * @param {string} text
 * @returns {Condition[]} the condition, or none
 */
export function conditionFrom(text) {
  try {
    const [field, op, value] = JSON.parse(text);
    const isValue = ["string", "number", "boolean"].includes(typeof value);
    return typeof field === "string" && typeof op === "string" && isValue ? [{ field, op, value }] : [];
  } catch {
    return []; // not JSON, or not a list
  }
}
