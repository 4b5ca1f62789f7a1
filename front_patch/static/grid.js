/** A grid of tiles in justified rows. The arrow keys move in it; only one of its tiles is a tab stop. */

import { h } from "./dom.js";

/** @typedef {import("./backend.js").Item} Item */

export class Grid {
  /**
   * @param {import("./tiles.js").Tiles} tiles
   * @param {string} label
   */
  constructor(tiles, label) {
    this.tiles = tiles;
    this.element = h("ol", {
      class: "grid",
      "aria-label": label,
      onkeydown: (event) => this.#onKey(event),
      onfocusin: (event) => this.#setTabStop(event.target),
    });
  }

  /** @param {Item[]} items */
  show(items) {
    this.element.replaceChildren();
    this.append(items);
  }

  /** @param {Item[]} items */
  append(items) {
    this.element.append(...items.map((item) => this.tiles.make(item)));
    const first = this.#buttons()[0];
    if (first !== undefined && !this.element.querySelector(".open[tabindex='0']")) first.tabIndex = 0;
  }

  /** @param {Element} target */
  #setTabStop(target) {
    if (!target.matches(".open")) return;
    this.element.querySelectorAll(".open[tabindex='0']").forEach((other) => other.setAttribute("tabindex", "-1"));
    target.setAttribute("tabindex", "0");
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const buttons = this.#buttons();
    const position = buttons.findIndex((one) => one.closest(".tile")?.contains(document.activeElement));
    if (position === -1) return;
    if (event.key === "s") {
      /** @type {HTMLElement | null | undefined} */
      const star = buttons[position].closest(".tile")?.querySelector(".star");
      star?.click();
      event.preventDefault();
      return;
    }
    const next = nextPosition(event.key, position, buttons);
    if (next === null) return;
    event.preventDefault();
    buttons[next].focus();
  }

  #buttons() {
    return /** @type {HTMLElement[]} */ ([...this.element.querySelectorAll(".open")]);
  }
}

/**
 * @param {string} key
 * @param {number} position
 * @param {HTMLElement[]} elements
 * @returns {number | null} where the key leads; null where it is not one of ours
 */
function nextPosition(key, position, elements) {
  const last = elements.length - 1;
  if (key === "ArrowRight") return Math.min(last, position + 1);
  if (key === "ArrowLeft") return Math.max(0, position - 1);
  if (key === "Home") return 0;
  if (key === "End") return last;
  if (key === "ArrowDown" || key === "ArrowUp") return inNextRow(key === "ArrowDown" ? 1 : -1, position, elements);
  return null;
}

/**
 * The element of the next row that is closest to this one's column.
 *
 * @param {number} step
 * @param {number} position
 * @param {HTMLElement[]} elements
 */
function inNextRow(step, position, elements) {
  const here = elements[position].getBoundingClientRect();
  const column = here.left + here.width / 2;
  let best = position;
  let distance = Infinity;
  let row = null;
  for (let at = position + step; at >= 0 && at < elements.length; at += step) {
    const box = elements[at].getBoundingClientRect();
    if (Math.abs(box.top - here.top) < 4) continue;
    row ??= box.top;
    if (Math.abs(box.top - row) >= 4) break;
    const away = Math.abs(box.left + box.width / 2 - column);
    if (away < distance) [best, distance] = [at, away];
  }
  return best;
}
