// @ts-check
/**
 * What the element shows of a picture. One with more pixels than a screen has room for is drawn smaller first, once and
 * band by band: to show it as it is would hold up the page at every change.
 */
import { bands, breathe, rowsAtOnce } from "../breathe.js";

/** Most pixels on the stage. */
const STAGE = 2 << 20;
/** Longest side of a small picture in a row. */
const THUMBNAIL = 256;

/** Large pictures, drawn smaller, by their pixels. @type {WeakMap<Uint8ClampedArray, OffscreenCanvas>} */
const smaller = new WeakMap();

/** Makes a picture ready for the stage. @param {ImageData} data */
export async function prepare(data) {
  const { width, height } = data;
  const unit = Math.ceil(Math.sqrt((width * height) / STAGE));
  if (unit === 1 || smaller.has(data.data)) return;
  const most = rowsAtOnce(width, unit); // whole rows of the small picture: bands meet without a seam
  const band = new OffscreenCanvas(width, most);
  const small = new OffscreenCanvas(Math.ceil(width / unit), Math.ceil(height / unit));
  const [from, to] = [band, small].map((canvas) => canvas.getContext("2d", { willReadFrequently: true }));
  if (!from || !to) return;
  to.imageSmoothingQuality = "medium";
  for await (const { y, rows } of bands(height, most)) {
    from.putImageData(data, 0, -y, 0, y, width, rows);
    to.drawImage(band, 0, 0, width, rows, 0, y / unit, small.width, Math.ceil(rows / unit));
  }
  await breathe(); // what is drawn with it is another task's
  smaller.set(data.data, small);
}

/** What the stage shows of a picture: all of it, unless it is large and was made ready. @param {ImageData} data */
export const shownOf = (data) => smaller.get(data.data) ?? data;

/** Some of a picture's pixels, for a row of small ones. @param {ImageData} data */
export function thumbnailOf({ width, height, data }) {
  const step = Math.ceil(Math.max(width, height) / THUMBNAIL);
  const small = new ImageData(Math.ceil(width / step), Math.ceil(height / step));
  const from = new Uint32Array(data.buffer, data.byteOffset, width * height);
  const to = new Uint32Array(small.data.buffer);
  for (let at = 0; at < to.length; at++) to[at] = from[Math.floor(at / small.width) * step * width + (at % small.width) * step] ?? 0;
  return small;
}
