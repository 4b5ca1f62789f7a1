/** Making DOM nodes. */

/** @typedef {string | number | boolean | null | undefined | ((event: any) => void) | string[]} Attribute */

/**
 * A new element.
 *
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, Attribute>} [attributes] an `on...` function is a listener; false, null and undefined leave
 *   an attribute out, true sets it empty
 * @param {...(Node | string | null)} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, String(value));
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/**
 * A button; `label` is its name for screen readers and its tooltip, and begins with or contains the visible text.
 *
 * @param {string} text
 * @param {(event: MouseEvent) => void} act
 * @param {{label?: string, class?: string, [name: string]: Attribute}} [attributes]
 */
export function button(text, act, { label, ...attributes } = {}) {
  return h("button", { type: "button", "aria-label": label, title: label, onclick: act, ...attributes }, text);
}

/**
 * The focused element, where it is inside of this one; both are in the same shadow root.
 *
 * @param {Element} element
 */
export function focusedIn(element) {
  const { activeElement } = /** @type {ShadowRoot | Document} */ (element.getRootNode());
  return element.contains(activeElement) ? activeElement : null;
}
