/** clip-retrieval's own page: the parts of it that the patch uses, and corrections to its markup. */

/**
 * The parts of the stock page's element that the patch uses.
 *
 * @typedef {object} StockParts
 * @property {ShadowRoot} shadowRoot
 * @property {(changed: Map<string, unknown>) => void} updated
 * @property {(item: Item) => unknown} renderImage
 * @property {() => Promise<void>} init
 * @property {() => Promise<void>} initIndices
 * @property {() => void} setBackendToDefault
 * @property {() => Promise<void> | void} textSearch
 * @property {() => Promise<void> | void} imageSearch
 * @property {() => Promise<void> | void} imageUrlSearch
 * @property {() => Promise<void> | void} redoSearch
 * @property {(count?: number | null) => Promise<Item[]>} callClip
 * @property {(count?: number) => Promise<void>} fetchMoreMetadata
 * @property {() => Promise<void>} initialScroll
 * @property {() => Promise<void>} download
 * @property {() => void} setUrlParams
 * @property {(file: File) => void} updateImage
 * @property {Item[]} images results: the first ones with their metadata, the others with their ids
 * @property {string} text
 * @property {string | undefined} image
 * @property {string | undefined} imageUrl
 * @property {string} backendHost
 * @property {string} defaultBackend
 * @property {string} currentIndex
 * @property {string} urlColumn
 * @property {boolean} useMclip
 * @property {string} modality
 * @property {boolean} safeMode
 * @property {boolean} removeViolence
 * @property {boolean} hideDuplicateImages
 * @property {string} aestheticScore
 * @property {string} aestheticWeight
 * @property {number} numImages
 * @property {number} numResultIds
 * @property {number | null} lastMetadataId
 * @property {string} lastSearch
 * @property {Promise<boolean>} updateComplete
 *
 * @typedef {HTMLElement & StockParts} ClipFront
 * @typedef {import("./backend.js").Item} Item
 */

const METHODS = [
  "updated",
  "renderImage",
  "init",
  "initIndices",
  "setBackendToDefault",
  "textSearch",
  "imageSearch",
  "imageUrlSearch",
  "redoSearch",
  "callClip",
  "fetchMoreMetadata",
  "initialScroll",
  "setUrlParams",
  "updateImage",
];

const PROPERTIES = ["images", "image", "imageUrl", "text", "currentIndex", "backendHost", "modality", "useMclip"];

const ELEMENTS = ["all", "searchLine", "searchBar", "filter", "products"];

/**
 * What the patch needs and the class of the stock element lacks.
 *
 * @param {CustomElementConstructor} stockClass
 * @returns {string[]}
 */
export function missingFromClass(stockClass) {
  const declared = /** @type {{properties?: object}} */ (stockClass).properties ?? {};
  return [
    ...METHODS.filter((name) => typeof stockClass.prototype[name] !== "function").map((name) => `method ${name}`),
    ...PROPERTIES.filter((name) => !(name in declared)).map((name) => `property ${name}`),
  ];
}

/**
 * What the patch needs and the rendered page lacks.
 *
 * @param {ShadowRoot} root
 * @returns {string[]}
 */
export function missingFromPage(root) {
  return ELEMENTS.filter((id) => root.getElementById(id) === null).map((id) => `element #${id}`);
}

/**
 * URL of the image of an item, or null where it has none.
 *
 * @param {Item} item
 * @param {string} urlColumn
 * @returns {string | null}
 */
export function imageSource(item, urlColumn) {
  const url = item[urlColumn];
  if (typeof url === "string") return url;
  return item.image === undefined ? null : `data:image/png;base64,${item.image}`;
}

/**
 * An item with metadata such that the stock page draws it: the stock page leaves out items that have neither an image
 * nor a caption, and fails on a caption that is not a string.
 *
 * @param {Item} item
 * @param {string} urlColumn
 * @returns {Item}
 */
export function drawable(item, urlColumn) {
  const { caption } = /** @type {{caption?: unknown}} */ (item);
  const text = Array.isArray(caption) ? caption.join("; ") : String(caption ?? "");
  return { ...item, caption: text === "" && imageSource(item, urlColumn) !== null ? undefined : text };
}

/**
 * Gives the stock page's bare inputs and clickable images names, roles and tab stops.
 *
 * @param {ShadowRoot} root
 */
export function makeAccessible(root) {
  root.getElementById("searchBar")?.setAttribute("aria-label", "Describe an image");
  root.getElementById("filechooser")?.setAttribute("aria-label", "Image to search with");
  root.getElementById("filechooser")?.setAttribute("tabindex", "-1");
  const [backend, index] = root.querySelectorAll("#filter > input, #filter > select");
  backend?.setAttribute("aria-label", "Backend URL");
  index?.setAttribute("aria-label", "Index");
  root.querySelectorAll("#filter > img").forEach((image) => image.setAttribute("alt", "The image searched with"));
  for (const [selector, label] of [
    ["#textSearch", "Search"],
    ["#imageSearch", "Search with your own image"],
    ["#download", "Download the results as JSON"],
    [".subTextSearch", "Search with this caption"],
    [".subImageSearch", "Search with this image"],
  ]) {
    for (const image of root.querySelectorAll(selector)) actAsButton(image, label);
  }
}

/**
 * @param {Element} image
 * @param {string} label
 */
function actAsButton(image, label) {
  if (image.getAttribute("role") === "button") return;
  image.setAttribute("role", "button");
  image.setAttribute("tabindex", "0");
  image.setAttribute("alt", label);
  image.setAttribute("title", label);
  image.addEventListener("keydown", (event) => {
    const { key } = /** @type {KeyboardEvent} */ (event);
    if (key !== "Enter" && key !== " ") return;
    event.preventDefault();
    /** @type {HTMLElement} */ (image).click();
  });
}

/**
 * Sets the controls to the values of the settings. The stock page sets attributes, which have no effect once the user
 * has changed a control, so that going back in the history would leave the old value.
 *
 * @param {ShadowRoot} root
 */
export function syncControls(root) {
  for (const box of /** @type {NodeListOf<HTMLInputElement>} */ (root.querySelectorAll("#filter [type=checkbox]"))) {
    box.checked = box.hasAttribute("checked");
  }
  /** @type {NodeListOf<HTMLInputElement>} */
  const fields = root.querySelectorAll("#filter [type=text], #filter [type=input]");
  for (const field of fields) {
    const value = field.getAttribute("value") ?? "";
    if (field.value !== value) field.value = value;
  }
  for (const select of root.querySelectorAll("select")) {
    const chosen = [...select.options].find((option) => option.hasAttribute("selected"));
    if (chosen) chosen.selected = true;
  }
}
