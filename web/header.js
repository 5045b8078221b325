// @ts-check
/** The size of a picture, read from the first bytes of its file, and which sizes are refused before a pixel is decoded. */

/** Most bytes of a file. */
export const MAX_BYTES = 128 * 1024 * 1024;
/** Most pixels of a picture. */
const MAX_PIXELS = 64_000_000;
/** Longest side, as in `crates/model/src/files.rs`, which decodes pictures and reads every edited file again. */
const MAX_SIDE = 16_384;

/** Why a picture of this size is not opened, as the rest of a sentence; null if it is. @param {number} width @param {number} height */
export function tooLarge(width, height) {
  if (width * height <= MAX_PIXELS && Math.max(width, height) <= MAX_SIDE) return null;
  return `has ${width.toLocaleString("en")} × ${height.toLocaleString("en")} pixels; at most 64 million are opened, and ${MAX_SIDE.toLocaleString("en")} a side`;
}

/**
 * Width and height as a PNG, JPEG or WebP header says; null if the bytes are none of these or end too soon.
 * @param {Uint8Array} bytes @returns {{ width: number, height: number } | null}
 */
export function headerSize(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const text = (/** @type {number} */ at, /** @type {number} */ length) => String.fromCharCode(...bytes.subarray(at, at + length));
  try {
    if (text(0, 8) === "\x89PNG\r\n\x1a\n") return { width: view.getUint32(16), height: view.getUint32(20) };
    if (text(0, 4) === "RIFF" && text(8, 4) === "WEBP") return webpSize(view, text(12, 4));
    if (view.getUint16(0) === 0xffd8) return jpegSize(view);
  } catch {
    // A header cut short: RangeError from the view.
  }
  return null;
}

/** @param {DataView} view @param {string} kind */
function webpSize(view, kind) {
  if (kind === "VP8X") {
    const three = (/** @type {number} */ at) => 1 + view.getUint16(at, true) + (view.getUint8(at + 2) << 16);
    return { width: three(24), height: three(27) };
  }
  if (kind === "VP8L") {
    const bits = view.getUint32(21, true);
    return { width: 1 + (bits & 0x3fff), height: 1 + ((bits >>> 14) & 0x3fff) };
  }
  return kind === "VP8 " ? { width: view.getUint16(26, true) & 0x3fff, height: view.getUint16(28, true) & 0x3fff } : null;
}

/** Walks a JPEG's segments to its frame header. @param {DataView} view */
function jpegSize(view) {
  for (let at = 2; ; at += 2 + view.getUint16(at + 2)) {
    if (view.getUint8(at) !== 0xff) return null;
    while (view.getUint8(at + 1) === 0xff) at++;
    const marker = view.getUint8(at + 1);
    const frame = marker >= 0xc0 && marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc;
    if (frame) return { width: view.getUint16(at + 7), height: view.getUint16(at + 5) };
  }
}
