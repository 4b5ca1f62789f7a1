/** The card under every image: its caption by CLIP-GPT, and buttons to caption it and to search with it. */

import { button, h } from "./dom.js";

/**
 * @typedef {import("./backend.js").Item} Item
 *
 * @typedef {object} CardActions
 * @property {() => Iterable<Element>} figureElements all <figure> elements of the page
 * @property {(item: Item) => string | null} imageOf
 * @property {(ids: number[], signal: AbortSignal) => Promise<Map<number, string>>} loadCaptions
 * @property {(text: string) => void} searchText
 * @property {(id: number) => void} addToQuery
 * @property {(id: number) => void} openNeighbours
 */

export class Cards {
  /**
   * @param {import("./activity.js").Activity} activity
   * @param {CardActions} actions
   */
  constructor(activity, actions) {
    this.activity = activity;
    this.actions = actions;
    /** Whether the index has captions. */
    this.available = false;
    /** @type {Map<number, string>} */
    this.captions = new Map();
    /** @type {Set<number>} items whose caption was requested */
    this.pending = new Set();
    /** @type {WeakMap<Element, Card>} by figure */
    this.cards = new WeakMap();
    /** @type {WeakMap<Item, HTMLElement>} */
    this.withoutImage = new WeakMap();
    this.requests = 0;
  }

  /**
   * Puts cards on the <figure> elements that the stock page rendered.
   *
   * @param {NodeListOf<HTMLElement>} figureElements
   * @param {Item[]} items of the elements, in the same order
   * @param {boolean} available whether the index has captions
   */
  update(figureElements, items, available) {
    this.available = available;
    figureElements.forEach((figure, position) => {
      if (items[position] !== undefined) this.#cardOn(figure).show(items[position]);
    });
  }

  /**
   * A figure of our own, for the views that the stock page does not have.
   *
   * @param {Item} item
   * @param {string} [note] a line above the image
   */
  figure(item, note = "") {
    const caption = item.caption ?? "";
    const source = this.actions.imageOf(item);
    const figure = h(
      "figure",
      { class: "own" },
      note === "" ? null : h("span", { class: "note" }, note),
      ...(source === null
        ? [h("div", { class: "no-image" }, caption || "no caption"), h("figcaption", {}, nameOf(item))]
        : [
            h("img", { class: "pic", src: source, alt: caption || `image ${item.id}` }),
            h("figcaption", {}, caption),
          ]),
    );
    this.#cardOn(figure).show(item);
    return figure;
  }

  /**
   * A figure in place of the stock page's for an item without an image, which the stock page would draw as a broken
   * image and then hide.
   *
   * @param {Item} item
   * @returns {HTMLElement | null} the same for the same item; null where the item has an image
   */
  figureWithoutImage(item) {
    if (this.actions.imageOf(item) !== null) return null;
    const figure = this.withoutImage.get(item) ?? this.figure(item);
    this.withoutImage.set(item, figure);
    return figure;
  }

  /** @param {HTMLElement} figure */
  #cardOn(figure) {
    let card = this.cards.get(figure);
    if (card === undefined) {
      card = new Card(this, this.actions);
      this.cards.set(figure, card);
      figure.append(card.element);
    }
    return card;
  }

  /** Captions every image on the screen, in one request. */
  captionVisible() {
    const visible = this.#shownCards().filter(({ element }) => isOnScreen(/** @type {Element} */ (element.parentNode)));
    this.caption(visible.map(({ id }) => id));
  }

  /** @param {number[]} ids */
  async caption(ids) {
    const { captions, pending } = this;
    const wanted = [...new Set(ids)].filter((id) => !captions.has(id) && !pending.has(id));
    if (wanted.length === 0) return;
    wanted.forEach((id) => pending.add(id));
    this.draw();
    const label = wanted.length === 1 ? "Captioning an image" : `Captioning ${wanted.length} images`;
    this.requests += 1;
    const found = await this.activity.run(
      `captions ${this.requests}`,
      label,
      (signal) => this.actions.loadCaptions(wanted, signal),
      () => this.caption(wanted),
    );
    // If the index has changed in between, these are the maps of the old one.
    wanted.forEach((id) => pending.delete(id));
    found?.forEach((text, id) => captions.set(id, text));
    this.draw();
  }

  /** Aborts requests for captions, and removes the errors of others. */
  stopCaptioning() {
    this.activity.stopAll("captions ");
  }

  /** Ids mean other images in another index. */
  forgetCaptions() {
    this.stopCaptioning();
    this.captions = new Map();
    this.pending = new Set();
  }

  /** Shows captions that have arrived. */
  draw() {
    this.#shownCards().forEach((card) => card.draw());
  }

  #shownCards() {
    return [...this.actions.figureElements()].flatMap((figure) => this.cards.get(figure) ?? []);
  }
}

class Card {
  /**
   * @param {Cards} cards
   * @param {CardActions} actions
   */
  constructor(cards, { searchText, addToQuery, openNeighbours }) {
    this.cards = cards;
    this.id = -1;
    /** @type {string | undefined} what is drawn already */
    this.drawn = undefined;
    this.text = button("", () => searchText(this.text.textContent ?? ""), { class: "caption" });
    this.captionButton = button("Caption", () => cards.caption([this.id]), { label: "Caption this image" });
    const add = button("+", () => addToQuery(this.id), { label: "Add this image to the query" });
    const near = button("≈", () => openNeighbours(this.id), { label: "Images like this one" });
    this.element = h("div", { class: "card" }, this.text, h("span", {}, this.captionButton, add, near));
  }

  /** @param {Item} item */
  show(item) {
    this.id = item.id;
    this.draw();
  }

  /** Touches the page only where something has changed: this runs for every image and every key that is pressed. */
  draw() {
    const { available, captions } = this.cards;
    const caption = captions.get(this.id);
    const pending = this.cards.pending.has(this.id);
    const state = `${available} ${pending} ${caption}`;
    if (state === this.drawn) return;
    this.drawn = state;
    this.element.hidden = !available;
    this.text.hidden = caption === undefined;
    this.text.textContent = caption ?? "";
    this.text.title = "Caption by CLIP-GPT: search with it";
    this.captionButton.hidden = caption !== undefined;
    this.captionButton.disabled = pending;
    this.captionButton.classList.toggle("pending", pending);
  }
}

/**
 * The id of an item, and the name of its file where the metadata have it.
 *
 * @param {Item} item
 */
function nameOf({ id, image_path: path }) {
  const file = typeof path === "string" ? path.split("/").at(-1) : "";
  return file ? `image ${id} · ${file}` : `image ${id}`;
}

/** @param {Element} figure */
function isOnScreen(figure) {
  const { top, bottom, width } = figure.getBoundingClientRect();
  return width > 0 && bottom > 0 && top < window.innerHeight;
}
