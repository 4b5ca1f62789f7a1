/** Items as files. */

/**
 * @typedef {import("./backend.js").Item} Item
 *
 * @typedef {object} Format
 * @property {string} label
 * @property {string} file
 * @property {string} type
 * @property {((rows: object[]) => string) | null} write null: the back end writes it, with the embeddings
 */

/** @type {Format[]} */
export const EXPORTS = [
  { label: "JSON", file: "clipgpt-images.json", type: "application/json", write: toJson },
  { label: "CSV", file: "clipgpt-images.csv", type: "text/csv", write: toCsv },
  { label: "Parquet", file: "clipgpt-images.parquet", type: "application/vnd.apache.parquet", write: null },
];

/** The most items of a file that the back end writes. */
export const MAX_WRITTEN = 1000;

/**
 * The entries of a menu; those of files that the back end writes have the class `of-back-end`.
 *
 * @param {import("./menu.js").Menu} menu
 * @param {(format: Format) => void} use
 */
export function exportEntries(menu, use) {
  return EXPORTS.map((format) =>
    menu.entry(format.label, () => use(format), { class: format.write === null ? "of-back-end" : null }),
  );
}

/**
 * What is written of items: their metadata without the image files, and our captions.
 *
 * @param {Item[]} items
 * @param {Map<number, string>} captions by CLIP-GPT
 */
export function exportedRows(items, captions) {
  return items.map((item) => ({ ...item, image: undefined, clipgpt_caption: captions.get(item.id) }));
}

/** @param {object[]} rows */
function toJson(rows) {
  return JSON.stringify(rows, null, 2);
}

/**
 * Rows as CSV (RFC 4180), with all their columns.
 *
 * @param {object[]} rows
 */
export function toCsv(rows) {
  const given = rows.flatMap((row) => Object.entries(row).filter(([, value]) => value !== undefined));
  const columns = [...new Set(given.map(([name]) => name))];
  const lines = rows.map((row) => columns.map((name) => csvField(/** @type {Record<string, unknown>} */ (row)[name])));
  return [columns.map(csvField), ...lines].map((fields) => `${fields.join(",")}\r\n`).join("");
}

/** @param {unknown} value */
function csvField(value) {
  if (value === undefined || value === null) return "";
  const text = typeof value === "object" ? JSON.stringify(value) : String(value);
  // Spreadsheets run what begins like a formula.
  const safe = typeof value === "string" && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

/**
 * @param {Format} format
 * @param {string | Blob} content
 */
export function download({ file, type }, content) {
  const url = URL.createObjectURL(new Blob([content], { type }));
  const link = document.createElement("a");
  link.href = url;
  link.download = file;
  link.click();
  // The browser has read it by then.
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
