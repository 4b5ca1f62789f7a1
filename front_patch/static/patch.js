/** The extended page: its state, its searches, and what each part of it shows. */

import { Activity } from "./activity.js";
import { SETTINGS, fromAddress, toAddress } from "./address.js";
import { Backend } from "./backend.js";
import { Cards } from "./cards.js";
import { ONLY_BAR, addChip } from "./chips.js";
import { ChipsView } from "./chips-view.js";
import { CompareView } from "./compare-view.js";
import { ExploreView } from "./explore-view.js";
import { Panel } from "./panel.js";
import { STOCK_FEATURES, defaultEncoder, kindOf, readerOf } from "./query.js";
import { Results } from "./results.js";
import { makeAccessible, missingFromPage, syncControls } from "./stock.js";
import { UnderstoodView } from "./understood.js";
import { readImage } from "./upload.js";

/**
 * @typedef {import("./stock.js").ClipFront} ClipFront
 * @typedef {import("./backend.js").Item} Item
 */

/** A change of one of these asks the index anew. */
const SEARCH_SETTINGS = [
  "useMclip",
  "modality",
  "hideDuplicateImages",
  "safeMode",
  "removeViolence",
  "aestheticScore",
  "aestheticWeight",
];

/** Characters of an image that an address takes: a large one of a result is left out. */
const LONGEST_IMAGE = 200_000;

export class Patch {
  /**
   * @param {ClipFront} element the stock page
   * @param {URL} address that the page was opened with
   * @param {(missing: string[]) => void} tellMissing
   */
  constructor(element, address, tellMissing) {
    this.element = element;
    this.tellMissing = tellMissing;
    this.opened = fromAddress(address.search, address.hash);
    this.backend = new Backend("");
    this.features = STOCK_FEATURES;
    /** @type {(index: string) => import("./query.js").Features} */
    this.featuresOf = () => STOCK_FEATURES;
    this.featuresKnown = Promise.resolve();

    this.encoder = this.opened.encoder;
    this.weight = this.opened.weight;
    this.view = this.opened.view;
    this.chips = this.opened.chips;
    this.captioned = this.opened.captioned;
    this.cluster = this.opened.cluster;
    this.near = this.opened.near;

    this.activity = new Activity();
    this.results = new Results(this);
    this.cards = new Cards(this);
    this.chipsView = new ChipsView(this);
    this.understood = new UnderstoodView(this);
    this.panel = new Panel(this);
    this.compareView = new CompareView(this);
    this.exploreView = new ExploreView(this);
    /** What the address says is only written over once something has been shown. */
    this.recorded = false;
    this.restoring = false;
    this.refreshing = false;
    this.mounted = false;
    /** @type {Item[]} items in the order in which the stock page renders them */
    this.rendered = [];
  }

  /** Puts our methods before the stock ones, on this element alone. */
  install() {
    const stock = Object.getPrototypeOf(this.element);
    /** @type {Partial<ClipFront>} */
    const ours = {
      init: () => this.#init(stock),
      updated: (changed) => this.#updated(stock, changed),
      renderImage: (item) => {
        this.rendered.push(item);
        return stock.renderImage.call(this.element, item);
      },
      textSearch: () => this.searchText(),
      imageSearch: () => this.#searchImage("image"),
      imageUrlSearch: () => this.#searchImage("imageUrl"),
      redoSearch: () => this.refresh(),
      callClip: (count = null) => this.results.download(count),
      fetchMoreMetadata: (count) => this.results.fetchMore(count),
      // The stock page would write the address before anything is shown: `refresh` does.
      setUrlParams: () => {},
      // Its own back end's first index is no better where that back end is the one that did not answer.
      setBackendToDefault: () => {
        if (this.element.backendHost !== this.element.defaultBackend) stock.setBackendToDefault.call(this.element);
      },
      updateImage: (file) => this.#upload(file, (image) => (this.element.image = image)),
    };
    this.overridden = Object.keys(ours);
    Object.assign(this.element, ours);
    window.addEventListener("popstate", this.#onPopState);
  }

  /** Gives the stock page back as it was. */
  #uninstall() {
    for (const name of this.overridden ?? []) Reflect.deleteProperty(this.element, name);
    window.removeEventListener("popstate", this.#onPopState);
  }

  /** @param {ClipFront} stock */
  #init(stock) {
    const done = stock.init.call(this.element);
    // Until its first await the stock method sets defaults: what the address says goes over them.
    Object.assign(this.element, this.opened.settings);
    if (this.opened.image !== "") this.element.image = this.opened.image;
    return done;
  }

  /**
   * @param {ClipFront} stock
   * @param {Map<string, unknown>} changed
   */
  #updated(stock, changed) {
    const root = this.element.shadowRoot;
    if (this.element.images === undefined) return stock.updated.call(this.element, changed);
    if (!this.mounted) {
      const missing = missingFromPage(root);
      if (missing.length > 0) {
        this.#uninstall();
        this.tellMissing(missing);
        return stock.updated.call(this.element, changed);
      }
      this.#mount(root);
    }
    if (changed.has("backendHost")) this.#loadFeatures();
    if (changed.has("currentIndex")) {
      if (changed.get("currentIndex") && !this.restoring) this.#forgetItems();
      this.#useIndex();
      this.refresh();
    }
    stock.updated.call(this.element, changed);
    if (SEARCH_SETTINGS.some((name) => changed.has(name))) this.#refreshWithoutText();
    if (this.recorded && Object.keys(SETTINGS).some((name) => changed.has(name))) this.record();
    this.show();
    this.rendered = [];
  }

  /** The stock page searches anew where there is text; chips and explored places ask for it, too. */
  #refreshWithoutText() {
    if (this.element.text === "" && (this.kind() !== "empty" || this.view === "explore")) this.refresh();
  }

  /** @param {ShadowRoot} root */
  #mount(root) {
    this.mounted = true;
    const styles = new URL("./shadow.css", import.meta.url).href;
    const link = document.createElement("link");
    Object.assign(link, { rel: "stylesheet", href: styles });
    root.append(link);
    document.documentElement.classList.add("clipgpt");
    root.getElementById("searchLine")?.after(this.panel.element);
    root.getElementById("filter")?.after(this.compareView.element, this.exploreView.element);
  }

  #loadFeatures() {
    this.backend = new Backend(this.element.backendHost);
    this.featuresKnown = this.activity
      .run("features", "Asking the back end what it can do", (signal) => this.backend.features(signal), () => {
        this.element.initIndices();
        this.#loadFeatures();
      })
      .then((featuresOf) => {
        if (featuresOf === undefined) return;
        this.featuresOf = featuresOf;
        this.#useIndex();
        this.refresh();
      });
  }

  #useIndex() {
    this.features = this.featuresOf(this.element.currentIndex);
    this.cards.forgetCaptions();
    this.chipsView.forgetSources();
  }

  /** The ids and clusters of one index mean nothing in another. */
  #forgetItems() {
    this.chips = this.chips.filter(({ kind }) => kind !== "item");
    this.cluster = "";
    this.near = [];
  }

  /** Brings everything on the page in line with the state. */
  show() {
    if (!this.mounted) return;
    const { classList } = /** @type {HTMLElement} */ (this.element.shadowRoot.getElementById("all"));
    classList.toggle("no-clip", !this.features.clip);
    classList.toggle("other-view", this.view !== "search");
    makeAccessible(this.element.shadowRoot);
    syncControls(this.element.shadowRoot);
    this.panel.update();
    this.chipsView.update();
    this.cards.update(this.element.shadowRoot.getElementById("products"), this.rendered);
    this.compareView.element.hidden = this.view !== "compare";
    this.exploreView.element.hidden = this.view !== "explore";
  }

  /** @returns {import("./query.js").Query} */
  query() {
    // A link may come from an index with CLIP: without it there is no choice.
    const chosen = this.features.clip ? this.encoder : null;
    const encoder = chosen ?? defaultEncoder(this.features);
    const weight = chosen === null && encoder === "blend" ? this.features.weight : this.weight;
    return { text: this.element.text, chips: this.chips, encoder, weight };
  }

  kind() {
    if (this.element.image !== undefined || this.element.imageUrl !== undefined) return "stock-image";
    return kindOf(this.query());
  }

  /** Who reads the query, or null where CLIP-GPT and CLIP's text tower have no part in it. */
  reader() {
    const stockOnly = !this.features.clipgpt || this.element.useMclip;
    return stockOnly || this.kind() === "stock-image" ? null : readerOf(this.query());
  }

  /** A search that the user asked for, from the search bar and the chips. */
  searchText() {
    if (this.view === "explore") this.view = "search";
    this.captioned = false;
    this.element.image = undefined;
    this.element.imageUrl = undefined;
    this.element.lastSearch = "text";
    this.refresh();
  }

  /**
   * A search for one text alone.
   *
   * @param {string} text
   */
  searchFor(text) {
    this.chips = ONLY_BAR;
    this.element.text = text;
    this.view = "search";
    this.searchText();
  }

  /**
   * The images like this one.
   *
   * @param {number} id
   */
  searchNear(id) {
    this.element.text = "";
    this.chips = addChip(ONLY_BAR, { kind: "item", id });
    this.view = "search";
    this.searchText();
  }

  /** @param {"image" | "imageUrl"} source of the image, as the stock page sets it */
  #searchImage(source) {
    if (this.restoring) return;
    const fromLink = !this.recorded && this.element[source] === this.opened[source];
    if (fromLink) this.refresh();
    else this.#searchNewImage(source);
  }

  /** @param {"image" | "imageUrl"} source */
  #searchNewImage(source) {
    this.element.text = "";
    this.element[source === "image" ? "imageUrl" : "image"] = undefined;
    this.element.lastSearch = source;
    this.chips = ONLY_BAR;
    this.view = "search";
    this.captioned = false;
    this.refresh();
  }

  /** Shows what the state asks for; changes of the same moment lead to one request. */
  refresh() {
    if (this.restoring || this.refreshing) return;
    this.refreshing = true;
    queueMicrotask(async () => {
      await this.featuresKnown;
      this.refreshing = false;
      // As long as nobody knows what the back end can do, nothing of a link is given up.
      if (this.activity.failed.has("features")) return;
      // The stock page learns the name of its index late.
      if (this.element.currentIndex === "") return;
      if (!this.features.clipgpt) this.chips = ONLY_BAR;
      const { clip, clipgpt, explore } = this.features;
      const views = { search: true, compare: clip && clipgpt, explore };
      if (!views[this.view]) this.view = "search";
      this.record();
      this.show();
      this.#stopWhatWasAsked();
      if (this.view === "explore") this.exploreView.load();
      else if (this.view === "compare") this.compareView.load();
      else this.results.load();
    });
  }

  /** What the page showed before has no more to come, and its errors are of no more interest. */
  #stopWhatWasAsked() {
    ["search", "more", "compare", "explore"].forEach((channel) => this.activity.stop(channel));
    this.cards.stopCaptioning();
  }

  /**
   * @param {File} file
   * @param {(image: string) => void} use takes the image in base64
   */
  async #upload(file, use) {
    const image = await this.activity.run("upload", "Reading the image", () => readImage(file), () => {});
    if (image !== undefined) use(image);
  }

  /**
   * Puts an image of the user's own into the query.
   *
   * @param {File} file
   */
  addUpload(file) {
    this.#upload(file, (image) => this.changeChips(addChip(this.chips, { kind: "upload", image })));
  }

  /**
   * Searches with other chips.
   *
   * @param {import("./chips.js").Chip[]} chips
   */
  changeChips(chips) {
    this.chips = chips;
    this.searchText();
  }

  /**
   * Another encoder, or another weight of the blend.
   *
   * @param {import("./query.js").Encoder} encoder
   * @param {number} weight
   */
  changeEncoder(encoder, weight) {
    this.encoder = encoder;
    this.weight = weight;
    this.captioned = false;
    this.refresh();
  }

  /** @param {import("./address.js").View} view */
  changeView(view) {
    this.view = view;
    this.captioned = false;
    this.refresh();
  }

  /**
   * Opens a place of the index.
   *
   * @param {string} cluster "" for the whole index
   * @param {number[]} near images that one walks over from there
   */
  visit(cluster, near = []) {
    this.view = "explore";
    this.cluster = cluster;
    this.near = near;
    this.captioned = false;
    this.refresh();
  }

  /** @returns {import("./address.js").PageState} */
  #state() {
    const { element } = this;
    const values = /** @type {Record<string, any>} */ (/** @type {unknown} */ (element));
    const exploring = this.view === "explore";
    return {
      back: element.backendHost,
      index: element.currentIndex,
      query: element.text,
      useMclip: element.useMclip,
      imageUrl: element.imageUrl ?? "",
      image: (element.image ?? "").length <= LONGEST_IMAGE ? (element.image ?? "") : "",
      settings: Object.fromEntries(
        Object.entries(SETTINGS)
          .filter(([name, byDefault]) => values[name] !== byDefault)
          .map(([name]) => [name, values[name]]),
      ),
      encoder: this.encoder,
      weight: this.weight,
      view: this.view,
      chips: this.chips,
      captioned: this.captioned,
      cluster: exploring ? this.cluster : "",
      near: exploring ? this.near : [],
    };
  }

  /** Writes the state into the address; the first time without a step in the history. */
  record() {
    if (this.restoring || !this.mounted || this.element.currentIndex === "") return;
    const address = toAddress(this.#state(), location.search);
    const first = !this.recorded;
    this.recorded = true;
    if (address === location.search + location.hash) return;
    if (first) history.replaceState({}, "", address);
    else history.pushState({}, "", address);
  }

  #onPopState = async () => {
    const state = fromAddress(location.search, location.hash);
    const { element } = this;
    if (state.back !== element.backendHost) {
      location.reload();
      return;
    }
    // The stock page searches when its properties change: here one search is enough.
    this.restoring = true;
    Object.assign(element, SETTINGS, state.settings, {
      currentIndex: state.index,
      text: state.query,
      useMclip: state.useMclip,
      imageUrl: state.imageUrl || undefined,
      image: state.image || undefined,
    });
    this.encoder = state.encoder;
    this.weight = state.weight;
    this.view = state.view;
    this.chips = state.chips;
    this.captioned = state.captioned;
    this.cluster = state.cluster;
    this.near = state.near;
    await element.updateComplete;
    this.restoring = false;
    this.refresh();
  };
}
