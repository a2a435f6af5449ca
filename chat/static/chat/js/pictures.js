// @ts-check
/** Photographs are made smaller before they are sent: no model sees that many pixels. */

const LARGEST_SIDE = 2048;
const LARGEST_BYTES = 1_500_000;
const QUALITY = 0.9;
const SHRINKABLE = new Set(["image/png", "image/jpeg", "image/webp"]);

/**
 * The picture as it is to be sent; what is small, moves or cannot be read stays as it is.
 * @param {File} file
 * @returns {Promise<File>}
 */
export async function shrunk(file) {
  if (!SHRINKABLE.has(file.type)) return file;
  const bitmap = await createImageBitmap(file).catch(() => null);
  if (!bitmap) return file;
  const scale = Math.min(1, LARGEST_SIDE / Math.max(bitmap.width, bitmap.height));
  if (scale === 1 && file.size <= LARGEST_BYTES) return file;
  const blob = await drawn(bitmap, scale);
  if (!blob || blob.size >= file.size) return file;
  return new File([blob], file.name.replace(/\.\w+$/, "") + ".jpg", { type: blob.type });
}

/** @param {ImageBitmap} bitmap @param {number} scale @returns {Promise<Blob | null>} */
function drawn(bitmap, scale) {
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(bitmap.width * scale);
  canvas.height = Math.round(bitmap.height * scale);
  const context = canvas.getContext("2d");
  if (!context) return Promise.resolve(null);
  context.fillStyle = "#fff"; // JPEG knows no transparency
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve) => {
    canvas.toBlob(resolve, "image/jpeg", QUALITY);
  });
}
