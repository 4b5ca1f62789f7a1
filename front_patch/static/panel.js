/** The panel under the search bar: encoder, views, and what belongs to them. */

import { addChip } from "./chips.js";
import { button, h } from "./dom.js";

/** @typedef {import("./query.js").Encoder} Encoder */

/** @type {[Encoder, string][]} */
const ENCODERS = [
  ["clip", "CLIP"],
  ["clip-gpt", "CLIP-GPT"],
  ["blend", "blend"],
];

export class Panel {
  /** @param {import("./patch.js").Patch} patch */
  constructor(patch) {
    this.patch = patch;
    this.radios = ENCODERS.map(([value]) =>
      h("input", { type: "radio", name: "encoder", value, onchange: () => this.#choose(value) }),
    );
    this.slider = h("input", {
      type: "range",
      min: 0,
      max: 1,
      step: 0.05,
      "aria-label": "Share of CLIP-GPT in the blend",
      oninput: () => this.#showShare(),
      onchange: () => patch.changeEncoder("blend", Number(this.slider.value)),
    });
    this.share = h("output", {});
    this.blend = h("span", { class: "blend" }, this.slider, this.share);
    this.encoders = h(
      "fieldset",
      { class: "encoders" },
      h("legend", {}, "Text is read by"),
      ...ENCODERS.map(([, name], place) => h("label", {}, this.radios[place], name)),
      this.blend,
    );
    this.compare = button("Compare", () => this.#toggle("compare"), {
      label: "Compare: the same query by CLIP and by CLIP-GPT, side by side",
    });
    this.explore = button("Explore", () => this.#toggle("explore"), { label: "Explore: what is in this index?" });
    this.captionAll = button("Caption all visible", () => this.#captionAll());
    this.addText = button("+ text", () => this.#addText(), {
      label: "+ text: keep this text in the query and write another piece",
    });
    const chooser = h("input", { type: "file", accept: "image/*", hidden: true, "aria-label": "An image" });
    chooser.addEventListener("change", () => {
      if (chooser.files?.[0]) patch.addUpload(chooser.files[0]);
      chooser.value = "";
    });
    this.addImage = button("+ image", () => chooser.click(), {
      label: "+ image: put one of your own into the query",
    });
    this.tools = h(
      "div",
      { class: "tools", role: "group", "aria-label": "CLIP-GPT" },
      this.encoders,
      this.addText,
      this.addImage,
      chooser,
      this.compare,
      this.explore,
      this.captionAll,
    );
    this.settingsButton = button("Settings", () => this.#toggleSettings(), {
      class: "settings",
      "aria-expanded": "false",
      "aria-controls": "filter",
    });
    this.element = h(
      "section",
      { id: "clipgpt", "aria-label": "CLIP-GPT" },
      patch.chipsView.element,
      patch.chipsView.said,
      patch.understood.element,
      this.tools,
      this.settingsButton,
      patch.activity.element,
    );
  }

  /** Shows the state of the page, and hides what this index cannot do. */
  update() {
    const { features, view } = this.patch;
    const { encoder, weight } = this.patch.query();
    const kind = this.patch.kind();
    this.tools.hidden = !features.clipgpt && !features.explore;
    this.encoders.hidden = !features.clip || !features.clipgpt || view !== "search";
    const choice = this.patch.reader() ?? encoder;
    this.radios.forEach((radio) => {
      radio.checked = radio.value === choice;
      radio.disabled = this.patch.element.useMclip || (radio.value === "clip" && kind === "interleaved");
    });
    this.blend.hidden = choice !== "blend";
    if (!this.slider.matches(":active")) this.slider.value = String(weight);
    this.#showShare();
    this.addText.hidden = !features.clipgpt;
    this.addText.disabled = this.patch.element.text.trim() === "";
    this.addImage.hidden = !features.clip || !features.clipgpt;
    this.compare.hidden = !features.clip || !features.clipgpt;
    this.explore.hidden = !features.explore;
    this.captionAll.hidden = !features.clipgpt;
    this.compare.setAttribute("aria-pressed", String(view === "compare"));
    this.explore.setAttribute("aria-pressed", String(view === "explore"));
  }

  #showShare() {
    this.share.textContent = `${Math.round(Number(this.slider.value) * 100)} % CLIP-GPT`;
  }

  /** @param {Encoder} encoder */
  #choose(encoder) {
    this.patch.changeEncoder(encoder, Number(this.slider.value));
  }

  /** @param {"compare" | "explore"} view */
  #toggle(view) {
    this.patch.changeView(this.patch.view === view ? "search" : view);
  }

  #captionAll() {
    this.patch.cards.captionVisible();
    this.patch.record();
  }

  #addText() {
    const { element, chips } = this.patch;
    this.patch.chips = addChip(chips, { kind: "text", text: element.text.trim() });
    element.text = "";
    element.shadowRoot.getElementById("searchBar")?.focus();
  }

  #toggleSettings() {
    const open = this.settingsButton.getAttribute("aria-expanded") !== "true";
    this.settingsButton.setAttribute("aria-expanded", String(open));
    this.patch.element.shadowRoot.getElementById("all")?.classList.toggle("settings-open", open);
  }
}
