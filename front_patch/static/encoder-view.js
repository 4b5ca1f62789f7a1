/** The choice of the encoder, what it does in one line, and the weight of a blend. */

import { h } from "./dom.js";

/** @typedef {import("./query.js").Encoder} Encoder */

/** @type {Encoder[]} */
export const ENCODERS = ["clip-gpt", "clip", "blend"];

const NAMES = { clip: "CLIP", "clip-gpt": "CLIP-GPT", blend: "Blend" };

const DESCRIPTIONS = {
  clip: "CLIP’s own text encoder: texts alone.",
  "clip-gpt": "Imagines the image that a text describes; reads images, too.",
  blend: "The mean of both, with a weight of your choice.",
};

export class EncoderView {
  /** @param {(encoder: Encoder, weight: number | null) => void} change */
  constructor(change) {
    /** @type {(encoder: Encoder) => void} */
    const choose = (encoder) => change(encoder, encoder === "blend" ? Number(this.slider.value) : null);
    this.radios = ENCODERS.map((value) =>
      h("input", { type: "radio", name: "encoder", value, onchange: () => choose(value) }),
    );
    this.slider = h("input", {
      type: "range",
      min: 0,
      max: 1,
      step: 0.05,
      "aria-label": "Weight of CLIP-GPT in the blend",
      oninput: () => this.#showWeight(),
      onchange: () => choose("blend"),
    });
    this.weight = h("output", {});
    this.blend = h("span", { class: "blend" }, this.slider, this.weight);
    this.description = h("span", { class: "description" });
    const choices = ENCODERS.map((encoder, position) => h("label", {}, this.radios[position], NAMES[encoder]));
    this.element = h(
      "fieldset",
      { class: "encoders" },
      h("legend", { class: "visually-hidden" }, "The query is read by"),
      h("span", { class: "segmented" }, ...choices),
      this.blend,
      this.description,
    );
  }

  /**
   * @param {Encoder} choice
   * @param {number} weight of CLIP-GPT in a blend
   * @param {number} measured weight that the model was measured best with; 0 or 1: no blend
   * @param {string[]} unavailable encoders
   */
  update(choice, weight, measured, unavailable) {
    this.radios.forEach((radio) => {
      radio.checked = radio.value === choice;
      radio.disabled = unavailable.includes(radio.value);
    });
    this.blend.hidden = choice !== "blend";
    const best = measured > 0 && measured < 1 ? `Both together; measured best with ${percent(measured)} CLIP-GPT.` : "";
    this.description.textContent = choice === "blend" && best !== "" ? best : DESCRIPTIONS[choice];
    if (!this.slider.matches(":active")) this.slider.value = String(weight);
    this.#showWeight();
  }

  #showWeight() {
    this.weight.textContent = `${percent(Number(this.slider.value))} CLIP-GPT`;
  }
}

/** @param {number} weight */
function percent(weight) {
  return `${Math.round(weight * 100)} %`;
}
