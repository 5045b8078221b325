// @ts-check
/**
 * One worker and the answers it owes.
 * @typedef {import("./types").FromWorker} FromWorker
 * @typedef {import("./types").Problem} Problem
 */
import { EarlError, errorOf, failure } from "./errors.js";

/** `Omit` for each member of a union. @template T @typedef {T extends any ? Omit<T, "id"> : never} WithoutId */

/** Asks a worker and hears it. A worker that failed is not used again. */
export class Client {
  /** @type {Worker} */ #worker;
  /** @type {Map<number, { resolve: (value: any) => void, reject: (reason: unknown) => void, hear?: ((message: FromWorker) => void) | undefined }>} */
  #waiting = new Map();
  #next = 1;
  /** Why it can't be used any more. @type {EarlError | null} */
  dead = null;

  /** @param {string | URL | undefined} url ours, unless given */
  constructor(url) {
    // Written out, since that is the form by which bundlers find a worker.
    this.#worker = url ? new Worker(url, { type: "module" }) : new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
    this.#worker.addEventListener("message", ({ data }) => this.#hear(data));
    this.#worker.addEventListener("error", (event) => this.end(failure("E_WORKER", event.message || "the worker could not start")));
    this.#worker.addEventListener("messageerror", () => this.end(failure("E_WORKER", "the worker sent what can't be read")));
  }

  /**
   * An answer, and how to ask an edit to end at its next token.
   * @param {WithoutId<import("./types").ToWorker>} message
   * @param {{ transfer?: Transferable[], hear?: (message: FromWorker) => void, signal?: AbortSignal | undefined }} [how]
   * @returns {{ answer: Promise<any>, stop: () => void }}
   */
  ask(message, { transfer = [], hear, signal } = {}) {
    const id = this.#next++;
    const stop = () => this.#worker.postMessage({ type: "stop", id });
    if (this.dead) return { answer: Promise.reject(this.dead), stop };
    const answer = new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject, hear });
      signal?.addEventListener("abort", () => {
        if (!this.#waiting.delete(id)) return;
        stop();
        reject(signal.reason);
      }, { once: true });
      this.#worker.postMessage({ ...message, id }, transfer);
    });
    return { answer, stop };
  }

  /** Ends the worker; whatever waits is rejected. @param {EarlError} reason */
  end(reason) {
    this.dead ??= reason;
    this.#worker.terminate();
    for (const { reject } of this.#waiting.values()) reject(reason);
    this.#waiting.clear();
  }

  /** @param {FromWorker} message */
  #hear(message) {
    const waiting = this.#waiting.get(message.id);
    if (!waiting) {
      if (message.type === "token") for (const { bitmap } of message.paints) bitmap.close();
      return;
    }
    if (message.type === "done" || message.type === "error") this.#waiting.delete(message.id);
    if (message.type === "done") waiting.resolve(message.value);
    else if (message.type !== "error") waiting.hear?.(message);
    else {
      const error = errorOf(message.problem);
      waiting.reject(error);
      if (["E_WASM_TRAP", "E_OUT_OF_MEMORY", "E_DEVICE_LOST", "E_SHADER"].includes(error.code)) this.end(error);
    }
  }
}
