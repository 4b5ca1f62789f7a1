/** Making DOM nodes. */

/** @typedef {string | number | boolean | null | undefined | ((event: any) => void)} Attribute */

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
 * @param {string | Node} content
 * @param {(event: MouseEvent) => void} act
 * @param {{label?: string, class?: string, [name: string]: Attribute}} [attributes]
 */
export function button(content, act, { label, ...attributes } = {}) {
  return h("button", { type: "button", "aria-label": label, title: label, onclick: act, ...attributes }, content);
}

/** Outlines of icons in a square of 24 pixels. */
const ICONS = {
  search: "M10.5 4a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13ZM15.5 15.5 21 21",
  plus: "M12 5v14M5 12h14",
  minus: "M5 12h14",
  close: "M6 6l12 12M18 6 6 18",
  star: "m12 3.5 2.6 5.4 5.9.8-4.3 4.1 1 5.9-5.2-2.8-5.2 2.8 1-5.9-4.3-4.1 5.9-.8Z",
  settings: "M4 7h9M17 7h3M4 17h3M11 17h9M15 4.5v5M9 14.5v5",
  left: "M15 5l-7 7 7 7",
  right: "M9 5l7 7-7 7",
  link: "M10 14a4 4 0 0 0 6 .5l3-3a4 4 0 0 0-5.700-5.700l-1 1M14 10a4 4 0 0 0-6-.5l-3 3a4 4 0 0 0 5.700 5.700l1-1",
  compare: "M4 5h7v14H4ZM13 5h7v14h-7Z",
  map: "M7 7.500a3 3 0 1 0 .01 0ZM17 4.500a2 2 0 1 0 .01 0ZM16 13a3.500 3.500 0 1 0 .01 0Z",
  grid: "M4 4h7v7H4ZM13 4h7v7h-7ZM4 13h7v7H4ZM13 13h7v7h-7Z",
};

/** @param {keyof typeof ICONS} name */
export function icon(name) {
  const namespace = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(namespace, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(namespace, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/**
 * A button with an icon.
 *
 * @param {keyof typeof ICONS} name
 * @param {string} label
 * @param {(event: MouseEvent) => void} act
 * @param {Record<string, Attribute>} [attributes]
 */
export function iconButton(name, label, act, attributes = {}) {
  return button(icon(name), act, { class: "icon-button", label, ...attributes });
}

/**
 * The focused element, where it is inside of this one.
 *
 * @param {Element} element
 */
export function focusedIn(element) {
  return element.contains(document.activeElement) ? document.activeElement : null;
}
