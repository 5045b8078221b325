// @ts-check
/**
 * The editor as a page uses it:
 *
 *   const editor = await createEditor({ model: new URL("models/tiny/", location.href) });
 *   const { image } = await editor.edit({ image: file, instruction: "remove the cat" });
 *
 * Importing this does nothing; it works where there is no window.
 */
import { hasWasm, webgpu } from "./backend.js";
import { Editor } from "./editor.js";
import { EarlError } from "./errors.js";
import { checkCreate } from "./options.js";
import { openStore, purge as purgeStores } from "./storage.js";
import { distinct, lockName, memoryOf, openModel, storedBytes } from "./weights.js";

export {
  CODES, EarlDeviceError, EarlError, EarlFormatError, EarlInputError, EarlIntegrityError, EarlMemoryError, EarlNetworkError, EarlStateError,
} from "./errors.js";
export { Editor } from "./editor.js";
export { EditStream } from "./stream.js";
export { fromFragment, fromPng, toFragment, withoutText } from "./recipe.js";

/** Opens a model and resolves when it can edit. @param {import("./types").CreateOptions} [options] @returns {Promise<Editor>} */
export async function createEditor(options = {}) {
  return Editor.open(checkCreate(options));
}

/** Can an editor be made, and what would it fetch? Never fetches weights. @param {import("./types").ModelOptions} [options] @returns {Promise<import("./types").Availability>} */
export async function availability(options = {}) {
  return (await capabilities(options)).availability;
}

/** What this browser can do with a model. Never fetches weights, never asks. @param {import("./types").ModelOptions} [options] @returns {Promise<import("./types").Capabilities>} */
export async function capabilities(options = {}) {
  checkCreate(options);
  /** @type {string[]} */
  const reasons = [];
  /** @type {("webgpu" | "cpu")[]} */
  const backends = [];
  const gpu = await webgpu();
  if (!hasWasm()) reasons.push("this browser has no WebAssembly");
  else if (gpu.reason) backends.push("cpu");
  else backends.push(...(gpu.software ? /** @type {const} */ (["cpu", "webgpu"]) : /** @type {const} */ (["webgpu", "cpu"])));
  if (gpu.reason) reasons.push(gpu.reason);
  if (gpu.software) reasons.push("WebGPU is emulated here");
  try {
    const model = await openModel(options);
    const { store, notice } = await openStore(options.storage ?? "auto", model.manifest.size);
    if (notice) reasons.push(notice);
    const bytesTotal = distinct(model.manifest).reduce((sum, { length }) => sum + length, 0);
    const bytesCached = await storedBytes(model, store);
    const facts = { bytesTotal, bytesCached, memoryBytes: memoryOf(model.manifest), tier: model.manifest.model.tier, modelHash: model.hash };
    return { availability: backends.length === 0 ? "unavailable" : await stateOf(model.hash, bytesTotal - bytesCached), backends, reasons, ...facts };
  } catch (error) {
    if (!(error instanceof EarlError)) throw error;
    return { availability: "unavailable", backends, reasons: [...reasons, error.message], bytesTotal: 0, bytesCached: 0, memoryBytes: 0, tier: "", modelHash: "" };
  }
}

/** @param {string} hash @param {number} missing @returns {Promise<import("./types").Availability>} */
async function stateOf(hash, missing) {
  if (missing === 0) return "available";
  const { held = [] } = await navigator.locks?.query() ?? {};
  return held.some(({ name }) => name === lockName(hash)) ? "downloading" : "downloadable";
}

/**
 * Removes all that the editor has stored: models and the histories of elements and page; the bytes freed.
 * With `keep` it removes models alone, but those with these hashes.
 * @param {{ keep?: string[] }} [options] @returns {Promise<number>}
 */
export const purge = ({ keep } = {}) => purgeStores(keep);
