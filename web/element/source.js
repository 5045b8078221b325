// @ts-check
/** A picture for the stage: its pixels to show, and the file that is edited. */
import { failure } from "../errors.js";
import { readImage } from "../input.js";

/** @param {import("../types").ImageInput} input @param {AbortSignal} [signal] @returns {Promise<{ data: ImageData, file: Blob }>} */
export async function openPicture(input, signal) {
  const picture = await readImage(input, signal);
  if (!("file" in picture)) {
    const data = new ImageData(picture.rgba, picture.width, picture.height);
    return { data, file: await pngOf(data) };
  }
  const file = new Blob([picture.file], { type: picture.file[0] === 0x89 ? "image/png" : "" });
  const bitmap = await createImageBitmap(file, { colorSpaceConversion: "none" }).catch((cause) => {
    throw failure("E_IMAGE_DECODE", "the picture is damaged", { cause });
  });
  const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d", { willReadFrequently: true });
  context?.drawImage(bitmap, 0, 0);
  const data = context?.getImageData(0, 0, bitmap.width, bitmap.height);
  bitmap.close();
  if (!data) throw failure("E_OUT_OF_MEMORY", "the browser gives no canvas of the picture's size");
  return { data, file };
}

/** @param {ImageData} data @param {string} [type] */
export function pngOf(data, type = "image/png") {
  const canvas = new OffscreenCanvas(data.width, data.height);
  canvas.getContext("2d")?.putImageData(data, 0, 0);
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
