/** The filters: conditions on the metadata as chips, and a menu to add one. */

import { button, h, icon, iconButton } from "./dom.js";
import { OPERATORS, conditionText, valueOf } from "./filters.js";
import { Menu } from "./menu.js";

/**
 * @typedef {import("./filters.js").Condition} Condition
 * @typedef {import("./filters.js").Field} Field
 *
 * @typedef {object} FiltersActions
 * @property {(signal: AbortSignal) => Promise<Field[]>} load
 * @property {(filters: Condition[]) => void} change
 */

export class FiltersView {
  /**
   * @param {import("./activity.js").Activity} activity
   * @param {FiltersActions} actions
   */
  constructor(activity, actions) {
    this.activity = activity;
    this.actions = actions;
    this.index = "";
    /** @type {Condition[]} */
    this.filters = [];
    /** @type {Field[]} */
    this.fields = [];
    this.drawn = "";
    this.menu = new Menu(icon("plus"), "Only where…", { class: "quiet add-filter" });
    this.menu.opener.append("Only where…");
    this.menu.opener.addEventListener("click", () => this.#load());
    this.field = h("select", { "aria-label": "Field", onchange: () => this.#showField() });
    this.op = h("select", { "aria-label": "Condition" });
    this.value = h("input", { type: "text", list: "filter-values", "aria-label": "Value" });
    this.values = h("datalist", { id: "filter-values" });
    this.add = button("Add", () => this.#add());
    this.value.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      // Or the key would also press the button that is focused next.
      event.preventDefault();
      this.#add();
    });
    const line = h("div", { class: "line" }, h("label", {}, h("span", {}, "Field"), this.field), this.op);
    this.menu.show(line, h("div", { class: "line" }, this.value, this.values, this.add));
    this.chips = h("ul", { "aria-label": "Filters" });
    this.element = h("div", { class: "filters", hidden: true }, this.chips, this.menu.element);
  }

  /**
   * @param {string} index
   * @param {Condition[]} filters
   * @param {boolean} available whether the back end filters
   */
  update(index, filters, available) {
    this.element.hidden = !available;
    if (index !== this.index) [this.index, this.fields] = [index, []];
    this.filters = filters;
    const state = JSON.stringify(filters);
    if (state === this.drawn) return;
    this.drawn = state;
    this.chips.replaceChildren(...filters.map((condition, at) => this.#chip(condition, at)));
    this.chips.hidden = filters.length === 0;
  }

  /**
   * @param {Condition} condition
   * @param {number} position
   */
  #chip(condition, position) {
    const text = conditionText(condition);
    const remove = () => this.actions.change(this.filters.toSpliced(position, 1));
    return h("li", { class: "chip" }, h("span", {}, text), iconButton("close", `Remove ${text}`, remove));
  }

  async #load() {
    if (this.fields.length > 0) return;
    const found = await this.activity.run(
      "fields",
      "Reading the fields of the metadata",
      (signal) => this.actions.load(signal),
      () => this.#load(),
    );
    if (found === undefined) return;
    this.fields = found.filter(({ ops }) => ops.some((op) => op in OPERATORS));
    this.field.replaceChildren(...this.fields.map(({ name }) => h("option", { value: name }, name)));
    this.#showField();
  }

  #showField() {
    const field = this.#chosen();
    this.add.disabled = field === undefined;
    if (field === undefined) return;
    const ops = Object.entries(OPERATORS).filter(([op]) => field.ops.includes(op));
    this.op.replaceChildren(...ops.map(([op, name]) => h("option", { value: op }, name)));
    if (field.ops.includes("contains")) this.op.value = "contains";
    const values = field.type === "boolean" ? [{ value: true }, { value: false }] : (field.values ?? []);
    this.values.replaceChildren(...values.map(({ value }) => h("option", { value: String(value) })));
    const range = field.minimum === undefined || field.minimum === null ? "" : `${field.minimum} to ${field.maximum}`;
    this.value.placeholder = field.type === "text" ? "" : range;
  }

  #chosen() {
    return this.fields.find(({ name }) => name === this.field.value);
  }

  #add() {
    const field = this.#chosen();
    const text = this.value.value.trim();
    if (field === undefined || text === "") return;
    this.value.value = "";
    this.menu.toggle(false);
    this.menu.opener.focus();
    this.actions.change([...this.filters, { field: field.name, op: this.op.value, value: valueOf(field, text) }]);
  }
}
