// @ts-check
/**
 * Whatever a page has as a picture → a file's bytes, or pixels. Size is checked before a pixel is decoded.
 * PNG, JPEG and WebP files stay files: WebAssembly decodes them, so all browsers see the same pixels.
 */
import { bands, rowsAtOnce } from "./breathe.js";
import { failure } from "./errors.js";
import { MAX_BYTES, headerSize, tooLarge } from "./header.js";

/** @param {number} width @param {number} height */
function checkSize(width, height) {
  if (width === 0 || height === 0) throw failure("E_IMAGE_DECODE", "the picture has no pixels");
  const fault = tooLarge(width, height);
  if (fault) throw failure("E_IMAGE_TOO_LARGE", `the picture ${fault}`);
}

/** @param {import("./types").ImageInput} input @param {AbortSignal} [signal] @returns {Promise<import("./types").Picture>} */
export async function readImage(input, signal) {
  if (typeof input === "string" || input instanceof URL) return readBlob(await fetched(input, signal));
  if (input instanceof Blob) return readBlob(input);
  if (input instanceof ImageData) {
    return copied(input);
  }
  if (input instanceof HTMLImageElement) {
    await input.decode().catch((cause) => {
      throw failure("E_IMAGE_DECODE", "the picture element shows no picture", { cause });
    });
    return drawn(input, input.naturalWidth, input.naturalHeight);
  }
  if (input instanceof ImageBitmap) return drawn(input, input.width, input.height);
  if (input instanceof HTMLCanvasElement || input instanceof OffscreenCanvas) {
    checkSize(input.width, input.height);
    return bitmapDrawn(await createImageBitmap(input)); // as it is now: the page may draw on
  }
  throw failure("E_OPTION", "`image` is neither a file, an address, a canvas nor pixels");
}

/** @param {string | URL} address @param {AbortSignal} [signal] */
async function fetched(address, signal) {
  const url = new URL(address, document.baseURI);
  try {
    const response = await fetch(url, signal ? { signal } : {});
    if (!response.ok) throw failure("E_HTTP", `${url.pathname} answered ${response.status}`, { detail: { status: response.status } });
    return await response.blob();
  } catch (error) {
    signal?.throwIfAborted();
    if (!(error instanceof TypeError)) throw error;
    const foreign = url.origin !== location.origin && url.protocol.startsWith("http") && navigator.onLine;
    if (foreign) throw failure("E_TAINTED", `${url.host} does not let this page read its pictures`, { cause: error });
    throw failure("E_OFFLINE", `${url.pathname} can't be fetched`, { cause: error });
  }
}

/** @param {Blob} blob @returns {Promise<import("./types").Picture>} */
async function readBlob(blob) {
  if (blob.size === 0) throw failure("E_IMAGE_DECODE", "the picture is empty (0 bytes)");
  if (blob.size > MAX_BYTES) {
    throw failure("E_IMAGE_TOO_LARGE", `the file has ${Math.round(blob.size / 1048576)} MiB; at most ${MAX_BYTES / 1048576} are opened`);
  }
  const file = new Uint8Array(await blob.arrayBuffer());
  const size = headerSize(file);
  if (size) {
    checkSize(size.width, size.height);
    return { file };
  }
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none", premultiplyAlpha: "none" }).catch((cause) => {
    throw failure("E_IMAGE_DECODE", "the picture is not a PNG, JPEG or WebP file, nor any other this browser reads", { cause });
  });
  return bitmapDrawn(bitmap);
}

/** @param {ImageBitmap} bitmap closed in the end */
export async function bitmapDrawn(bitmap) {
  try {
    return await drawn(bitmap, bitmap.width, bitmap.height);
  } finally {
    bitmap.close();
  }
}

/** @param {ImageData} input @returns {Promise<import("./types").Pixels>} */
async function copied({ width, height, data }) {
  checkSize(width, height);
  const rgba = room(data.length);
  const row = width * 4;
  for await (const { y, rows } of bands(height, rowsAtOnce(width))) rgba.set(data.subarray(y * row, (y + rows) * row), y * row);
  return { width, height, rgba };
}

/** The pixels of what can be drawn, band by band. @param {ImageBitmapSource} source @param {number} width @param {number} height @returns {Promise<import("./types").Pixels>} */
async function drawn(source, width, height) {
  checkSize(width, height);
  const most = Math.min(height, rowsAtOnce(width));
  const context = new OffscreenCanvas(width, most).getContext("2d", { willReadFrequently: true });
  if (!context) throw failure("E_OUT_OF_MEMORY", "the browser gives no canvas of the picture's size");
  const rgba = room(width * height * 4);
  try {
    for await (const { y, rows } of bands(height, most)) {
      const strip = await createImageBitmap(source, 0, y, width, rows); // a device hands over this much alone
      context.clearRect(0, 0, width, rows);
      context.drawImage(strip, 0, 0);
      strip.close();
      rgba.set(context.getImageData(0, 0, width, rows).data, y * width * 4);
    }
  } catch (cause) {
    if (cause instanceof RangeError) throw noRoom(cause);
    if (!(cause instanceof DOMException && cause.name === "SecurityError")) throw failure("E_IMAGE_DECODE", "the picture can't be drawn", { cause });
    throw failure("E_TAINTED", "the canvas shows a picture of another site, whose pixels this page may not read", { cause });
  }
  return { width, height, rgba };
}

/** @param {unknown} cause */
const noRoom = (cause) => failure("E_OUT_OF_MEMORY", "the browser gives no memory of the picture's size", { cause });

/** @param {number} bytes */
function room(bytes) {
  try {
    return new Uint8ClampedArray(bytes);
  } catch (cause) {
    throw noRoom(cause);
  }
}
