// @ts-check
/**
 * An edit as it happens: an async iterable of events with a promise of the result.
 * @typedef {import("./types").EditEvent} EditEvent
 * @typedef {import("./types").EditResult} EditResult
 * @typedef {import("./types").Checkpoint} Checkpoint
 */
import { failure } from "./errors.js";

/** Events wait until they are read; nothing is lost to a slow reader. */
export class EditStream {
  /** @type {EditEvent[]} */ #events = [];
  /** @type {(() => void) | null} */ #awake = null;
  #ended = false;
  /** @type {unknown} */ #error = null;
  /** @type {PromiseWithResolversLike<EditResult>} */ #result = withResolvers();
  /** @type {PromiseWithResolversLike<Checkpoint>} */ #stopped = withResolvers();
  /** @type {() => Checkpoint} */ #checkpoint;
  /** @type {() => void} */ #stop;

  /** @param {{ stop: () => void, checkpoint: () => Checkpoint }} edit */
  constructor({ stop, checkpoint }) {
    this.#stop = stop;
    this.#checkpoint = checkpoint;
    for (const { promise } of [this.#result, this.#stopped]) promise.catch(() => undefined);
  }

  /** The result; a stopped edit's result shows what was decided. */
  get result() {
    return this.#result.promise;
  }

  /** What is decided so far, to go on from. */
  get checkpoint() {
    return this.#checkpoint();
  }

  /** Ends the edit at its next token. An edit that is done already gives its whole checkpoint. @returns {Promise<Checkpoint>} */
  stop() {
    this.#stop();
    return this.#stopped.promise;
  }

  /** @param {EditEvent} event */
  push(event) {
    if (this.#ended) return;
    this.#events.push(event);
    if (event.type === "done" || event.type === "stopped") {
      this.#ended = true;
      this.#result.resolve(event.result);
      this.#stopped.resolve(event.type === "stopped" ? event.checkpoint : this.#checkpoint());
    }
    this.#awake?.();
  }

  /** @param {unknown} error */
  fail(error) {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error ?? failure("E_STATE", "the edit ended without a reason");
    this.#result.reject(this.#error);
    this.#stopped.reject(this.#error);
    this.#awake?.();
  }

  /** @returns {AsyncGenerator<EditEvent, void, void>} */
  async *[Symbol.asyncIterator]() {
    for (;;) {
      const event = this.#events.shift();
      if (event) {
        yield event;
        continue;
      }
      if (this.#error) throw this.#error;
      if (this.#ended) return;
      await /** @type {Promise<void>} */ (new Promise((resolve) => (this.#awake = resolve)));
    }
  }
}

/** @template T @typedef {{ promise: Promise<T>, resolve: (value: T) => void, reject: (reason: unknown) => void }} PromiseWithResolversLike */

/** `Promise.withResolvers`, which not every browser has. @template T @returns {PromiseWithResolversLike<T>} */
export function withResolvers() {
  /** @type {any} */
  const made = {};
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }));
  return made;
}
