// @ts-check
/**
 * A loaded model behind promises: boots a worker, feeds it the model, runs one edit after another.
 * A worker that traps is replaced at the next call, from stored weights, without the network.
 * @typedef {import("./types").CreateOptions} CreateOptions
 * @typedef {import("./types").EditOptions} EditOptions
 * @typedef {import("./types").EditResult} EditResult
 * @typedef {import("./types").ModelInfo} ModelInfo
 * @typedef {import("./weights.js").Model} Model
 */
import { choose } from "./backend.js";
import { Client } from "./client.js";
import { EarlError, failure } from "./errors.js";
import { readImage } from "./input.js";
import { checkEdit } from "./options.js";
import { Job } from "./job.js";
import { EditStream } from "./stream.js";
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

/** @param {CreateOptions} options @param {Model} model */
function checkMemory(options, model) {
  const device = /** @type {{ deviceMemory?: number }} */ (navigator).deviceMemory;
  const limit = options.maxMemoryBytes ?? Math.min(MEMORY.bytes, device ? device * 2 ** 30 * MEMORY.share : Infinity);
  const needed = memoryOf(model.manifest);
  if (needed > limit) {
    const mebibytes = (/** @type {number} */ bytes) => `${Math.ceil(bytes / 1048576)} MiB`;
    throw failure("E_MEMORY_LIMIT", `the model needs about ${mebibytes(needed)}; ${mebibytes(limit)} are allowed`);
  }
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
  #stats = { edits: 0, tokens: 0, forwards: 0, milliseconds: 0, bytesFromCache: 0, bytesLoaded: 0, workers: 0 };

  /** @param {CreateOptions} options @param {Model} model */
  constructor(options, model) {
    super();
    this.#options = options;
    this.#model = model;
  }

  /** Opens a model and waits until it is ready. @param {CreateOptions} options */
  static async open(options) {
    const { signal } = options;
    signal?.throwIfAborted();
    const chosen = await choose(options.backend ?? "auto");
    const model = await openModel(options, signal);
    checkMemory(options, model);
    if (options.persist) await navigator.storage?.persist?.().catch(() => false);
    const editor = new Editor(options, model);
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

  /** @param {{ use: "cpu" | "webgpu", reason: string | null }} chosen @param {AbortSignal | undefined} signal @param {EventTarget} [monitor] */
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
    let { use, reason } = chosen;
    let info = null;
    if (use === "webgpu" && this.#options.backend !== "webgpu") {
      // The weights are copied, not handed over: the CPU may need them next.
      info = await this.#start(use, chunks, signal, false).catch((error) => {
        signal?.throwIfAborted();
        reason = `WebGPU failed: ${error instanceof EarlError ? error.message : String(error)}`;
        use = "cpu";
        return null;
      });
    }
    info ??= await this.#start(use, chunks, signal, true);
    const { tier, licence } = this.#model.manifest.model;
    this.#info = { ...info, tier, licence, url: this.#model.url.href, reason, notices };
    this.#say("ready");
  }

  /** @param {"cpu" | "webgpu"} use @param {Uint8Array<ArrayBuffer>[]} chunks @param {AbortSignal | undefined} signal @param {boolean} give @returns {Promise<import("./types").ModuleInfo>} */
  async #start(use, chunks, signal, give) {
    const client = new Client(this.#options.workerUrl ?? new URL("./worker.js", import.meta.url));
    try {
      this.#stats.workers++;
      await client.ask({ type: "start", use }, { signal }).answer;
      const transfer = give ? [...new Set(chunks.map((chunk) => chunk.buffer))] : [];
      const info = await client.ask({ type: "load", manifest: this.#model.bytes, chunks }, { transfer, signal }).answer;
      this.#end.signal.throwIfAborted();
      const wanted = this.#options.modelHash?.toLowerCase();
      if (wanted && wanted !== info.modelHash) throw failure("E_MANIFEST_MISMATCH", `the site serves the model ${info.modelHash.slice(0, 12)}…, not ${wanted.slice(0, 12)}…`);
      this.#client = client;
      return info;
    } catch (error) {
      client.end(error instanceof EarlError ? error : failure("E_DESTROYED", "the editor was closed"));
      throw error;
    }
  }

  /** @param {string} state */
  #say(state) {
    this.dispatchEvent(new CustomEvent("statechange", { detail: { state } }));
  }

  /** A worker that lives: this one, or a new one with the same weights. @param {AbortSignal} signal @returns {Promise<Client>} */
  async #alive(signal) {
    if (this.#client && !this.#client.dead) return this.#client;
    this.#say("lost");
    await this.#boot(await choose(this.#options.backend ?? "auto"), signal);
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
    /** @type {{ client: Client, id: number } | null} */
    let running = null;
    let stopping = false;
    /** @type {Job | null} */
    let job = null;
    const stream = new EditStream({
      stop: () => {
        stopping = true;
        running?.client.stop(running.id);
      },
      checkpoint: () => {
        if (!job?.recipe) throw failure("E_STATE", "the edit has not begun; call `stop()` to wait for its checkpoint");
        return job.checkpoint;
      },
    });
    const run = async () => {
      const settings = checkEdit(options);
      await this.#inTurn(options.signal, async (signal) => {
        const picture = await readImage(options.image, signal);
        const client = await this.#alive(signal);
        signal.throwIfAborted();
        this.#say("running");
        const own = (job = new Job(this.info, settings, options, stream));
        const transfer = "file" in picture ? [picture.file.buffer] : [picture.rgba.buffer];
        const asked = client.ask({ type: "edit", picture, options: settings }, { signal, transfer, hear: (message) => own.hear(message) });
        running = { client, id: asked.id };
        if (stopping) client.stop(asked.id);
        try {
          await asked.answer;
          own.end(this.#stats);
        } finally {
          running = null;
          this.#say("ready");
        }
      });
    };
    run().catch((error) => stream.fail(error));
    return stream;
  }

  /** Checks the module that runs. @returns {Promise<import("./types").SelfTest>} */
  selfTest() {
    return this.#inTurn(undefined, async (signal) => (await this.#alive(signal)).ask({ type: "test" }, { signal }).answer);
  }

  /** Ends the worker; whatever waits is rejected with `E_DESTROYED`. @returns {Promise<void>} */
  async destroy() {
    if (this.#end.signal.aborted) return;
    const closed = failure("E_DESTROYED", "the editor was closed");
    this.#end.abort(closed);
    this.#client?.end(closed);
    this.#say("destroyed");
  }

  /** So that `await using` closes it. @returns {Promise<void>} */
  [/** @type {any} */ (Symbol)["asyncDispose"] ?? Symbol.for("Symbol.asyncDispose")]() {
    return this.destroy();
  }
}
