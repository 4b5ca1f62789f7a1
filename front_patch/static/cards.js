/** What stands on every image: its caption by CLIP-GPT, and buttons to caption it and to search with it. */

import { addChip } from "./chips.js";
import { button, h } from "./dom.js";
import { imageSource } from "./stock.js";

/** @typedef {import("./backend.js").Item} Item */

export class Cards {
  /** @param {import("./patch.js").Patch} patch */
  constructor(patch) {
    this.patch = patch;
    /** @type {Map<number, string>} */
    this.captions = new Map();
    /** @type {Set<number>} items whose caption is on its way */
    this.awaited = new Set();
    /** @type {WeakMap<Element, Card>} by figure */
    this.cards = new WeakMap();
    this.requests = 0;
  }

  /**
   * Puts cards on the figures that the stock page rendered.
   *
   * @param {HTMLElement | null} products
   * @param {Item[]} items what the figures show, in the same order
   */
  update(products, items) {
    products?.querySelectorAll("figure").forEach((figure, place) => {
      if (items[place] !== undefined) this.#cardOn(figure).show(items[place]);
    });
  }

  /**
   * A figure of our own, for the views that the stock page does not have.
   *
   * @param {Item} item
   * @param {string} [note] a line over the image
   */
  figure(item, note = "") {
    const caption = item.caption ?? "";
    const source = imageSource(item, this.patch.element.urlColumn);
    const figure = h(
      "figure",
      { class: "own" },
      note === "" ? null : h("span", { class: "note" }, note),
      source === null ? null : h("img", { class: "pic", src: source, alt: caption || `image ${item.id}` }),
      h("figcaption", {}, caption),
    );
    this.#cardOn(figure).show(item);
    return figure;
  }

  /** @param {HTMLElement} figure */
  #cardOn(figure) {
    let card = this.cards.get(figure);
    if (card === undefined) {
      card = new Card(this.patch);
      this.cards.set(figure, card);
      figure.append(card.element);
    }
    return card;
  }

  /** Captions every image that is on the screen, in one request. */
  captionVisible() {
    this.patch.captioned = true;
    const visible = this.#shownCards().filter(({ element }) => isOnScreen(/** @type {Element} */ (element.parentNode)));
    this.caption(visible.map(({ id }) => id));
  }

  /** @param {number[]} ids */
  async caption(ids) {
    const wanted = [...new Set(ids)].filter((id) => !this.captions.has(id) && !this.awaited.has(id));
    if (wanted.length === 0) return;
    const { backend, element, activity } = this.patch;
    const { captions, awaited } = this;
    wanted.forEach((id) => awaited.add(id));
    this.draw();
    const label = wanted.length === 1 ? "Captioning an image" : `Captioning ${wanted.length} images`;
    this.requests += 1;
    const found = await activity.run(
      `captions ${this.requests}`,
      label,
      (signal) => backend.captions(element.currentIndex, wanted, signal),
      () => this.caption(wanted),
    );
    // Of the index that they were asked for: another one has other maps by now.
    wanted.forEach((id) => awaited.delete(id));
    found?.forEach((text, id) => captions.set(id, text));
    this.draw();
  }

  /** Drops what captions are on their way, and what went wrong with others. */
  stopCaptioning() {
    this.patch.activity.stopAll("captions ");
  }

  /** Ids mean other images in another index. */
  forgetCaptions() {
    this.stopCaptioning();
    this.captions = new Map();
    this.awaited = new Set();
  }

  /** Shows captions that have come. */
  draw() {
    this.#shownCards().forEach((card) => card.draw());
  }

  #shownCards() {
    const figures = this.patch.element.shadowRoot.querySelectorAll("figure");
    return [...figures].flatMap((figure) => this.cards.get(figure) ?? []);
  }
}

class Card {
  /** @param {import("./patch.js").Patch} patch */
  constructor(patch) {
    this.patch = patch;
    this.id = -1;
    /** @type {string | undefined} what is drawn already */
    this.drawn = undefined;
    this.text = button("", () => this.patch.searchFor(this.text.textContent ?? ""), { class: "caption" });
    this.captionButton = button("Caption", () => this.patch.cards.caption([this.id]), {
      label: "Caption this image",
    });
    const add = button("+", () => this.#add(), { label: "Add this image to the query" });
    const near = button("≈", () => this.#openNeighbours(), { label: "Images like this one" });
    this.element = h("div", { class: "card" }, this.text, h("span", {}, this.captionButton, add, near));
  }

  /** @param {Item} item */
  show(item) {
    this.id = item.id;
    this.draw();
  }

  /** Touches the page only where something has changed: this runs for every image and every key that is pressed. */
  draw() {
    const { features, cards } = this.patch;
    const caption = cards.captions.get(this.id);
    const awaited = cards.awaited.has(this.id);
    const state = `${features.clipgpt} ${awaited} ${caption}`;
    if (state === this.drawn) return;
    this.drawn = state;
    this.element.hidden = !features.clipgpt;
    this.text.hidden = caption === undefined;
    this.text.textContent = caption ?? "";
    this.text.title = "CLIP-GPT’s caption: search with it";
    this.captionButton.hidden = caption !== undefined;
    this.captionButton.disabled = awaited;
    this.captionButton.classList.toggle("awaited", awaited);
  }

  #add() {
    this.patch.changeChips(addChip(this.patch.chips, { kind: "item", id: this.id }));
  }

  #openNeighbours() {
    const { patch } = this;
    if (patch.view === "explore") patch.visit(patch.cluster, [...patch.near, this.id]);
    else patch.searchNear(this.id);
  }
}

/** @param {Element} figure */
function isOnScreen(figure) {
  const { top, bottom, width } = figure.getBoundingClientRect();
  return width > 0 && bottom > 0 && top < window.innerHeight;
}
