// @ts-check
/// <reference lib="webworker" />
/**
 * Module worker: holds one WebAssembly module and one model, runs edits. One message in, several out.
 * Tensors stay here; it fetches nothing but the module, which is another one for published models.
 * See `types.d.ts` for the messages.
 * @typedef {import("./types").ToWorker} ToWorker
 * @typedef {import("./types").FromWorker} FromWorker
 * @typedef {import("./types").Problem} Problem
 * @typedef {typeof import("./wasm/earl_cpu.js")} Module
 * @typedef {typeof import("./wasm/earl_cpu_full.js")} FullModule
 */
import { breathe } from "./breathe.js";
import { EarlError, errorOf, failure, problemOf } from "./errors.js";
import { runFull } from "./full.js";
import { complaints, countWork, takeWork, watchDevices } from "./gpu.js";
import { Referee } from "./guard.js";
import { runEdit } from "./run.js";
import { selfTest } from "./selftest.js";

/** @type {Module | FullModule | null} */
let wasm = null;
/** The CPU module's. @type {WebAssembly.Memory | null} */
let memory = null;
/** @type {import("./wasm/earl_cpu.js").WebEditor | null} */
let model = null;
/** Beside a model on a device. @type {Referee | null} */
let referee = null;
/** A published model, in place of the other. @type {import("./wasm/earl_cpu_full.js").WebFullEditor | null} */
let full = null;
/** The message being answered. @type {number | null} */
let current = null;
/** Set when the device is gone or the module has stopped: nothing can be answered any more. @type {EarlError | null} */
let ended = null;
/** Edits that are to end at their next token. @type {Set<number>} */
const stopped = new Set();

/** @param {FromWorker} message @param {Transferable[]} [transfer] */
const post = (message, transfer = []) => self.postMessage(message, { transfer });

/** One thing at a time: an edit that was given up ends before the next begins. @type {Promise<void>} */
let turn = Promise.resolve();

self.addEventListener("message", (/** @type {MessageEvent<ToWorker>} */ { data }) => {
  if (data.type === "stop") stopped.add(data.id);
  else turn = turn.then(() => work(data));
});

/** @param {Exclude<ToWorker, { type: "stop" }>} message */
async function work(message) {
  const { id } = message;
  current = id;
  try {
    post({ type: "done", id, value: await answer(message) });
  } catch (error) {
    post({ type: "error", id, problem: readable(error) });
  }
  current = null;
  stopped.delete(id);
}

/** The answer in progress would be waited for for ever. @param {EarlError} error */
function fail(error) {
  ended ??= error;
  if (current !== null) post({ type: "error", id: current, problem: problemOf(error) });
}

/** A device that complained, of a shader that does not compile say, may have computed anything. */
const complaint = () => failure("E_SHADER", `the graphics device complained: ${complaints[0]}`);

/** @param {Exclude<ToWorker, { type: "stop" }>} message */
async function answer(message) {
  if (ended) throw ended;
  if (message.type === "start") return start(message.use, message.full);
  if (!wasm) throw failure("E_STATE", "no module is started");
  if (message.type === "load") {
    const { manifest, chunks } = message;
    if ("load_full" in wasm) return (full = await wasm.load_full(manifest, (/** @type {number} */ at) => bytesOf(/** @type {Blob} */ (chunks[at])))).info();
    model = await wasm.load(manifest, chunks);
    const info = model.info();
    referee = info.backend === "webgpu" ? new Referee(manifest, /** @type {Uint8Array[]} */ (chunks)) : null;
    return info;
  }
  if (message.type === "test") {
    if (!model) throw failure("E_SELF_TEST", "the model tells no known answers", { hint: "only models of tier `tiny` can be tested" });
    return selfTest(wasm, model, message.brief);
  }
  const { id, picture, options } = message;
  takeWork(); // what came before is not this edit's
  /** @type {import("./run.js").Tell} */
  const tell = {
    isStopped: async () => {
      await breathe();
      return stopped.has(id);
    },
    begin: (recipe) => post({ type: "begin", id, recipe }),
    token: (token, paints) => post({ type: "token", id, token, paints }, paints.map(({ bitmap }) => bitmap)),
    ran: (ran) => {
      if (complaints.length > 0) throw complaint();
      post({ type: "ran", id, ran: { ...ran, device: takeWork() } }, [ran.rgba.buffer, ran.source.buffer, ran.edited.buffer]);
    },
  };
  if (model) return runEdit(wasm, model, picture, options, tell, referee);
  if (!full) throw failure("E_STATE", "no model is loaded");
  return runFull(wasm, full, picture, options, { ...tell, code: (done, total) => (post({ type: "code", id, done, total }), !stopped.has(id)) });
}

/** What the module asks for must be there when its call returns. @param {Blob} blob */
const bytesOf = (blob) => new Uint8Array(new FileReaderSync().readAsArrayBuffer(blob));

/**
 * Starts a module; the hash of WebGPU's, which names what a device was tested with.
 * @param {"cpu" | "webgpu"} use @param {boolean} full for a published model
 */
async function start(use, full) {
  if (use === "cpu") {
    const found = await (full ? import("./wasm/earl_cpu_full.js") : import("./wasm/earl_cpu.js"));
    ({ memory } = await found.default());
    wasm = found;
    return "";
  }
  watchDevices((why) => fail(failure("E_DEVICE_LOST", `the graphics device was lost: ${why}`)));
  countWork();
  const url = full ? new URL("./wasm/earl_gpu_full_bg.wasm", import.meta.url) : new URL("./wasm/earl_gpu_bg.wasm", import.meta.url);
  const [gpu, response] = await Promise.all([full ? import("./wasm/earl_gpu_full.js") : import("./wasm/earl_gpu.js"), fetch(url)]);
  if (!response.ok) throw failure("E_HTTP", `${url.pathname} answered ${response.status}`, { detail: { status: response.status } });
  const bytes = await response.arrayBuffer();
  await gpu.default({ module_or_path: bytes });
  wasm = /** @type {Module} */ (/** @type {unknown} */ (gpu));
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// A module that stops between two promises rejects none: whoever waits is told all the same, and who asks next.
self.addEventListener("error", (event) => {
  if (!(event.error instanceof WebAssembly.RuntimeError)) return;
  event.preventDefault();
  fail(errorOf(readable(event.error)));
});

/** Pages that a module which had room could still have: 256 MiB, as much as the largest picture takes. */
const ROOM = 4096;

/** Rust stops alike for want of memory and for a fault; what tells them apart is whether more is to be had. */
function isFull() {
  try {
    memory?.grow(ROOM);
    return false;
  } catch {
    return true;
  }
}

/** @param {unknown} error @returns {Problem} */
function readable(error) {
  if (error instanceof EarlError) return problemOf(error);
  if (error && typeof error === "object" && "code" in error && typeof error.code === "string" && "hint" in error) {
    const { code, message, hint, word, near } = /** @type {Problem} */ (error);
    return problemOf(failure(code, message, { hint, word: word ?? undefined, near: near ?? [] }));
  }
  if (error instanceof WebAssembly.RuntimeError && complaints.length > 0) return problemOf(complaint());
  if (error instanceof WebAssembly.RuntimeError && isFull()) return problemOf(failure("E_OUT_OF_MEMORY", "the browser gave the module no more memory"));
  if (error instanceof WebAssembly.RuntimeError) return problemOf(failure("E_WASM_TRAP", `the module stopped: ${error.message}`));
  if (error instanceof RangeError) return problemOf(failure("E_OUT_OF_MEMORY", `the browser gave no memory: ${error.message}`));
  return problemOf(failure("E_WORKER", error instanceof Error ? error.message : String(error)));
}
