/** Images of one's own. */

/** What CLIP looks at has this many pixels on its short side; more would only lengthen the page's address. */
const SHORT_SIDE = 224;

/**
 * An image file as CLIP will see it, small enough for the page's address.
 *
 * @param {File} file
 * @returns {Promise<string>} WebP (where the browser has no encoder for it, PNG) in base64
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
  if (context === null) throw new Error("This browser cannot draw the image.");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL("image/webp", 0.8).split(",")[1];
}
