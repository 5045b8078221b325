// @ts-check
/// <reference lib="webworker" />
/**
 * One edit in the worker: decode → model, candidate by candidate → lay on the picture → count → encode → count again.
 * @typedef {import("./types").Pixels} Pixels
 * @typedef {import("./types").RunOptions} RunOptions
 * @typedef {import("./types").Ran} Ran
 * @typedef {import("./types").WasmToken} WasmToken
 * @typedef {import("./types").WasmEdited} WasmEdited
 * @typedef {typeof import("./wasm/earl_cpu.js")} Module
 * @typedef {import("./wasm/earl_cpu.js").WebEditor} Model
 * @typedef {import("./types").ModuleInfo} Info
 * @typedef {{ isStopped: () => Promise<boolean>, begin: (recipe: import("./types").Recipe) => void, token: (token: import("./types").TokenInfo, paints: import("./types").Paint[]) => void,
 *   ran: (ran: Ran) => void }} Tell
 * @typedef {{ wasm: Module, info: Info, picture: Pixels, image: string, options: RunOptions,
 *   rects: import("./types").Rect[] | "mask" | null, mask: Uint8Array | null, tell: Tell }} Job
 */
import { cellsOf, changedOf, compose, countOutside, fadeOf, maskOf, maskOfPlan, rectOf } from "./compose.js";
import { failure } from "./errors.js";
import { plainPlan } from "./plan.js";
import { recipeOf } from "./recipe.js";

/** @param {Module} wasm @param {Model} model @param {import("./types").Picture} input @param {RunOptions} options @param {Tell} tell @param {import("./guard.js").Referee | null} referee of a device */
export async function runEdit(wasm, model, input, options, tell, referee) {
  const job = await jobOf(wasm, model.info(), input, options, tell);
  for (let at = 0; at < options.candidates; at++) {
    const ran = await candidate(job, model, at, referee);
    tell.ran(ran);
    if (ran.stopped) break;
  }
  return null;
}

/**
 * Reads picture and region, and tells the recipe.
 * @param {Module} wasm @param {Info} info @param {import("./types").Picture} input @param {RunOptions} options @param {Tell} tell
 */
export async function jobOf(wasm, info, input, options, tell) {
  const picture = "file" in input ? wasm.decode(input.file) : input;
  const image = await imageHash(wasm, picture);
  const { expect } = options;
  if (expect && expect.model !== info.modelHash) throw failure("E_RECIPE_MISMATCH", "the recipe was made with another model");
  if (expect && expect.image !== image) throw failure("E_RECIPE_MISMATCH", "the recipe was made with another picture");
  const { region } = options;
  const shape = region instanceof Blob ? wasm.decode(new Uint8Array(await region.arrayBuffer())) : region;
  const asMask = shape && ("rgba" in shape ? /** @type {Pixels} */ (shape) : "data" in shape ? { width: shape.width, height: shape.height, rgba: shape.data } : null);
  const rects = asMask || !shape ? null : /** @type {import("./types").Rect[]} */ ([shape].flat());
  const mask = asMask || rects ? maskOf(asMask ?? rects ?? [], picture.width, picture.height) : null;
  const within = options.steer && mask ? cellsOf(mask, picture.width, picture.height, info.canvas, info.patch) : null;
  /** @type {Job} */
  const job = { wasm, info, picture, image, options: { ...options, within }, rects: asMask ? "mask" : rects, mask, tell };
  tell.begin(recipeOf(job, options.seed, options.candidate));
  return job;
}

/** SHA-256 of "width,height," and the RGBA bytes. @param {Module} wasm @param {Pixels} picture */
export async function imageHash(wasm, { width, height, rgba }) {
  const head = new TextEncoder().encode(`${width},${height},`);
  const bytes = new Uint8Array(head.length + rgba.length);
  bytes.set(head);
  bytes.set(rgba, head.length);
  if (!crypto.subtle) return wasm.sha256(bytes);
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** @param {Job} job @param {Model} model @param {number} at @param {import("./guard.js").Referee | null} referee @returns {Promise<Ran>} */
async function candidate(job, model, at, referee) {
  const { options, picture, info, tell } = job;
  const seed = (BigInt(options.seed) + BigInt(at)) % 2n ** 64n;
  const settings = { instruction: options.instruction, mode: options.mode, seed, temperature: options.temperature, plan: options.plan, within: options.within, topK: options.topK, ahead: options.ahead, verify: options.rank === "verifier", decided: at === 0 ? options.decided : [] };
  const made = new Made(info);
  let guarded = 0;
  /** What the referee chose in place of the device's last token. @type {number | null} */
  let other = null;
  const onToken = async (/** @type {WasmToken} */ token) => {
    if (token.index < made.program.length) return true; // told before the referee chose otherwise
    if (referee && !token.forced && token.margin < options.guard) {
      guarded++;
      const id = await referee.token(picture, settings, made.program);
      if (id !== token.id) {
        other = id;
        return false;
      }
    }
    made.add(token);
    tell.token(tokenInfo(token, options.candidate + at), options.paint === "row" && at === 0 ? paintsOf(job, token.previews) : []);
    return !(await tell.isStopped());
  };
  const start = performance.now();
  for (;;) {
    const decided = other === null ? settings.decided : [...made.program, other];
    other = null;
    try {
      const edited = /** @type {WasmEdited} */ (await model.edit(new Uint8Array(picture.rgba), picture.width, picture.height, { ...settings, decided }, onToken));
      return { ...finish(job, at, String(seed), edited, changedOf(edited.source, edited.edited), false), guarded };
    } catch (error) {
      if (/** @type {any} */ (error)?.code !== "E_STOPPED") throw error;
      if (other === null) return { ...finish(job, at, String(seed), made.result(performance.now() - start), made.changed, true), guarded };
    }
  }
}

/** What a stopped edit has made so far. */
class Made {
  /** @type {number[]} */ program = [];
  logProb = 0;
  /** Picture and words are read first. */
  forwards = 2;
  /** Was the last token read ahead? Then what follows it was scored with it. */
  #ahead = false;

  /** @param {Info} info */
  constructor({ canvas, patch }) {
    this.side = canvas;
    this.patch = patch;
    this.edited = new Uint8ClampedArray(canvas * canvas * 4).fill(255);
    this.changed = new Uint8Array(canvas * canvas);
  }

  /** @param {WasmToken} token */
  add(token) {
    this.program.push(token.id);
    this.logProb += token.logProb;
    const chosen = !token.forced || token.entropy > 0;
    if (chosen && !this.#ahead) this.forwards++;
    this.#ahead = token.accepted;
    for (const { row, col, rgb } of token.previews) {
      for (let at = 0; at < this.patch * this.patch; at++) {
        const to = (row * this.patch + Math.floor(at / this.patch)) * this.side + col * this.patch + (at % this.patch);
        this.edited.set(rgb.slice(at * 3, at * 3 + 3), to * 4);
        this.changed[to] = 1;
      }
    }
  }

  /** @param {number} milliseconds @returns {WasmEdited} */
  result(milliseconds) {
    return {
      notes: [], doubt: "", plan: [], outside: { pixels: 0, changed: 0 }, putBack: false, tokens: this.program.length, forwards: this.forwards, logProb: this.logProb, verdict: undefined, milliseconds,
      program: this.program, source: new Uint8ClampedArray(this.edited.length), edited: this.edited,
    };
  }
}

/** @param {Job} job @param {number} at @param {string} seed @param {WasmEdited} edited @param {Uint8Array} changed @param {boolean} stopped @returns {Ran} */
function finish(job, at, seed, edited, changed, stopped) {
  return ranOf(job, at, seed, edited, (weight) => compose(job.picture, job.info.canvas, edited.edited, changed, weight), stopped);
}

/**
 * What is handed over of an edit.
 * @param {Job} job @param {number} at @param {string} seed @param {WasmEdited} edited
 * @param {(weight: Uint8Array | Float32Array | null) => Uint8ClampedArray<ArrayBuffer>} lay lays the edit on the picture, held back where a weight says so
 * @param {boolean} stopped @returns {Ran}
 */
export function ranOf(job, at, seed, edited, lay, stopped) {
  const { wasm, picture, options, mask } = job;
  const weight = mask === null || options.lock === "none" ? null : options.lock === "soft" ? fadeOf(mask, picture.width, picture.height) : mask;
  const rgba = lay(weight);
  const recipe = recipeOf(job, seed, options.candidate + at);
  const png = /** @type {Uint8Array<ArrayBuffer>} */ (wasm.encode(new Uint8Array(rgba), picture.width, picture.height, JSON.stringify(recipe)));
  const notes = [...edited.notes];
  const kept = weight !== null && mask !== null && lay(null);
  if (kept && (edited.putBack || countOutside(picture.rgba, kept, mask).changed > 0)) {
    notes.push(options.lock === "hard" ? "edited only inside the region: what the model changed outside it was put back" : "faded towards the region's border");
  }
  return {
    seed, plan: plainPlan(edited.plan), program: edited.program, notes, doubt: edited.doubt, outside: outsideOf(job, edited, png, stopped),
    image: job.image, tokens: edited.tokens, forwards: edited.forwards, milliseconds: edited.milliseconds, logProb: edited.logProb, verdict: edited.verdict,
    width: picture.width, height: picture.height, rects: job.rects, png: new Blob([png], { type: "image/png" }), rgba, source: edited.source, edited: edited.edited, stopped, recipe, guarded: 0,
  };
}

/** Counted over the decoded file, so that what is saved is what was counted. @param {Job} job @param {WasmEdited} edited @param {Uint8Array} png @param {boolean} stopped */
function outsideOf({ wasm, picture, info, options, mask }, edited, png, stopped) {
  if (mask === null && (options.mode !== "local" || stopped)) return edited.outside;
  const inside = mask ?? maskOfPlan(edited.plan, picture.width, picture.height, info.canvas, info.patch);
  return countOutside(picture.rgba, wasm.decode(png).rgba, inside);
}

/** @param {WasmToken} token @param {number} candidate @returns {import("./types").TokenInfo} */
const tokenInfo = ({ index, id, sourceId, logProb, entropy, forced, accepted, label, cell, previews }, candidate) => ({
  index, id, label, row: cell?.[0] ?? null, col: cell?.[1] ?? null, sourceId: sourceId ?? null, accepted,
  entropy, logProb, forced, candidate, previews,
});

/** Finished cells as they are shown, one rectangle for each of their rows. @param {Job} job @param {import("./types").CellPreview[]} previews @returns {import("./types").Paint[]} */
function paintsOf({ info: { canvas, patch }, picture }, previews) {
  return [...new Set(previews.map((cell) => cell.row))].map((row) => {
    const cells = previews.filter((cell) => cell.row === row).sort((a, b) => a.col - b.col);
    const col = cells[0]?.col ?? 0;
    const board = new OffscreenCanvas(cells.length * patch, patch);
    const context = board.getContext("2d");
    for (const cell of cells) {
      const pixels = new ImageData(patch, patch);
      for (let at = 0; at < patch * patch; at++) pixels.data.set([...cell.rgb.slice(at * 3, at * 3 + 3), 255], at * 4);
      context?.putImageData(pixels, (cell.col - col) * patch, 0);
    }
    return { rect: rectOf({ row, col, rows: 1, cols: cells.length }, picture, canvas, patch), bitmap: board.transferToImageBitmap() };
  });
}
