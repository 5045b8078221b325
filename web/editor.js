// @ts-check
/**
 * The editor as a page uses it: promises over a worker.
 *
 *   const editor = await createEditor({ model: new URL("models/tiny/", location.href) });
 *   const { png } = await editor.edit(file, { instruction: "remove the cat" });
 *
 * @typedef {import("./types").FromWorker} FromWorker
 * @typedef {import("./types").Edited} Edited
 * @typedef {import("./types").EditOptions} EditOptions
 * @typedef {import("./types").Info} Info
 * @typedef {import("./types").Token} Token
 * @typedef {{ model: URL | string, backend?: import("./types").Backend,
 *   onProgress?: (loaded: number, total: number) => void, signal?: AbortSignal }} CreateOptions
 */

/** An error with a stable `code` and a `hint` what to do. */
export class EarlError extends Error {
  /** @param {import("./types").Problem} problem */
  constructor(problem) {
    super(problem.message);
    this.name = "EarlError";
    this.code = problem.code;
    this.hint = problem.hint;
    this.word = problem.word ?? null;
    this.near = problem.near ?? [];
  }
}

/** What a closed editor answers. @type {import("./types").Problem} */
const CLOSED = { code: "E_DESTROYED", message: "the editor was closed", hint: "create another one" };

/** Waits for a promise, but no longer than a signal allows. @param {Promise<unknown>} promise @param {AbortSignal | undefined} signal */
function unlessAborted(promise, signal) {
  if (!signal) return promise;
  signal.throwIfAborted();
  return Promise.race([promise, new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason), { once: true }))]);
}

/** Starts a worker and loads a model. @param {CreateOptions} options @returns {Promise<Editor>} */
export async function createEditor(options) {
  const editor = new Editor(options);
  await editor.ready;
  return editor;
}

/** A loaded model in a worker. One edit runs at a time; later ones wait their turn. */
export class Editor {
  /** @type {Worker} */ #worker;
  /** @type {CreateOptions} */ #options;
  /** @type {Map<number, { resolve: (value: any) => void, reject: (reason: unknown) => void, onToken?: ((token: Token) => void) | undefined }>} */
  #waiting = new Map();
  /** @type {Promise<unknown>} */ #queue = Promise.resolve();
  #next = 1;
  #closed = false;

  /** @param {CreateOptions} options */
  constructor(options) {
    this.#options = options;
    this.#worker = this.#start();
    /** @type {Promise<Info>} Resolves when the model is loaded. */
    this.ready = this.#load();
    this.ready.catch(() => undefined); // whoever edits hears of it
  }

  #start() {
    const worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
    worker.addEventListener("message", (event) => this.#hear(event.data));
    worker.addEventListener("error", (event) => this.#fail(event.message || "the worker could not start"));
    return worker;
  }

  #load() {
    const model = new URL(this.#options.model, location.href).href;
    return this.#ask({ type: "load", model, backend: this.#options.backend ?? "auto" });
  }

  /**
   * Edits a picture file. Rejects with an `EarlError`, or with the signal's reason.
   * @param {Blob | Uint8Array} file
   * @param {EditOptions & { signal?: AbortSignal, onToken?: (token: Token) => void }} options
   * @returns {Promise<Edited>}
   */
  edit(file, options) {
    const { signal, onToken, ...rest } = options;
    const run = async () => {
      signal?.throwIfAborted();
      const bytes = file instanceof Blob ? new Uint8Array(await file.arrayBuffer()) : file;
      const settings = { mode: "local", seed: 0, temperature: 0, ...rest };
      await unlessAborted(this.ready, signal);
      return this.#ask({ type: "edit", file: bytes, options: settings }, { signal, onToken });
    };
    const turn = this.#queue.then(run, run);
    this.#queue = turn.catch(() => undefined);
    return turn;
  }

  /** Ends the worker; whatever waits is rejected. */
  destroy() {
    this.#worker.terminate();
    this.#closed = true;
    this.#rejectAll(CLOSED);
  }

  /**
   * @param {any} message
   * @param {{ signal?: AbortSignal | undefined, onToken?: ((token: Token) => void) | undefined }} [how]
   * @returns {Promise<any>}
   */
  #ask(message, how = {}) {
    const id = this.#next++;
    if (this.#closed) return Promise.reject(new EarlError(CLOSED));
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject, onToken: how.onToken });
      how.signal?.addEventListener("abort", () => this.#abort(id, how.signal?.reason), { once: true });
      this.#worker.postMessage({ ...message, id });
    });
  }

  /**
   * Gives up an edit at once. The worker ends it at its next token on WebGPU; on the CPU, which hears
   * messages between edits only, it finishes unheard. Nothing is fetched again.
   * @param {number} id @param {unknown} reason
   */
  #abort(id, reason) {
    const waiting = this.#waiting.get(id);
    if (!waiting) return;
    this.#waiting.delete(id);
    this.#worker.postMessage({ type: "stop", id });
    waiting.reject(reason);
  }

  /** @param {FromWorker} message */
  #hear(message) {
    const waiting = this.#waiting.get(message.id);
    if (message.type === "progress") return this.#options.onProgress?.(message.loaded, message.total);
    if (!waiting) return;
    if (message.type === "token") return waiting.onToken?.(message.token);
    this.#waiting.delete(message.id);
    if (message.type === "ready") waiting.resolve(message.info);
    else if (message.type === "done") waiting.resolve(message.result);
    else {
      waiting.reject(new EarlError(message.problem));
      if (message.problem.code === "E_WASM_TRAP") this.#restart();
    }
  }

  #restart() {
    this.#worker.terminate();
    this.#worker = this.#start();
    this.ready = this.#load();
    this.ready.catch(() => undefined);
  }

  /** @param {string} message */
  #fail(message) {
    this.#rejectAll({ code: "E_WORKER", message, hint: "reload the page; the site may be incomplete" });
  }

  /** @param {import("./types").Problem} problem */
  #rejectAll(problem) {
    for (const waiting of this.#waiting.values()) waiting.reject(new EarlError(problem));
    this.#waiting.clear();
  }
}
