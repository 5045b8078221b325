// @ts-check
/**
 * Whatever a page has as a picture → a file's bytes, or pixels. Size is checked before a pixel is decoded.
 * PNG, JPEG and WebP files stay files: WebAssembly decodes them, so all browsers see the same pixels.
 */
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
    checkSize(input.width, input.height);
    return { width: input.width, height: input.height, rgba: new Uint8ClampedArray(input.data) };
  }
  if (input instanceof HTMLImageElement) {
    await input.decode().catch((cause) => {
      throw failure("E_IMAGE_DECODE", "the picture element shows no picture", { cause });
    });
    return drawn(input, input.naturalWidth, input.naturalHeight);
  }
  if (input instanceof HTMLCanvasElement || input instanceof OffscreenCanvas || input instanceof ImageBitmap) {
    return drawn(input, input.width, input.height);
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
  try {
    return drawn(bitmap, bitmap.width, bitmap.height);
  } finally {
    bitmap.close();
  }
}

/** @param {CanvasImageSource} source @param {number} width @param {number} height @returns {import("./types").Pixels} */
function drawn(source, width, height) {
  checkSize(width, height);
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  if (!context) throw failure("E_OUT_OF_MEMORY", "the browser gives no canvas of the picture's size");
  context.drawImage(source, 0, 0);
  try {
    return { width, height, rgba: context.getImageData(0, 0, width, height).data };
  } catch (cause) {
    throw failure("E_TAINTED", "the canvas shows a picture of another site, whose pixels this page may not read", { cause });
  }
}
