// @ts-check
/**
 * Makes the pictures of the page's gallery with the shipped model, as the page does, and writes them and their tokens:
 * `EARL_SITE=SITE node tests/web/gallery.js`. Run it after every change of `models/tiny` or `web/gallery/edits.json`,
 * look at the pictures, and build the site again.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { bench } from "./helpers.js";

const folder = join(dirname(fileURLToPath(import.meta.url)), "../../web/gallery");

/** @typedef {{ name: string, instruction: string, background: string, objects: [string, number, number, number, string?][], tokens?: number[] }} Edit */
/** @typedef {{ name: string, tokens: number[], before: string, after: string, drawn: string, doubt: string }} Made `before` and `after` are PNG files, `drawn` the pixels of the first, in base64 */

/** Every edit of the gallery. @type {Edit[]} */
export const edits = JSON.parse(readFileSync(join(folder, "edits.json"), "utf8"));

/** Makes the edits in a page, on the CPU. @param {import("playwright-core").Page} page @returns {Promise<Made[]>} */
export const make = (page) => page.evaluate(async (all) => {
  const [{ Drawings }, { sceneOf }, { SETTINGS }, tools] = await Promise.all(["/source/web/scene.js", "/source/web/samples.js", "/source/web/examples.js", "/test/tools.js"].map((path) => import(path)));
  const base64 = (/** @type {ArrayBuffer | Uint8ClampedArray} */ bytes) => btoa(Array.from(new Uint8Array(bytes), (byte) => String.fromCharCode(byte)).join(""));
  const drawings = await Drawings.load(new URL("/web/assets/", location.href));
  const editor = await tools.create();
  const made = [];
  for (const { name, instruction, ...written } of all) {
    const canvas = new OffscreenCanvas(64, 64);
    const context = /** @type {OffscreenCanvasRenderingContext2D} */ (canvas.getContext("2d", { willReadFrequently: true }));
    drawings.paint(context, sceneOf(drawings.world, written));
    const image = context.getImageData(0, 0, 64, 64);
    const { image: file, tokens, doubt } = await editor.edit({ image, instruction, ...SETTINGS });
    const before = await (await canvas.convertToBlob({ type: "image/png" })).arrayBuffer();
    made.push({ name, tokens, doubt, before: base64(before), after: base64(await file.arrayBuffer()), drawn: base64(image.data) });
  }
  await editor.destroy();
  return made;
}, edits);

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const run = await bench();
  const made = await make(await run.fresh());
  await run.close();
  for (const { name, before, after } of made) {
    writeFileSync(join(folder, `${name}-before.png`), Buffer.from(before, "base64"));
    writeFileSync(join(folder, `${name}-after.png`), Buffer.from(after, "base64"));
  }
  const lines = edits.map((edit, at) => `  ${JSON.stringify({ ...edit, tokens: made[at]?.tokens })}`);
  writeFileSync(join(folder, "edits.json"), `[\n${lines.join(",\n")}\n]\n`);
}
