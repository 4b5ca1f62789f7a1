/** What the user does: it changes the state, and everything that depends on it is loaded and shown. */

import { Activity } from "./activity.js";
import { SETTINGS } from "./address.js";
import { Backend } from "./backend.js";
import { ONLY_BAR, addChip } from "./chips.js";
import { PageHistory } from "./page-history.js";
import { readImage } from "./upload.js";
import { Views } from "./views.js";

/**
 * @typedef {import("./backend.js").Item} Item
 * @typedef {import("./address.js").View} View
 */

/** A change of one of these searches again. */
const SEARCH_SETTINGS = [
  "useMclip",
  "modality",
  "hideDuplicateImages",
  "safeMode",
  "removeViolence",
  "aestheticScore",
  "aestheticWeight",
];

export class Controller {
  /** @param {import("./state.js").State} state */
  constructor(state) {
    this.state = state;
    this.activity = new Activity();
    this.history = new PageHistory(state, () => this.refresh());
    this.views = new Views(state, this.activity, this);
    this.featuresKnown = Promise.resolve();
    this.refreshing = false;
    this.mounted = false;
  }

  /** Adds the views to the stock page, once it is there. */
  mount() {
    this.mounted = true;
    this.views.mount();
    this.history.listen();
  }

  /** @param {Map<string, unknown>} changed properties of the stock element, with their old values */
  beforeUpdate(changed) {
    if (changed.has("backendHost")) this.#loadFeatures();
    if (!changed.has("currentIndex")) return;
    if (changed.get("currentIndex") && !this.history.restoring) this.state.forgetItems();
    this.#useIndex();
    this.refresh();
  }

  /**
   * @param {Map<string, unknown>} changed properties of the stock element, with their old values
   * @param {Item[]} rendered the items that the stock page has drawn, in their order
   */
  afterUpdate(changed, rendered) {
    if (SEARCH_SETTINGS.some((name) => changed.has(name))) this.#refreshWithoutText();
    if (this.history.recorded && Object.keys(SETTINGS).some((name) => changed.has(name))) this.#record();
    this.views.update(rendered);
  }

  /** The stock page searches again where there is text; chips and the explore view need it, too. */
  #refreshWithoutText() {
    const { element, view } = this.state;
    if (element.text === "" && (this.state.kind() !== "empty" || view === "explore")) this.refresh();
  }

  #loadFeatures() {
    const { activity, state } = this;
    state.backend = new Backend(state.element.backendHost);
    this.featuresKnown = activity
      .run("features", "Loading the features of the back end", (signal) => state.backend.features(signal), () => {
        state.element.initIndices();
        this.#loadFeatures();
      })
      .then((featuresOf) => {
        if (featuresOf === undefined) return;
        state.featuresOf = featuresOf;
        this.#useIndex();
        this.refresh();
      });
  }

  #useIndex() {
    this.state.useIndex();
    this.views.forgetItems();
  }

  /** Loads and shows what the state requires; several changes in a row lead to one request. */
  refresh() {
    if (this.history.restoring || this.refreshing) return;
    this.refreshing = true;
    queueMicrotask(async () => {
      await this.featuresKnown;
      this.refreshing = false;
      const { state } = this;
      // Until the features of the back end are known, nothing in the link is discarded.
      if (this.activity.failed.has("features")) return;
      // The stock page learns the name of its index late.
      if (state.element.currentIndex === "") return;
      if (!state.features.clipgpt) state.chips = ONLY_BAR;
      if (!this.views.isAvailable(state.view)) state.view = "search";
      this.#record();
      if (this.mounted) this.views.update([]);
      this.views.load();
    });
  }

  #record() {
    if (this.mounted) this.history.record();
  }

  /** A search by the user, with the search bar and the chips. */
  search() {
    const { state } = this;
    if (state.view === "explore") state.view = "search";
    state.captioned = false;
    state.element.image = undefined;
    state.element.imageUrl = undefined;
    state.element.lastSearch = "text";
    this.refresh();
  }

  /**
   * A search for one text alone.
   *
   * @param {string} text
   */
  searchText(text) {
    this.state.chips = ONLY_BAR;
    this.state.element.text = text;
    this.state.view = "search";
    this.search();
  }

  /**
   * A search with the one image that the stock page sets.
   *
   * @param {"image" | "imageUrl"} source
   */
  searchStockImage(source) {
    if (this.history.restoring) return;
    const { element, opened } = this.state;
    const fromLink = !this.history.recorded && element[source] === opened[source];
    if (!fromLink) this.#useStockImage(source);
    this.refresh();
  }

  /** @param {"image" | "imageUrl"} source */
  #useStockImage(source) {
    const { state } = this;
    state.element.text = "";
    state.element[source === "image" ? "imageUrl" : "image"] = undefined;
    state.element.lastSearch = source;
    state.chips = ONLY_BAR;
    state.view = "search";
    state.captioned = false;
  }

  /** @param {File} file */
  uploadStockImage(file) {
    this.#upload(file, (image) => (this.state.element.image = image));
  }

  /** @param {File} file an image of the user's own, to add to the query */
  addUpload(file) {
    this.#upload(file, (image) => this.changeChips(addChip(this.state.chips, { kind: "upload", image })));
  }

  /**
   * @param {File} file
   * @param {(image: string) => void} use takes the image in base64
   */
  async #upload(file, use) {
    const image = await this.activity.run("upload", "Reading the image", () => readImage(file), () => {});
    if (image !== undefined) use(image);
  }

  /** @param {number} id of an image to add to the query */
  addItem(id) {
    this.changeChips(addChip(this.state.chips, { kind: "item", id }));
  }

  /** Turns the text in the search bar into a chip. */
  addText() {
    const { element, chips } = this.state;
    this.state.chips = addChip(chips, { kind: "text", text: element.text.trim() });
    element.text = "";
  }

  /** @param {import("./chips.js").Chip[]} chips to search with */
  changeChips(chips) {
    this.state.chips = chips;
    this.search();
  }

  /**
   * @param {import("./query.js").Encoder} encoder
   * @param {number} weight of CLIP-GPT in a blend
   */
  changeEncoder(encoder, weight) {
    this.state.encoder = encoder;
    this.state.weight = weight;
    this.state.captioned = false;
    this.refresh();
  }

  /** @param {View} view */
  changeView(view) {
    this.state.view = view;
    this.state.captioned = false;
    this.refresh();
  }

  /**
   * Opens a cluster, and images from there.
   *
   * @param {string} cluster "" for the whole index
   * @param {number[]} near the images, each a neighbour of the one before
   */
  visit(cluster, near = []) {
    this.state.cluster = cluster;
    this.state.near = near;
    this.changeView("explore");
  }

  /** @param {number} id of the image whose neighbours are wanted */
  openNeighbours(id) {
    const { state } = this;
    if (state.view === "explore") {
      this.visit(state.cluster, [...state.near, id]);
      return;
    }
    state.element.text = "";
    state.view = "search";
    this.changeChips(addChip(ONLY_BAR, { kind: "item", id }));
  }

  captionVisible() {
    this.views.captionVisible();
    this.#record();
  }

  /** @param {number | null} count of results */
  download(count) {
    return this.views.results.download(count);
  }

  /** @param {number} [count] of results to load the metadata of */
  async fetchMore(count) {
    if (this.state.view === "search") await this.views.results.fetchMore(count);
  }
}
