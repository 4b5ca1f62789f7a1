/** The parts of the page: each is made here with the few functions that it needs, and shows the state from here. */

import { Cards } from "./cards.js";
import { ChipsView } from "./chips-view.js";
import { CompareView } from "./compare-view.js";
import { h } from "./dom.js";
import { ExploreView } from "./explore-view.js";
import { Panel } from "./panel.js";
import { ReadbackView } from "./readback-view.js";
import { Requests } from "./requests.js";
import { Results } from "./results.js";
import { imageSource, makeAccessible, syncControls } from "./stock.js";

/** In the order in which they apply. */
const STYLES = ["./base.css", "./panel.css", "./views.css"];

/**
 * @typedef {import("./address.js").View} View
 * @typedef {import("./backend.js").Item} Item
 *
 * @typedef {object} Actions what a user can do
 * @property {() => void} refresh
 * @property {(text: string) => void} searchText
 * @property {(chips: import("./chips.js").Chip[]) => void} changeChips
 * @property {(encoder: import("./query.js").Encoder, weight: number) => void} changeEncoder
 * @property {(view: View) => void} changeView
 * @property {(cluster: string, near?: number[]) => void} visit
 * @property {() => void} addText
 * @property {(file: File) => void} addUpload
 * @property {(id: number) => void} addItem
 * @property {(id: number) => void} openNeighbours
 * @property {() => void} captionVisible
 */

export class Views {
  /**
   * @param {import("./state.js").State} state
   * @param {import("./activity.js").Activity} activity
   * @param {Actions} actions
   */
  constructor(state, activity, actions) {
    this.state = state;
    this.activity = activity;
    this.actions = actions;
    this.requests = new Requests(state);
    this.results = new Results(state.element, activity, this.requests, () => actions.refresh());
    this.cards = this.#makeCards();
    this.chips = this.#makeChips();
    this.readback = new ReadbackView(activity, {
      load: (signal) => this.requests.readback(signal),
      retry: () => actions.refresh(),
    });
    this.compare = new CompareView(activity, {
      load: (count, signal) => this.requests.resultsOfBoth(count, signal),
      figure: (item, note) => this.cards.figure(item, note),
      onShown: () => this.#captionIfCaptioned(),
    });
    this.explore = new ExploreView(activity, {
      load: (...cluster) => this.requests.explore(...cluster),
      figure: (item) => this.cards.figure(item),
      imageOf: (item) => this.#imageOf(item),
      visit: (cluster, near) => actions.visit(cluster, near),
      onShown: () => this.#captionIfCaptioned(),
    });
    this.panel = this.#makePanel();
  }

  #makeCards() {
    const { actions, requests } = this;
    return new Cards(this.activity, {
      figureElements: () => this.state.element.shadowRoot.querySelectorAll("figure"),
      imageOf: (item) => this.#imageOf(item),
      loadCaptions: (ids, signal) => requests.captions(ids, signal),
      searchText: (text) => actions.searchText(text),
      addToQuery: (id) => actions.addItem(id),
      openNeighbours: (id) => actions.openNeighbours(id),
    });
  }

  #makeChips() {
    return new ChipsView(this.activity, {
      imageOf: (item) => this.#imageOf(item),
      loadItem: async (id, signal) => (await this.requests.items([id], signal))[0],
      change: (chips) => this.actions.changeChips(chips),
      leave: () => this.#focusSearchBar(),
    });
  }

  #makePanel() {
    const { actions } = this;
    const parts = [this.chips.element, this.chips.announcement, this.readback.element];
    return new Panel(parts, this.activity.element, {
      changeEncoder: (encoder, weight) => actions.changeEncoder(encoder, weight),
      changeView: (view) => actions.changeView(view),
      addText: () => {
        actions.addText();
        this.#focusSearchBar();
      },
      addUpload: (file) => actions.addUpload(file),
      captionVisible: () => actions.captionVisible(),
      showSettings: (open) => this.#all().classList.toggle("settings-open", open),
    });
  }

  /** Adds our elements and styles to the stock page. */
  mount() {
    const root = this.state.element.shadowRoot;
    root.append(...STYLES.map((file) => h("link", { rel: "stylesheet", href: new URL(file, import.meta.url).href })));
    document.documentElement.classList.add("clipgpt");
    root.getElementById("searchLine")?.after(this.panel.element);
    root.getElementById("filter")?.after(this.compare.element, this.explore.element);
  }

  /**
   * Brings everything on the page in line with the state.
   *
   * @param {Item[]} rendered the items that the stock page has just drawn, in their order
   */
  update(rendered) {
    const { features, view } = this.state;
    const root = this.state.element.shadowRoot;
    const { classList } = this.#all();
    classList.toggle("no-clip", !features.clip);
    classList.toggle("other-view", view !== "search");
    makeAccessible(root);
    syncControls(root);
    const query = this.state.query();
    this.panel.update({
      query,
      features,
      view,
      kind: this.state.kind(),
      effectiveEncoder: this.state.effectiveEncoder(),
      useMclip: this.state.element.useMclip,
    });
    this.chips.update({ chips: query.chips, barText: query.text, available: features.clipgpt });
    this.cards.update(root.querySelectorAll("#products figure"), rendered, features.clipgpt);
    this.compare.element.hidden = view !== "compare";
    this.explore.element.hidden = view !== "explore";
  }

  /** @param {View} view */
  isAvailable(view) {
    const { clip, clipgpt, explore } = this.state.features;
    return { search: true, compare: clip && clipgpt, explore }[view];
  }

  /** Loads what the view shows. */
  load() {
    const { cluster, near, view } = this.state;
    // Nothing of the previous view is waited for, and its errors are of no interest.
    ["search", "more", "compare", "explore"].forEach((channel) => this.activity.stop(channel));
    this.cards.stopCaptioning();
    if (view === "search") {
      this.#loadResults();
      return;
    }
    this.readback.clear();
    if (view === "compare") this.compare.load(this.state.kind());
    else this.explore.load(cluster, near);
  }

  async #loadResults() {
    if (this.state.kind() === "empty") {
      this.results.clear();
      this.readback.clear();
      return;
    }
    const loaded = this.results.load();
    const encoder = this.state.effectiveEncoder();
    if (encoder === null || encoder === "clip") this.readback.clear();
    else this.readback.load();
    if ((await loaded) === undefined) return;
    this.#captionIfCaptioned();
    this.state.element.initialScroll();
  }

  #captionIfCaptioned() {
    if (this.state.captioned) this.captionVisible();
  }

  captionVisible() {
    this.state.captioned = true;
    this.cards.captionVisible();
  }

  /** Ids mean other images in another index. */
  forgetItems() {
    this.cards.forgetCaptions();
    this.chips.forgetSources();
  }

  /** @param {Item} item */
  #imageOf(item) {
    return imageSource(item, this.state.element.urlColumn);
  }

  #focusSearchBar() {
    this.state.element.shadowRoot.getElementById("searchBar")?.focus();
  }

  #all() {
    return /** @type {HTMLElement} */ (this.state.element.shadowRoot.getElementById("all"));
  }
}
