// @ts-check
/**
 * One edit with a published model in the worker: decode → model → scale → lay on the picture → encode. The model
 * draws the whole picture anew, in a size of its own, and tells how many codes are written but not which.
 * @typedef {import("./wasm/earl_cpu_full.js").WebFullEditor} FullModel
 * @typedef {import("./types").WasmFullEdited} FullEdited
 * @typedef {import("./run.js").Tell & { code: (done: number, total: number) => boolean }} Tell `code` answers whether to go on
 */
import { boxOf, overlay } from "./compose.js";
import { jobOf, ranOf } from "./run.js";

/**
 * @param {typeof import("./wasm/earl_cpu.js")} wasm @param {FullModel} model @param {import("./types").Picture} input
 * @param {import("./types").RunOptions} options @param {Tell} tell
 */
export async function runFull(wasm, model, input, options, tell) {
  // It computes in float32, whose last bits are those of this backend.
  const job = await jobOf(wasm, model.info(), input, { ...options, onDevice: true }, tell);
  const { picture, mask } = job;
  const { instruction, mode, seed, temperature, topK, area, ahead } = options;
  const request = { instruction, mode, region: mode === "local" && mask ? boxOf(mask, picture.width) : null, area, seed: BigInt(seed), temperature, top_k: topK, ahead };
  const start = performance.now();
  let choices = 0;
  const onCode = (/** @type {number} */ place, /** @type {number} */ places) => {
    choices++;
    return tell.code(place + 1, places);
  };
  let stopped = false;
  const edit = model.edit(new Uint8Array(picture.rgba), picture.width, picture.height, request, onCode);
  const made = /** @type {FullEdited} */ (await edit.catch((error) => {
    stopped = error?.code === "E_STOPPED";
    if (!stopped) throw error;
    return untouched(picture);
  }));
  const facts = {
    ...made, doubt: "", plan: [], outside: { pixels: 0, changed: 0 }, putBack: false, program: made.codes, tokens: made.codes.length, forwards: made.passes ?? choices, logProb: NaN, verdict: undefined,
    milliseconds: performance.now() - start,
  };
  const ran = ranOf(job, 0, seed, facts, (weight) => overlay(picture, made.scaled, weight), stopped);
  tell.ran({ ...ran, canvas: { width: made.width, height: made.height }, reasoning: made.reasoning });
  return null;
}

/** What a stopped edit has made. @param {import("./types").Pixels} picture @returns {FullEdited} */
const untouched = ({ width, height, rgba }) => ({
  notes: [], width, height, sourceCodes: [], codes: [], reasoning: undefined, passes: undefined, source: rgba.slice(), edited: rgba.slice(), scaled: rgba,
});
