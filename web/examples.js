// @ts-check
/**
 * The gallery: edits that the shipped model has made, each to be made again here and compared with its picture.
 * `tests/web/gallery.js` made the pictures and wrote the tokens.
 * @typedef {import("./samples.js").Written & { name: string, instruction: string, tokens: number[] }} Example
 */
import { fetchBytes } from "./fetching.js";

const FOLDER = new URL("./gallery/", import.meta.url);
/** How every edit of the gallery was made. */
export const SETTINGS = /** @type {const} */ ({ mode: "local", seed: 0, temperature: 0, candidates: 1 });

/** The example that a link's fragment names, null if none. @param {string} fragment @returns {Promise<Example | null>} */
export async function exampleOf(fragment) {
  const name = /^#edit-(\w+)$/.exec(fragment)?.[1];
  if (!name) return null;
  /** @type {Example[]} */
  const all = JSON.parse(new TextDecoder().decode(await fetchBytes(new URL("edits.json", FOLDER))));
  return all.find((example) => example.name === name) ?? null;
}

/** Says whether an edit came out as the gallery shows it. @param {Example} example @param {import("./types").EditResult} result */
export async function compared({ name, tokens }, { tokens: made, canvas: { edited, width, height } }) {
  const shown = await createImageBitmap(new Blob([await fetchBytes(new URL(`${name}-after.png`, FOLDER))]), { colorSpaceConversion: "none" });
  const context = new OffscreenCanvas(width, height).getContext("2d");
  context?.drawImage(shown, 0, 0);
  const pixels = context?.getImageData(0, 0, width, height).data ?? new Uint8ClampedArray();
  const others = pixels.filter((value, at) => value !== edited[at]).length;
  const alike = tokens.join() === made.join();
  if (alike && others === 0) return { same: true, text: `As in the gallery: the same ${tokens.length} tokens, the same ${pixels.length.toLocaleString("en")} bytes of picture` };
  return { same: false, text: `Not as in the gallery: ${alike ? "the same" : "other"} tokens, ${others.toLocaleString("en")} other bytes of picture` };
}
