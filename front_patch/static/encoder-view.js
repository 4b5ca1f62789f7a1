/** The choice of the encoder, and the weight of a blend. */

import { h } from "./dom.js";

/** @typedef {import("./query.js").Encoder} Encoder */

/** @type {Encoder[]} */
export const ENCODERS = ["clip", "clip-gpt", "blend"];

const NAMES = { clip: "CLIP", "clip-gpt": "CLIP-GPT", blend: "blend" };

export class EncoderView {
  /** @param {(encoder: Encoder, weight: number) => void} change */
  constructor(change) {
    /** @type {(encoder: Encoder) => void} */
    const choose = (encoder) => change(encoder, Number(this.slider.value));
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
    this.element = h(
      "fieldset",
      { class: "encoders" },
      h("legend", {}, "Text is read by"),
      ...ENCODERS.map((encoder, position) => h("label", {}, this.radios[position], NAMES[encoder])),
      this.blend,
    );
  }

  /**
   * @param {Encoder} choice
   * @param {number} weight of CLIP-GPT in a blend
   * @param {string[]} unavailable encoders
   */
  update(choice, weight, unavailable) {
    this.radios.forEach((radio) => {
      radio.checked = radio.value === choice;
      radio.disabled = unavailable.includes(radio.value);
    });
    this.blend.hidden = choice !== "blend";
    if (!this.slider.matches(":active")) this.slider.value = String(weight);
    this.#showWeight();
  }

  #showWeight() {
    this.weight.textContent = `${Math.round(Number(this.slider.value) * 100)} % CLIP-GPT`;
  }
}
