// @ts-check
/**
 * Picture files on the page: size checked in the header before a pixel is decoded, fitted to the canvas, written as PNG.
 * The model's own decoder (`crates/model/src/files.rs`) checks again whatever reaches it.
 */
import { MAX_BYTES, headerSize, tooLarge } from "./header.js";
import { SIDE } from "./scene.js";

/** A file that is refused; the message ends a sentence that starts with its name. */
export class Refused extends Error {}

/** Refuses what can't be a usable picture, before decoding. @param {Blob} file */
async function check(file) {
  if (file.size === 0) throw new Refused("is empty (0 bytes)");
  if (file.size > MAX_BYTES) throw new Refused(`has ${Math.round(file.size / 1048576)} MiB; at most ${MAX_BYTES / 1048576} are opened`);
  const head = new Uint8Array(await file.slice(0, 1 << 20).arrayBuffer());
  const size = headerSize(head);
  if (!size) throw new Refused("is not a PNG, JPEG or WebP picture");
  if (size.width === 0 || size.height === 0) throw new Refused("has no pixels");
  const fault = tooLarge(size.width, size.height);
  if (fault) throw new Refused(fault);
}

/**
 * A file's picture fitted to the canvas: scaled to fit, centred, the rest filled with the colour of its corner.
 * Throws `Refused`.
 * @param {Blob} file
 */
export async function fit(file) {
  await check(file);
  const bitmap = await createImageBitmap(file).catch(() => {
    throw new Refused("is damaged");
  });
  const canvas = new OffscreenCanvas(SIDE, SIDE);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context) throw new Error("no 2d canvas");
  const scale = SIDE / Math.max(bitmap.width, bitmap.height);
  const [width, height] = [Math.max(1, Math.round(bitmap.width * scale)), Math.max(1, Math.round(bitmap.height * scale))];
  context.fillStyle = "white";
  context.fillRect(0, 0, SIDE, SIDE);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, 1, 1, 0, 0, SIDE, SIDE);
  context.drawImage(bitmap, Math.floor((SIDE - width) / 2), Math.floor((SIDE - height) / 2), width, height);
  const same = bitmap.width === SIDE && bitmap.height === SIDE;
  const note = same ? "" : `The picture was fitted from ${bitmap.width}×${bitmap.height} to ${SIDE}×${SIDE} pixels: the tiny model works at that size.`;
  bitmap.close();
  return { rgba: context.getImageData(0, 0, SIDE, SIDE).data, note };
}

/** A canvas picture as a PNG file. @param {Uint8ClampedArray<ArrayBuffer>} rgba */
export async function pngOf(rgba) {
  const canvas = new OffscreenCanvas(SIDE, SIDE);
  canvas.getContext("2d")?.putImageData(new ImageData(rgba, SIDE, SIDE), 0, 0);
  return canvas.convertToBlob({ type: "image/png" });
}
