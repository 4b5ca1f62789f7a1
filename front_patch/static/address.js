/**
 * The state of the page as its address: in the query string, as the stock page does it; uploaded images in the
 * fragment, which is sent to no server. Invalid values are replaced by their defaults. Links of the stock page to an
 * image (`imageUrl`) open, and one image at an address alone is written as such a link.
 */

import { ONLY_BAR } from "./chips.js";
import { conditionFrom, conditionToText } from "./filters.js";

/**
 * @typedef {"search" | "compare" | "explore" | "starred"} View
 *
 * @typedef {object} PageState
 * @property {string} back URL of the back end; "" for the one that serves the page
 * @property {string} index
 * @property {string} query the text in the search bar
 * @property {boolean} useMclip
 * @property {Record<string, string | boolean>} settings settings of the stock page that are not at their default
 * @property {import("./query.js").Encoder | null} encoder null: the server's choice
 * @property {number | null} weight of CLIP-GPT in a blend; null: the server's choice
 * @property {View} view
 * @property {import("./chips.js").Chip[]} chips
 * @property {boolean} captioned whether the visible results are captioned
 * @property {string} cluster the opened cluster, "" for the whole index
 * @property {number[]} near images opened from there, each a neighbour of the one before
 * @property {import("./filters.js").Condition[]} filters
 * @property {number | null} item the image that is open in detail
 * @property {number[]} starred the starred images, in the view that shows them
 */

/** The stock page's settings that are not in its address, with their defaults. */
export const SETTINGS = Object.freeze({
  modality: "image",
  displayCaptions: true,
  displayFullCaptions: false,
  displaySimilarities: false,
  safeMode: true,
  removeViolence: true,
  hideDuplicateUrls: true,
  hideDuplicateImages: true,
  aestheticScore: "",
  aestheticWeight: "0.5",
});

const OURS = [
  ...["encoder", "weight", "view", "chip", "captioned", "cluster", "near", "item", "starred", "filter"],
  ...Object.keys(SETTINGS),
];

/**
 * @param {PageState} state
 * @param {string} search the current query string: parameters that are not ours are kept
 * @returns {string} query string and fragment
 */
export function toAddress(state, search) {
  const parameters = new URLSearchParams(search);
  const fragment = new URLSearchParams();
  OURS.forEach((name) => parameters.delete(name));
  /** @type {(name: string, value: string) => void} */
  const set = (name, value) => (value === "" ? parameters.delete(name) : parameters.set(name, value));
  set("query", state.query);
  set("imageUrl", imageUrlOf(state));
  set("back", state.back);
  set("index", state.index);
  parameters.set("useMclip", String(state.useMclip));
  if (state.encoder !== null) parameters.set("encoder", state.encoder);
  if (state.weight !== null) parameters.set("weight", String(state.weight));
  if (state.view !== "search") parameters.set("view", state.view);
  if (state.captioned) parameters.set("captioned", "true");
  set("cluster", state.cluster);
  set("near", state.near.join("."));
  state.filters.forEach((condition) => parameters.append("filter", conditionToText(condition)));
  set("item", state.item === null ? "" : String(state.item));
  set("starred", state.starred.join("."));
  for (const [name, value] of Object.entries(state.settings)) parameters.set(name, String(value));
  if (state.chips.length > 1 && imageUrlOf(state) === "") {
    for (const chip of state.chips) {
      parameters.append("chip", chipToText(chip));
      if (chip.kind === "upload") fragment.append("upload", toUrlAlphabet(chip.image));
    }
  }
  const hash = fragment.size ? `#${fragment}` : "";
  return `?${parameters}${hash}`;
}

/**
 * @param {string} search query string
 * @param {string} hash fragment
 * @returns {PageState}
 */
export function fromAddress(search, hash) {
  const parameters = new URLSearchParams(search);
  const fragment = new URLSearchParams(hash.replace(/^#/, ""));
  /** @type {(name: string) => string} */
  const get = (name) => parameters.get(name) ?? "";
  return {
    back: get("back"),
    index: get("index"),
    query: get("query"),
    useMclip: get("useMclip") === "true",
    settings: settingsFrom(parameters),
    encoder: oneOf(get("encoder"), ["clip", "clip-gpt", "blend"]),
    weight: weightFrom(get("weight")),
    view: oneOf(get("view"), ["compare", "explore", "starred"]) ?? "search",
    chips: oneImage(get("imageUrl"), fragment.get("image") ?? "")
      ?? chipsFrom(parameters.getAll("chip"), fragment.getAll("upload").map(fromUrlAlphabet)),
    captioned: get("captioned") === "true",
    cluster: get("cluster"),
    near: get("near").split(".").flatMap(idFrom),
    filters: parameters.getAll("filter").flatMap(conditionFrom),
    item: idFrom(get("item"))[0] ?? null,
    starred: [...new Set(get("starred").split(".").flatMap(idFrom))],
  };
}

/**
 * The address of the image where the query is only that.
 *
 * @param {PageState} state
 */
function imageUrlOf({ chips, query }) {
  const [first] = chips;
  return chips.length === 2 && query === "" && first.kind === "url" && !first.minus ? first.url : "";
}

/**
 * @param {string} url
 * @param {string} image in base64, for addresses
 * @returns {import("./chips.js").Chip[] | null} a query that is only the one or the other; null where both are empty
 */
function oneImage(url, image) {
  if (url !== "") return [{ kind: "url", url }, { kind: "bar" }];
  return image === "" ? null : [{ kind: "upload", image: fromUrlAlphabet(image) }, { kind: "bar" }];
}

/**
 * @param {string[]} texts
 * @param {string[]} uploads
 * @returns {import("./chips.js").Chip[]}
 */
function chipsFrom(texts, uploads) {
  const remaining = [...uploads];
  const chips = texts.flatMap((text) => chipFrom(text, remaining));
  return chips.filter(({ kind }) => kind === "bar").length === 1 ? chips : ONLY_BAR;
}

/**
 * @param {string} text
 * @param {string[]} uploads those not used yet; an upload chip takes the first
 * @returns {import("./chips.js").Chip[]} the chip, or none
 */
function chipFrom(text, uploads) {
  if (text === "bar") return [{ kind: "bar" }];
  if (text.startsWith("-")) return chipFrom(text.slice(1), uploads).flatMap(negated);
  if (text.startsWith("text:")) return [{ kind: "text", text: text.slice("text:".length) }];
  if (text.startsWith("url:")) return [{ kind: "url", url: text.slice("url:".length) }];
  if (text.startsWith("item:")) return idFrom(text.slice("item:".length)).map((id) => ({ kind: "item", id }));
  const image = text === "upload" ? uploads.shift() : undefined;
  return image ? [{ kind: "upload", image }] : [];
}

/**
 * @param {import("./chips.js").Chip} chip
 * @returns {import("./chips.js").Chip[]} the chip, or none
 */
function negated(chip) {
  return chip.kind === "bar" || chip.minus ? [] : [{ ...chip, minus: true }];
}

/** @param {import("./chips.js").Chip} chip */
function chipToText(chip) {
  const sign = chip.minus ? "-" : "";
  if (chip.kind === "item") return `${sign}item:${chip.id}`;
  if (chip.kind === "url") return `${sign}url:${chip.url}`;
  return chip.kind === "text" ? `${sign}text:${chip.text}` : `${sign}${chip.kind}`;
}

/** @param {URLSearchParams} parameters */
function settingsFrom(parameters) {
  /** @type {Record<string, string | boolean>} */
  const settings = {};
  for (const [name, byDefault] of Object.entries(SETTINGS)) {
    const text = parameters.get(name);
    if (text === null || text === String(byDefault)) continue;
    settings[name] = typeof byDefault === "boolean" ? text === "true" : text;
  }
  return settings;
}

/**
 * @template {string} Name
 * @param {string} text
 * @param {Name[]} names
 * @returns {Name | null}
 */
function oneOf(text, names) {
  return names.find((name) => name === text) ?? null;
}

/** @param {string} text */
function weightFrom(text) {
  const weight = Number(text);
  return text !== "" && weight >= 0 && weight <= 1 ? weight : null;
}

/**
 * @param {string} text
 * @returns {number[]} the id, or none
 */
function idFrom(text) {
  return /^\d{1,15}$/.test(text) ? [Number(text)] : [];
}

/** @param {string} base64 */
function toUrlAlphabet(base64) {
  return base64.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/** @param {string} text */
function fromUrlAlphabet(text) {
  const base64 = text.replaceAll("-", "+").replaceAll("_", "/");
  return base64.padEnd(Math.ceil(base64.length / 4) * 4, "=");
}
