// @ts-check
/**
 * Editors that the elements of a page share: one worker and one loaded model for equal options. The first to ask has it
 * loaded, edits run one after another, and the last to let go ends it.
 * @typedef {import("../api.js").Editor} Editor
 * @typedef {import("../types").CreateOptions} CreateOptions
 * @typedef {import("../types").DownloadProgressEvent} DownloadProgressEvent
 * @typedef {{ confirm: NonNullable<CreateOptions["confirm"]>, progress: (event: DownloadProgressEvent) => void }} Listener
 * @typedef {Listener & import("../stream.js").PromiseWithResolversLike<Editor>} Holder
 * @typedef {Omit<CreateOptions, "monitor"> & { signal: AbortSignal, confirm: Listener["confirm"] }} Asked
 */
import { createEditor } from "../api.js";
import { withResolvers } from "../stream.js";
import { declined } from "../weights.js";

/** By their options, as text. @type {Map<string, Share>} */
const shares = new Map();

/** An editor with these options, held until `signal` is aborted. @param {Asked} options @param {Listener["progress"]} progress also told the last step, if loading has begun @returns {Promise<Editor>} */
export function borrow({ signal, confirm, ...options }, progress) {
  const key = JSON.stringify(options);
  const share = shares.get(key) ?? new Share(key, options);
  return share.join({ confirm, progress }, signal);
}

/** One editor and those who hold it. */
class Share {
  /** @type {Set<Holder>} */ #holders = new Set();
  /** The download's last. @type {DownloadProgressEvent | null} */ #step = null;
  #end = new AbortController();
  /** @type {Promise<Editor>} */ #editor;

  /** @param {string} key @param {CreateOptions} options */
  constructor(key, options) {
    this.key = key;
    shares.set(key, this);
    this.#editor = createEditor({
      ...options, signal: this.#end.signal, confirm: (bytes) => this.#mayFetch(bytes),
      monitor: (monitor) => monitor.addEventListener("downloadprogress", (event) => {
        this.#step = /** @type {DownloadProgressEvent} */ (event);
        for (const { progress } of this.#holders) progress(this.#step);
      }),
    });
    this.#editor.catch(() => this.#forget());
  }

  /** @param {Listener} listener @param {AbortSignal} signal @returns {Promise<Editor>} */
  join(listener, signal) {
    /** @type {Holder} */
    const holder = { ...listener, ...withResolvers() };
    this.#holders.add(holder);
    this.#editor.then(holder.resolve, holder.reject);
    holder.promise.catch((reason) => this.#leave(holder, reason));
    signal.addEventListener("abort", () => {
      holder.reject(signal.reason);
      this.#leave(holder, signal.reason);
    }, { once: true });
    if (this.#step) listener.progress(this.#step);
    return holder.promise;
  }

  /** Holders are asked in turn until one allows the download; those that decline while it is loaded are out. @type {Listener["confirm"]} */
  #mayFetch = (bytes) => [...this.#holders].some(({ confirm, reject }) => confirm(bytes) || reject(declined()));

  /** @param {Holder} holder @param {unknown} reason */
  #leave(holder, reason) {
    if (!this.#holders.delete(holder) || this.#holders.size > 0) return;
    this.#forget();
    this.#end.abort(reason);
    this.#editor.then((editor) => editor.destroy(), () => undefined);
  }

  /** Whoever asks next has it loaded anew. */
  #forget() {
    if (shares.get(this.key) === this) shares.delete(this.key);
  }
}
