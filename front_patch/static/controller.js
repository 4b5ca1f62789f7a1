/** What the user does: it changes the state, and everything that depends on it is loaded and shown. */

import { Activity } from "./activity.js";
import { Backend } from "./backend.js";
import { ONLY_BAR, addChip } from "./chips.js";
import { MAX_WRITTEN, download, exportedRows } from "./export.js";
import { listenToKeys } from "./keys.js";
import { Page } from "./page.js";
import { PageHistory } from "./page-history.js";
import { readStars, writeStars } from "./stars.js";
import { readImage } from "./upload.js";

/**
 * @typedef {import("./backend.js").Item} Item
 * @typedef {import("./address.js").View} View
 * @typedef {import("./chips.js").Chip} Chip
 */

/** Settings that only change what is shown. */
const DISPLAY_SETTINGS = ["displayCaptions", "displayFullCaptions", "displaySimilarities"];

export class Controller {
  /** @param {import("./state.js").State} state */
  constructor(state) {
    this.state = state;
    this.activity = new Activity();
    this.history = new PageHistory(
      state,
      () => this.refresh(),
      () => this.page.update(),
    );
    this.page = new Page(state, this.activity, this);
    this.featuresKnown = Promise.resolve();
    this.refreshing = false;
  }

  /** Shows the page, once the stock one has its defaults. */
  mount() {
    this.page.mount();
    this.history.listen();
    listenToKeys(this.page);
  }

  /** @param {Map<string, unknown>} changed properties of the stock element, with their old values */
  beforeUpdate(changed) {
    if (changed.has("backendHost")) this.#loadFeatures();
    if (!changed.has("currentIndex")) return;
    if (changed.get("currentIndex") && !this.history.restoring) this.state.forgetItems();
    this.#useIndex();
    this.refresh();
  }

  /** @param {Map<string, unknown>} changed properties of the stock element, with their old values */
  afterUpdate(changed) {
    if (changed.has("indices")) this.page.update();
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
    const { state } = this;
    state.useIndex();
    const { backendHost, currentIndex } = state.element;
    if (currentIndex !== "") {
      // Those of the link are of the index that the page opens with.
      const linked = this.history.recorded ? [] : state.opened.starred;
      state.starred = [...new Set([...readStars(backendHost, currentIndex), ...linked])];
    }
    this.page.forgetItems();
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
      state.chips = this.#possible(state.chips);
      if (!state.features.filters) state.filters = [];
      if (!this.page.isAvailable(state.view)) state.view = "search";
      this.history.record();
      this.page.update();
      this.page.load();
    });
  }

  /**
   * The chips that the index can search with: without CLIP-GPT one image, in place of the text.
   *
   * @param {Chip[]} chips
   * @returns {Chip[]}
   */
  #possible(chips) {
    const { element, features } = this.state;
    if (features.clipgpt) return chips;
    const image = chips.find(({ kind, minus }) => (kind === "upload" || kind === "url") && !minus);
    const usable = image !== undefined && features.clip && element.text === "";
    return usable ? [image, { kind: "bar" }] : ONLY_BAR;
  }

  /** A search by the user, with the search bar and the chips. */
  search() {
    const { state } = this;
    if (state.view === "explore" || state.view === "starred") state.view = "search";
    state.item = null;
    window.scrollTo(0, 0);
    this.refresh();
  }

  /** @param {string} text in the search bar */
  typed(text) {
    this.state.element.text = text;
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

  /** @param {File} file an image of the user's own, to add to the query */
  async addUpload(file) {
    const image = await this.activity.run("upload", "Reading the image", () => readImage(file), () => {});
    if (image !== undefined) this.#add({ kind: "upload", image });
  }

  /** @param {string} url of an image to add to the query */
  addUrl(url) {
    this.#add({ kind: "url", url });
  }

  /**
   * @param {number} id of an image to add to the query
   * @param {boolean} [minus] results should be less like it
   */
  addItem(id, minus = false) {
    this.#add({ kind: "item", id, ...(minus && { minus }) });
  }

  /** @param {string} text that results should be less like */
  addMinus(text) {
    this.#add({ kind: "text", text, minus: true });
  }

  /** @param {Chip} chip */
  #add(chip) {
    const { element, features } = this.state;
    // Without CLIP-GPT a query is a text or an image.
    if (!features.clipgpt) element.text = "";
    this.changeChips(addChip(features.clipgpt ? this.state.chips : ONLY_BAR, chip));
  }

  /** @param {import("./filters.js").Condition[]} filters that results must satisfy */
  changeFilters(filters) {
    this.state.filters = filters;
    this.search();
  }

  /** Turns the text in the search bar into a chip. */
  addText() {
    const { element, chips } = this.state;
    this.state.chips = addChip(chips, { kind: "text", text: element.text.trim() });
    element.text = "";
    this.page.update();
  }

  /** @param {Chip[]} chips to search with */
  changeChips(chips) {
    this.state.chips = chips;
    this.search();
  }

  /**
   * A search with one image alone.
   *
   * @param {Item} item
   */
  async searchWith(item) {
    const { element, features } = this.state;
    if (features.clipgpt) {
      this.searchWithItems([item.id]);
      return;
    }
    element.text = "";
    const source = this.page.imageOf(item) ?? "";
    if (!source.startsWith("data:")) this.addUrl(source);
    else this.addUpload(new File([await (await fetch(source)).blob()], `image ${item.id}`));
  }

  /** @param {number[]} ids of images that are the query */
  searchWithItems(ids) {
    this.state.element.text = "";
    this.state.view = "search";
    this.changeChips([...ids.map((id) => /** @type {Chip} */ ({ kind: "item", id })), { kind: "bar" }]);
  }

  /**
   * @param {import("./query.js").Encoder} encoder
   * @param {number | null} weight of CLIP-GPT in a blend
   */
  changeEncoder(encoder, weight) {
    this.state.encoder = encoder;
    this.state.weight = weight;
    this.refresh();
  }

  /** @param {View} view */
  changeView(view) {
    this.state.view = view;
    this.state.item = null;
    if (view === "explore") [this.state.cluster, this.state.near] = ["", []];
    this.refresh();
  }

  /** To the start: an empty query. */
  home() {
    this.searchText("");
  }

  /**
   * Opens a cluster, and images from there.
   *
   * @param {string} cluster "" for the whole index
   * @param {number[]} near the images, each a neighbour of the one before
   */
  visit(cluster, near = []) {
    Object.assign(this.state, { view: "explore", item: null, cluster, near });
    window.scrollTo(0, 0);
    this.refresh();
  }

  /** @param {number} id of the image whose neighbours are shown in the explore view */
  exploreNear(id) {
    const { state } = this;
    const exploring = state.view === "explore";
    this.visit(exploring ? state.cluster : "", [...(exploring ? state.near : []), id]);
  }

  /** @param {number} id of the image to show in detail */
  openItem(id) {
    const { state } = this;
    const inside = state.item !== null;
    state.item = id;
    this.history.record({ replace: inside });
    if (!inside) this.history.markDetail();
    this.page.update();
  }

  /** Closes the detail view, as going back does. */
  closeItem() {
    if (this.history.openedDetail()) {
      history.back();
      return;
    }
    this.state.item = null;
    this.history.record();
    this.page.update();
  }

  /** @param {number} id of the image to star, or to remove the star of */
  star(id) {
    const { starred } = this.state;
    this.#setStars(starred.includes(id) ? starred.filter((other) => other !== id) : [...starred, id]);
  }

  removeStars() {
    this.#setStars([]);
  }

  /** @param {number[]} ids */
  #setStars(ids) {
    const { state } = this;
    state.starred = ids;
    writeStars(state.element.backendHost, state.element.currentIndex, ids);
    this.history.record({ replace: true });
    this.page.update();
    if (state.view === "starred") this.page.load();
  }

  /**
   * @param {import("./export.js").Format} format
   * @param {Item[]} items
   */
  async exportItems(format, items) {
    if (format.write !== null) {
      download(format, format.write(exportedRows(items, this.page.captions.texts)));
      return;
    }
    const { activity, state } = this;
    const ids = items.slice(0, MAX_WRITTEN).map(({ id }) => id);
    const file = await activity.run(
      "export",
      "Writing the file",
      (signal) => state.backend.parquet(state.element.currentIndex, ids, signal),
      () => this.exportItems(format, items),
    );
    if (file !== undefined) download(format, file);
  }

  /** @param {boolean} on whether the tiles show captions by CLIP-GPT */
  captionResults(on) {
    this.state.captioned = on;
    this.history.record({ replace: true });
    this.page.update();
    this.page.captionVisible();
  }

  /**
   * @param {string} name of a setting of the stock page
   * @param {string | boolean} value
   */
  changeSetting(name, value) {
    Object.assign(this.state.element, { [name]: value });
    if (!DISPLAY_SETTINGS.includes(name)) {
      this.refresh();
      return;
    }
    this.history.record();
    this.page.update();
  }

  /** @param {string} url */
  changeBackend(url) {
    Object.assign(this.state.element, { backendHost: url });
  }

  /** @param {string} index */
  changeIndex(index) {
    Object.assign(this.state.element, { currentIndex: index });
  }
}
