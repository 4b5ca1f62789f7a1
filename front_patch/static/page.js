/** The page: its parts are made here, each with the few functions that it needs, and show the state from here. */

import { Captions } from "./captions.js";
import { CompareView } from "./compare-view.js";
import { DetailView } from "./detail-view.js";
import { h } from "./dom.js";
import { Drawer } from "./drawer.js";
import { ExploreView } from "./explore-view.js";
import { FiltersView } from "./filters-view.js";
import { Help } from "./help.js";
import { ReadbackView } from "./readback-view.js";
import { Requests } from "./requests.js";
import { ResultsView } from "./results-view.js";
import { SearchBar } from "./search-bar.js";
import { StarredView } from "./starred-view.js";
import { StartView } from "./start-view.js";
import { imageSource } from "./stock.js";
import { Tiles } from "./tiles.js";
import { Toolbar } from "./toolbar.js";
import { Topbar } from "./topbar.js";

/** In the order in which they apply. */
const STYLES = ["./base.css", "./bar.css", "./views.css", "./explore.css", "./dialogs.css"];

/**
 * @typedef {import("./backend.js").Item} Item
 * @typedef {import("./controller.js").Controller} Controller
 */

export class Page {
  /**
   * @param {import("./state.js").State} state
   * @param {import("./activity.js").Activity} activity
   * @param {Controller} actions
   */
  constructor(state, activity, actions) {
    this.state = state;
    this.activity = activity;
    this.requests = new Requests(state);
    const loadCaptions = (/** @type {number[]} */ ids, /** @type {AbortSignal} */ signal) =>
      this.requests.captions(ids, signal);
    this.captions = new Captions(activity, loadCaptions, () => this.#drawTiles());
    this.tiles = new Tiles({
      imageOf: (item) => this.imageOf(item),
      open: (id) => actions.openItem(id),
      star: (id) => actions.star(id),
      searchText: (text) => actions.searchText(text),
    });
    this.searchBar = new SearchBar(activity, actions, {
      imageOf: (item) => this.imageOf(item),
      loadItem: (id, signal) => this.#loadItem(id, signal),
      change: (chips) => actions.changeChips(chips),
    });
    this.filters = new FiltersView(activity, {
      load: (signal) => this.requests.fields(signal),
      change: (filters) => actions.changeFilters(filters),
    });
    this.readback = new ReadbackView(activity, {
      load: (signal) => this.requests.readback(signal),
      retry: () => actions.refresh(),
    });
    this.toolbar = new Toolbar(this.readback.element, {
      caption: (on) => actions.captionResults(on),
      exportResults: (format) => actions.exportItems(format, this.results.items),
    });
    this.start = this.#makeStart(actions);
    this.results = this.#makeResults(actions);
    this.compare = new CompareView(activity, this.tiles, {
      load: (count, signal) => this.requests.resultsOfBoth(count, signal),
      onShown: () => this.captionVisible(),
    });
    this.explore = this.#makeExplore(actions);
    this.starred = this.#makeStarred(actions);
    this.drawer = new Drawer({
      change: (name, value) => actions.changeSetting(name, value),
      changeBackend: (url) => actions.changeBackend(url),
    });
    this.help = new Help();
    this.detail = this.#makeDetail(actions);
    this.topbar = this.#makeTopbar(actions);
    this.main = h(
      "main",
      { class: "main" },
      activity.element,
      ...[this.start, this.results, this.compare, this.explore, this.starred].map(({ element }) => element),
    );
    const dialogs = [this.drawer, this.detail, this.help].map(({ element }) => element);
    this.element = h(
      "div",
      { id: "clipgpt" },
      h("a", { class: "skip", href: "#results", onclick: (event) => this.#skip(event) }, "Skip to the results"),
      this.topbar.element,
      this.topbar.row,
      this.filters.element,
      this.main,
      ...dialogs,
    );
  }

  /** @param {Controller} actions */
  #makeTopbar(actions) {
    return new Topbar(this.searchBar.element, {
      home: () => actions.home(),
      changeIndex: (index) => actions.changeIndex(index),
      changeEncoder: (encoder, weight) => actions.changeEncoder(encoder, weight),
      changeView: (view) => actions.changeView(view),
      openSettings: () => this.drawer.open(),
      openHelp: () => this.help.open(),
    });
  }

  /** @param {Controller} actions */
  #makeStart(actions) {
    return new StartView(this.activity, {
      load: (images, signal) => this.requests.explore("", [], images, 0, signal),
      imageOf: (item) => this.imageOf(item),
      searchText: (text) => actions.searchText(text),
      visit: (cluster) => actions.visit(cluster),
    });
  }

  /** @param {Controller} actions */
  #makeResults(actions) {
    return new ResultsView(this.activity, this.tiles, this.toolbar.element, {
      load: (count, signal) => this.requests.results(count, signal),
      loadItems: (ids, signal) => this.requests.items(ids, signal),
      withoutDuplicates: (items) => this.#withoutDuplicates(items),
      retry: () => actions.refresh(),
      onShown: () => {
        this.update();
        this.captionVisible();
      },
    });
  }

  /** @param {Controller} actions */
  #makeExplore(actions) {
    return new ExploreView(this.activity, this.tiles, {
      load: (...cluster) => this.requests.explore(...cluster),
      imageOf: (item) => this.imageOf(item),
      visit: (cluster, near) => actions.visit(cluster, near),
      open: (id) => actions.openItem(id),
      onShown: () => this.captionVisible(),
    });
  }

  /** @param {Controller} actions */
  #makeStarred(actions) {
    return new StarredView(this.activity, this.tiles, {
      loadItems: (ids, signal) => this.requests.items(ids, signal),
      exportItems: (format, items) => actions.exportItems(format, items),
      searchWith: (ids) => actions.searchWithItems(ids),
      removeAll: () => actions.removeStars(),
    });
  }

  /** @param {Controller} actions */
  #makeDetail(actions) {
    return new DetailView(this.activity, this.tiles, {
      imageOf: (item) => this.imageOf(item),
      loadItem: (id, signal) => this.#loadItem(id, signal),
      loadCaptions: (...asked) => this.requests.captionsOf(...asked),
      loadFits: (...asked) => this.requests.fits(...asked),
      loadNeighbours: (...asked) => this.requests.neighbours(...asked),
      open: (id) => actions.openItem(id),
      close: () => actions.closeItem(),
      searchWith: (item) => actions.searchWith(item),
      addToQuery: (item) => actions.addItem(item.id),
      lessLike: (item) => actions.addItem(item.id, true),
      star: (id) => actions.star(id),
      exploreNear: (id) => actions.exploreNear(id),
      searchText: (text) => actions.searchText(text),
    });
  }

  /** Puts the page over the stock one. */
  mount() {
    const { element } = this.state;
    const styles = STYLES.map((file) => h("link", { rel: "stylesheet", href: new URL(file, import.meta.url).href }));
    document.head.append(...styles);
    document.documentElement.classList.add("clipgpt");
    element.before(this.element);
    this.update();
    document.addEventListener("scrollend", () => this.captionVisible());
  }

  /** Brings everything on the page in line with the state. */
  update() {
    const { state } = this;
    const { element, features, view } = state;
    const query = state.query();
    const kind = state.kind();
    document.title = [query.text, element.currentIndex || "CLIP-GPT"].filter(Boolean).join(" · ");
    this.topbar.update({
      index: element.currentIndex,
      indices: element.indices,
      query,
      features,
      view,
      kind,
      effectiveEncoder: state.effectiveEncoder(),
      useMclip: element.useMclip,
      numStarred: state.starred.length,
    });
    this.searchBar.update(query, { images: features.clip, parts: features.clipgpt, minus: features.minus === true });
    this.filters.update(element.currentIndex, state.filters, features.filters === true && view !== "starred");
    this.toolbar.update(features, state.captioned, this.results.items.length > 0);
    this.drawer.update(element, features);
    this.help.update(features.minus === true);
    this.start.update(element.currentIndex, features);
    const { classList } = this.element;
    classList.toggle("hide-captions", !element.displayCaptions);
    classList.toggle("full-captions", element.displayFullCaptions);
    classList.toggle("no-export", features.export !== true);
    classList.toggle("similarities", element.displaySimilarities);
    this.start.element.hidden = !state.isStart();
    this.results.element.hidden = view !== "search" || state.isStart();
    this.compare.element.hidden = view !== "compare";
    this.explore.element.hidden = view !== "explore";
    this.starred.element.hidden = view !== "starred";
    this.#updateDetail();
    this.#drawTiles();
  }

  #updateDetail() {
    const { features, item, starred, view } = this.state;
    const results = view === "search" ? this.results.items : [];
    const searching = view === "search" || view === "compare";
    const order = view === "starred" ? starred : results.map(({ id }) => id);
    this.detail.update({
      // What the index can do is known once it has a name.
      id: this.state.element.currentIndex === "" ? null : item,
      item: results.slice(0, this.results.numShown).find(({ id }) => id === item),
      order,
      starred: item !== null && starred.includes(item),
      captions: features.clipgpt,
      near: features.explore,
      fits: features.scores === true && searching && this.state.numParts() > 1,
      parts: features.clipgpt,
      minus: features.minus === true && this.state.kind() !== "empty",
    });
  }

  #drawTiles() {
    const { captions, state } = this;
    this.tiles.update({
      captioned: state.captioned,
      captions: captions.texts,
      pending: captions.pending,
      starred: new Set(state.starred),
    });
  }

  /** @param {import("./address.js").View} view */
  isAvailable(view) {
    const { clip, clipgpt, explore } = this.state.features;
    return { search: true, compare: clip && clipgpt, explore, starred: true }[view];
  }

  /** Loads what the view shows. */
  load() {
    const { state } = this;
    const { cluster, element, features, near, view } = state;
    // Nothing of the previous view is waited for, and its errors are of no interest.
    ["search", "more", "compare", "explore", "starred", "start"].forEach((channel) => this.activity.stop(channel));
    this.captions.stop();
    if (view === "search") {
      this.#loadResults();
      return;
    }
    this.readback.clear();
    if (view === "compare") this.compare.load(state.kind());
    else if (view === "starred") this.starred.load(state.starred, features.clipgpt || element.currentIndex === "");
    else this.explore.load(cluster, near);
  }

  #loadResults() {
    const { element, features } = this.state;
    if (this.state.isStart()) {
      this.results.clear();
      this.readback.clear();
      this.start.load(element.currentIndex, features);
      return;
    }
    this.results.load();
    const encoder = this.state.effectiveEncoder();
    if (encoder === null || encoder === "clip") this.readback.clear();
    else this.readback.load();
  }

  /** Captions the tiles on the screen, where the user wants captions. */
  captionVisible() {
    if (this.state.captioned && this.state.features.clipgpt) this.captions.request(this.tiles.visibleIds());
  }

  /** Ids mean other images in another index. */
  forgetItems() {
    this.captions.forget();
    this.searchBar.chips.forgetSources();
    this.start.forget();
    this.results.clear();
  }

  /** @param {Item} item */
  imageOf(item) {
    return imageSource(item, this.state.element.urlColumn);
  }

  /**
   * @param {number} id
   * @param {AbortSignal} signal
   */
  async #loadItem(id, signal) {
    return (await this.requests.items([id], signal))[0];
  }

  /** @param {Item[]} items */
  #withoutDuplicates(items) {
    const { element } = this.state;
    if (!element.hideDuplicateUrls) return items;
    const urls = items.map((item) => item[element.urlColumn]);
    return items.filter((_, at) => urls[at] === undefined || urls.indexOf(urls[at]) === at);
  }

  /** @param {Event} event */
  #skip(event) {
    event.preventDefault();
    /** @type {HTMLElement | null} */
    const target = this.main.querySelector(".view:not([hidden]) :is(.open, button, a)");
    target?.focus();
  }
}
