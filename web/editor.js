// @ts-check
/**
 * A loaded model behind promises: boots a worker, feeds it the model, runs one edit after another; on the CPU
 * several workers write the candidates of one.
 * A worker that traps is replaced at the next call, from stored weights; one whose WebGPU device is lost
 * is replaced at once, and the edit goes on from the tokens it has.
 * @typedef {import("./types").CreateOptions} CreateOptions
 * @typedef {import("./types").EditOptions} EditOptions
 * @typedef {import("./types").EditResult} EditResult
 * @typedef {import("./types").ModelInfo} ModelInfo
 * @typedef {import("./weights.js").Model} Model
 */
import { choose, onCpu } from "./backend.js";
import { Client } from "./client.js";
import { EarlError, failure } from "./errors.js";
import { readImage } from "./input.js";
import { FULL, MOST_WORKERS, checkEdit } from "./options.js";
import { Job } from "./job.js";
import { Helpers, shareOut } from "./pool.js";
import { EditStream } from "./stream.js";
import { forget, verify } from "./verify.js";
import { loadChunks, memoryOf, openModel } from "./weights.js";

/** Most memory without `maxMemoryBytes`, and the share of the device's. */
const MEMORY = { bytes: 512 * 1024 * 1024, share: 0.25 };

/** A step of a download. */
class DownloadProgress extends Event {
  total = 1;

  /** @param {import("./types").DownloadDetail} detail */
  constructor(detail) {
    super("downloadprogress");
    this.loaded = detail.bytesTotal === 0 ? 1 : Math.min(1, detail.bytesLoaded / detail.bytesTotal);
    this.detail = detail;
  }
}

/** How many workers may hold the model at once; throws if none may. @param {CreateOptions} options @param {Model} model */
function workersFor(options, model) {
  const device = /** @type {{ deviceMemory?: number }} */ (navigator).deviceMemory;
  const limit = options.maxMemoryBytes ?? Math.min(MEMORY.bytes, device ? device * 2 ** 30 * MEMORY.share : Infinity);
  const needed = memoryOf(model.manifest);
  if (needed > limit) {
    const mebibytes = (/** @type {number} */ bytes) => `${Math.ceil(bytes / 1048576)} MiB`;
    throw failure("E_MEMORY_LIMIT", `the model needs about ${mebibytes(needed)}; ${mebibytes(limit)} are allowed`);
  }
  const wanted = options.workers ?? Math.min(MOST_WORKERS, navigator.hardwareConcurrency - 1);
  return Math.max(1, Math.min(wanted, Math.floor(limit / needed)));
}

/** Edits pictures. Made by `createEditor`. Fires `statechange` with `detail` = `{ state }`: `ready`, `running`, `lost`, `destroyed`. */
export class Editor extends EventTarget {
  /** @type {CreateOptions} */ #options;
  /** @type {Model} */ #model;
  /** @type {Client | null} */ #client = null;
  /** @type {Promise<unknown>} */ #queue = Promise.resolve();
  /** @type {ModelInfo | null} */ #info = null;
  /** @type {AbortController} */ #end = new AbortController();
  /** @type {import("./types").Stats} */
  #stats = { edits: 0, tokens: 0, forwards: 0, milliseconds: 0, bytesFromCache: 0, bytesLoaded: 0, workers: 0, guarded: 0, dispatches: 0, submits: 0, readBacks: 0, bytesReadBack: 0 };
  /** Margin below which the CPU makes a choice of the device again. */
  #guard = 0;
  /** The device that was tested, if any. @type {import("./verify.js").Device | null} */
  #device = null;
  /** @type {Helpers} */ #helpers;

  /** @param {CreateOptions} options @param {Model} model @param {number} workers at most */
  constructor(options, model, workers) {
    super();
    this.#options = options;
    this.#model = model;
    this.#helpers = new Helpers(workers - 1, () => this.#help());
  }

  /** Opens a model and waits until it is ready. @param {CreateOptions} options */
  static async open(options) {
    const { signal } = options;
    signal?.throwIfAborted();
    const chosen = await choose(options.backend ?? "auto");
    const model = await openModel(options, signal);
    const workers = workersFor(options, model);
    if (options.persist) await navigator.storage?.persist?.().catch(() => false);
    const editor = new Editor(options, model, workers);
    const monitor = new EventTarget();
    options.monitor?.(monitor);
    await editor.#boot(chosen, signal, monitor);
    return editor;
  }

  /** The model, the backend it runs on, and why not on another. @returns {ModelInfo} */
  get info() {
    if (!this.#info) throw failure("E_STATE", "no model is loaded");
    return this.#info;
  }

  /** Sums since the editor was made. @returns {import("./types").Stats} */
  stats() {
    return { ...this.#stats };
  }

  /** @param {import("./backend.js").Choice} chosen @param {AbortSignal | undefined} signal @param {EventTarget} [monitor] */
  async #boot(chosen, signal, monitor) {
    const { confirm, storage } = this.#options;
    /** @type {string[]} */
    const notices = [];
    const chunks = await loadChunks(this.#model, {
      storage: storage ?? "auto", signal,
      onNotice: (notice) => notices.includes(notice) || notices.push(notice),
      onProgress: (detail) => {
        Object.assign(this.#stats, { bytesFromCache: detail.bytesFromCache, bytesLoaded: detail.bytesLoaded - detail.bytesFromCache });
        monitor?.dispatchEvent(new DownloadProgress(detail));
      },
      ...(confirm ? { mayFetch: (missing, stored) => confirm({ missing, stored, url: this.#model.url.href }) } : {}),
    });
    let { reason } = chosen;
    let info = null;
    if (chosen.use === "webgpu") {
      info = await this.#startOnDevice(chosen, chunks, signal).catch((error) => {
        signal?.throwIfAborted();
        this.#end.signal.throwIfAborted();
        // Who asks for WebGPU hears that it can't be had; an editor that was opened goes on without it.
        if (this.#options.backend === "webgpu" && !this.#info) throw error;
        reason = error instanceof EarlError ? `${error.code}: ${error.message}` : `WebGPU failed: ${String(error)}`;
        return null;
      });
    }
    info ??= await this.#start({ ...chosen, use: "cpu" }, chunks, signal);
    const { tier, licence } = this.#model.manifest.model;
    this.#info = { ...info, tier, licence, url: this.#model.url.href, reason, notices };
    this.#say("ready");
  }

  /** A device that is lost before it is ready is set up once more. @param {import("./backend.js").Choice} chosen @param {import("./types").Chunks} chunks @param {AbortSignal | undefined} signal */
  async #startOnDevice(chosen, chunks, signal) {
    try {
      return await this.#start(chosen, chunks, signal);
    } catch (error) {
      if (!(error instanceof EarlError) || error.code !== "E_DEVICE_LOST") throw error;
      return this.#start(chosen, chunks, signal);
    }
  }

  /** @param {import("./backend.js").Choice} chosen @param {import("./types").Chunks} chunks @param {AbortSignal | undefined} signal @returns {Promise<import("./types").ModuleInfo>} */
  async #start(chosen, chunks, signal) {
    const { client, info, device, guard } = await this.#launch(chosen, chunks, signal);
    this.#client = client;
    this.#device = device;
    this.#guard = this.#options.determinism === "device" ? 0 : guard;
    return info;
  }

  /** A worker with the model loaded, and tested if it is on a device. @param {import("./backend.js").Choice} chosen @param {import("./types").Chunks} chunks @param {AbortSignal | undefined} signal */
  async #launch({ use, adapter, software }, chunks, signal) {
    const client = new Client(this.#options.workerUrl);
    try {
      this.#stats.workers++;
      const full = this.#model.manifest.model.tier === FULL;
      const module = await client.ask({ type: "start", use, full }, { signal }).answer;
      // WebGPU gets a copy: the CPU may need the weights next.
      const transfer = use === "cpu" ? [...new Set(chunks.flatMap((chunk) => (chunk instanceof Blob ? [] : [chunk.buffer])))] : [];
      /** @type {import("./types").ModuleInfo} */
      const info = await client.ask({ type: "load", manifest: this.#model.bytes, chunks }, { transfer, signal }).answer;
      this.#end.signal.throwIfAborted();
      const wanted = this.#options.modelHash?.toLowerCase();
      if (wanted && wanted !== info.modelHash) throw failure("E_MANIFEST_MISMATCH", `the site serves the model ${info.modelHash.slice(0, 12)}…, not ${wanted.slice(0, 12)}…`);
      const device = use === "webgpu" && !full ? { model: info.modelHash, adapter, software, module, storage: this.#options.storage ?? "auto" } : null;
      return { client, info, device, guard: device ? await verify(client, device, signal) : 0 };
    } catch (error) {
      client.end(error instanceof EarlError ? error : failure("E_DESTROYED", "the editor was closed"));
      throw error;
    }
  }

  /** Another worker for the CPU, with the weights that are stored: it fetches none. @returns {Promise<Client>} */
  async #help() {
    const { signal } = this.#end;
    const chunks = await loadChunks(this.#model, { storage: this.#options.storage ?? "auto", signal, mayFetch: () => false });
    return (await this.#launch(onCpu(null), chunks, signal)).client;
  }

  /** @param {string} state */
  #say(state) {
    this.dispatchEvent(new CustomEvent("statechange", { detail: { state } }));
  }

  /** A worker that lives: this one, or a new one with the same weights. @param {AbortSignal} signal @param {number} losses in this edit @returns {Promise<Client>} */
  async #alive(signal, losses = 0) {
    if (this.#client && !this.#client.dead) return this.#client;
    this.#say("lost");
    const chosen = losses > 1 ? onCpu("E_DEVICE_LOST: the graphics device was lost twice in one edit")
      : await choose(this.#options.backend ?? "auto").catch((error) => onCpu(`${error.code}: ${error.message}`));
    await this.#boot(chosen, signal);
    if (!this.#client) throw failure("E_STATE", "no worker is running");
    return this.#client;
  }

  /** Runs when those before it have ended. @template T @param {AbortSignal | undefined} signal @param {(signal: AbortSignal) => Promise<T>} run @returns {Promise<T>} */
  #inTurn(signal, run) {
    const any = signal ? AbortSignal.any([signal, this.#end.signal]) : this.#end.signal;
    const turn = this.#queue.then(() => {
      any.throwIfAborted();
      return run(any);
    });
    this.#queue = turn.catch(() => undefined);
    // Whoever waits in the queue hears of an abort at once.
    return Promise.race([turn, new Promise((_, reject) => {
      if (any.aborted) reject(any.reason);
      else any.addEventListener("abort", () => reject(any.reason), { once: true });
    })]);
  }

  /** Edits a picture. Rejects with an `EarlError`, or with the signal's reason. @param {EditOptions} options @returns {Promise<EditResult>} */
  async edit(options) {
    return this.stream(options).result;
  }

  /** Edits a picture, telling of every step. @param {EditOptions} options @returns {EditStream} */
  stream(options) {
    /** @type {(() => void) | null} */
    let stop = null;
    let stopping = false;
    /** @type {Job | null} */
    let job = null;
    const stream = new EditStream({
      stop: () => {
        stopping = true;
        stop?.();
      },
      checkpoint: () => {
        if (!job?.recipe) throw failure("E_STATE", "the edit has not begun; call `stop()` to wait for its checkpoint");
        return job.checkpoint;
      },
    });
    const run = async () => {
      const { model, tensors } = this.#model.manifest;
      const settings = checkEdit(options, model.tier, tensors.some(({ name }) => name.startsWith("verifier.")));
      await this.#inTurn(options.signal, async (signal) => {
        const picture = await readImage(options.image, signal);
        const own = (job = new Job(settings, options, stream));
        const began = (/** @type {() => void} */ how) => {
          stop = how;
          if (stopping) stop();
        };
        try {
          let losses = 0;
          while (!(await this.#attempt(await this.#alive(signal, losses), own, picture, signal, began))) losses++;
          own.end(this.#stats);
        } finally {
          stop = null;
          if (this.#client && !this.#client.dead) this.#say("ready");
        }
      });
    };
    run().catch((error) => stream.fail(error));
    return stream;
  }

  /**
   * Asks for what is left of an edit; false if the device was lost on the way.
   * @param {Client} client @param {Job} job @param {import("./types").Picture} picture @param {AbortSignal} signal @param {(stop: () => void) => void} began
   */
  async #attempt(client, job, picture, signal, began) {
    signal.throwIfAborted();
    const { backend } = (job.info = this.info);
    this.#say("running");
    const options = job.rest(this.#guard);
    const hear = (/** @type {import("./types").FromWorker} */ message) => job.hear(message);
    const helpers = backend === "cpu" ? this.#helpers.for(options.candidates) : [];
    const { buffer } = "file" in picture ? picture.file : picture.rgba;
    const transfer = backend === "cpu" ? [buffer] : []; // a device may be lost: the next one needs the picture again
    const asked = helpers.length > 0 ? shareOut(client, helpers, { picture, options, signal, hear, isStopped: () => job.stopped !== undefined })
      : client.ask({ type: "edit", picture, options }, { signal, transfer, hear });
    began(asked.stop);
    try {
      await asked.answer;
      return true;
    } catch (error) {
      // Tokens of a device that complained may be wrong: nothing goes on from them.
      const complained = error instanceof EarlError && error.code === "E_SHADER";
      if (complained && this.#device) await forget(this.#device);
      // Devices are lost in many ways, some of them as traps; what they share is that the worker is no more.
      if (backend === "cpu" || signal.aborted || complained || !client.dead) throw error;
      return false;
    }
  }

  /** Checks the module that runs. @returns {Promise<import("./types").SelfTest>} */
  selfTest() {
    return this.#inTurn(undefined, async (signal) => (await this.#alive(signal)).ask({ type: "test", brief: false }, { signal }).answer);
  }

  /** Ends the workers; whatever waits is rejected with `E_DESTROYED`. @returns {Promise<void>} */
  async destroy() {
    if (this.#end.signal.aborted) return;
    const closed = failure("E_DESTROYED", "the editor was closed");
    this.#end.abort(closed);
    this.#client?.end(closed);
    this.#helpers.end(closed);
    this.#say("destroyed");
  }

  /** So that `await using` closes it. @returns {Promise<void>} */
  [/** @type {any} */ (Symbol)["asyncDispose"] ?? Symbol.for("Symbol.asyncDispose")]() {
    return this.destroy();
  }
}
