// @ts-check
/** A picture for the stage: its pixels to show, and the file that is edited. */
import { bands, rowsAtOnce } from "../breathe.js";
import { failure } from "../errors.js";
import { bitmapDrawn, readImage } from "../input.js";
import { prepare } from "./shown.js";

/** @param {import("../types").ImageInput} input @param {AbortSignal} [signal] @returns {Promise<{ data: ImageData, file: Blob }>} */
export async function openPicture(input, signal) {
  const picture = await readImage(input, signal);
  const given = "file" in picture ? new Blob([picture.file], { type: picture.file[0] === 0x89 ? "image/png" : "" }) : null;
  const { rgba, width, height } = "file" in picture ? await decoded(/** @type {Blob} */ (given)) : picture;
  const data = new ImageData(rgba, width, height);
  await prepare(data);
  return { data, file: given ?? await pngOf(data) };
}

/** @param {Blob} file */
async function decoded(file) {
  return bitmapDrawn(await createImageBitmap(file, { colorSpaceConversion: "none" }).catch((cause) => {
    throw failure("E_IMAGE_DECODE", "the picture is damaged", { cause });
  }));
}

/** @param {ImageData} data @param {string} [type] */
export async function pngOf(data, type = "image/png") {
  const { width, height } = data;
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d");
  for await (const { y, rows } of bands(height, rowsAtOnce(width))) context?.putImageData(data, 0, 0, 0, y, width, rows);
  return canvas.convertToBlob({ type });
}

/** Hands a file over as a download. @param {Blob} blob @param {string} name */
export function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
