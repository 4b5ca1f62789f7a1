/** clip-retrieval's own page: the parts of it that the patch uses. */

/**
 * The parts of the stock page's element that the patch uses.
 *
 * @typedef {object} StockParts
 * @property {(changed: Map<string, unknown>) => void} updated
 * @property {() => Promise<void>} init
 * @property {() => Promise<void>} initIndices
 * @property {() => void} setBackendToDefault
 * @property {() => Promise<void> | void} textSearch
 * @property {() => Promise<void> | void} imageSearch
 * @property {() => Promise<void> | void} imageUrlSearch
 * @property {() => Promise<void> | void} redoSearch
 * @property {() => void} setUrlParams
 * @property {() => void} postInit
 * @property {string} text
 * @property {string[]} indices
 * @property {string} backendHost
 * @property {string} defaultBackend
 * @property {string} currentIndex
 * @property {string} urlColumn
 * @property {boolean} useMclip
 * @property {string} modality
 * @property {boolean} displayCaptions
 * @property {boolean} displayFullCaptions
 * @property {boolean} displaySimilarities
 * @property {boolean} safeMode
 * @property {boolean} removeViolence
 * @property {boolean} hideDuplicateUrls
 * @property {boolean} hideDuplicateImages
 * @property {string} aestheticScore
 * @property {string} aestheticWeight
 * @property {number} numImages
 * @property {number} numResultIds
 * @property {Promise<boolean>} updateComplete
 *
 * @typedef {HTMLElement & StockParts} ClipFront
 * @typedef {import("./backend.js").Item} Item
 */

const METHODS = [
  "updated",
  "init",
  "initIndices",
  "setBackendToDefault",
  "textSearch",
  "imageSearch",
  "imageUrlSearch",
  "redoSearch",
  "setUrlParams",
];

const PROPERTIES = ["indices", "text", "currentIndex", "backendHost", "modality", "useMclip"];

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
 * URL of the image of an item, or null where it has none.
 *
 * @param {Item} item
 * @param {string} urlColumn
 * @returns {string | null}
 */
export function imageSource(item, urlColumn) {
  const url = item[urlColumn];
  if (typeof url === "string" && url !== "") return url;
  return item.image === undefined ? null : `data:image/png;base64,${item.image}`;
}

/**
 * The caption of an item in its metadata, or "".
 *
 * @param {Item} item
 */
export function captionOf(item) {
  const { caption } = /** @type {{caption?: unknown}} */ (item);
  return Array.isArray(caption) ? caption.join("; ") : String(caption ?? "");
}
