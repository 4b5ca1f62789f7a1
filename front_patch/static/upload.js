/** Images uploaded by the user. */

/** Pixels on the short side. Most CLIP models scale images to this; more would only lengthen the page's address. */
const SHORT_SIDE = 224;

/**
 * An image file, scaled down to what CLIP uses and to what fits into the page's address.
 *
 * @param {File} file
 * @returns {Promise<string>} WebP, or PNG where the browser cannot encode WebP, in base64
 */
export async function readImage(file) {
  const bitmap = await createImageBitmap(file).catch(() => {
    throw new Error(`${file.name} is not an image that this browser can read.`);
  });
  const scale = Math.min(1, SHORT_SIDE / Math.min(bitmap.width, bitmap.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = canvas.getContext("2d");
  if (context === null) throw new Error("This browser cannot draw images.");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL("image/webp", 0.8).split(",")[1];
}
