/** A button that opens a small menu below itself. */

import { button, h } from "./dom.js";

export class Menu {
  /**
   * @param {string | Node} content of the button
   * @param {string} label
   * @param {Record<string, import("./dom.js").Attribute>} [attributes] of the button
   */
  constructor(content, label, attributes = {}) {
    this.opener = button(content, () => this.toggle(), { label, "aria-expanded": "false", ...attributes });
    this.list = h("div", { class: "menu-list", hidden: true, role: "group", "aria-label": label });
    this.element = h(
      "div",
      { class: "menu", onkeydown: (event) => this.#onKey(event), onfocusout: (event) => this.#onFocusOut(event) },
      this.opener,
      this.list,
    );
    document.addEventListener("pointerdown", ({ target }) => {
      if (!this.element.contains(/** @type {Node} */ (target))) this.toggle(false);
    });
  }

  /** @param {...HTMLElement} entries */
  show(...entries) {
    this.list.replaceChildren(...entries);
  }

  /**
   * An entry that closes the menu.
   *
   * @param {string} text
   * @param {() => void} act
   * @param {Record<string, import("./dom.js").Attribute>} [attributes]
   */
  entry(text, act, attributes = {}) {
    const close = () => {
      this.toggle(false);
      act();
    };
    return button(text, close, attributes);
  }

  /** @param {boolean} [open] */
  toggle(open = this.list.hidden === true) {
    this.list.hidden = !open;
    this.opener.setAttribute("aria-expanded", String(open));
    /** @type {HTMLElement | null} */
    const first = this.list.querySelector("button:not([hidden], :disabled), input");
    if (open) first?.focus();
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    if (event.key !== "Escape" || this.list.hidden) return;
    event.stopPropagation();
    this.toggle(false);
    this.opener.focus();
  }

  /** @param {FocusEvent} event */
  #onFocusOut({ relatedTarget }) {
    if (relatedTarget !== null && !this.element.contains(/** @type {Node} */ (relatedTarget))) this.toggle(false);
  }
}
