// @ts-check
/**
 * One edit on the page: what the worker sends, in order, becomes events and in the end a result.
 * @typedef {import("./types").Ran} Ran
 */
import { failure } from "./errors.js";
import { candidateOf, mapsOf, resultOf } from "./result.js";

/** Between a worker's messages and a stream's events. */
export class Job {
  /** @type {Ran[]} */ #ran = [];
  /** Of the first candidate. @type {import("./types").TokenInfo[]} */ #tokens = [];
  /** Ids of the candidate in progress. @type {number[]} */ #decided = [];
  /** The model as it was when the worker was asked. @type {import("./types").ModelInfo | null} */
  info = null;
  /** Known once the picture is. @type {import("./types").Recipe | null} */
  recipe = null;
  /** Did a device choose tokens alone? */
  #onDevice = false;

  /**
   * @param {import("./types").RunOptions} settings
   * @param {import("./types").EditOptions} options @param {import("./stream.js").EditStream} stream
   */
  constructor(settings, options, stream) {
    this.settings = settings;
    this.options = options;
    this.stream = stream;
  }

  /** What is decided so far. @returns {import("./types").Checkpoint} */
  get checkpoint() {
    if (!this.recipe) throw failure("E_STATE", "the edit has not begun");
    const stopped = this.#ran.find((ran) => ran.stopped);
    return { recipe: stopped?.recipe ?? this.recipe, tokens: stopped?.program ?? this.#tokens.map(({ id }) => id) };
  }

  /** What is left to do: all of it, or what a lost device had not done; tokens it had decided are kept. @param {number} guard of the backend that does it @returns {import("./types").RunOptions} */
  rest(guard) {
    const settings = { ...this.settings, guard };
    const done = this.#ran.length;
    const onDevice = settings.onDevice || this.#onDevice;
    this.#onDevice ||= this.info?.backend === "webgpu" && guard === 0;
    if (done === 0 && this.#decided.length <= settings.decided.length) return settings;
    return {
      ...settings, seed: String((BigInt(settings.seed) + BigInt(done)) % 2n ** 64n), candidate: settings.candidate + done, candidates: settings.candidates - done,
      decided: [...this.#decided], onDevice,
    };
  }

  /** @param {import("./types").FromWorker} message */
  hear(message) {
    if (message.type === "begin") this.recipe ??= message.recipe;
    else if (message.type === "token") this.#token(message.token);
    else if (message.type === "code") this.stream.push({ type: "code", done: message.done, total: message.total });
    else if (message.type === "paint") this.stream.push({ type: "paint", rect: message.rect, bitmap: message.bitmap });
    else if (message.type === "ran") {
      this.#ran.push(message.ran);
      this.#decided = [];
      if (this.#ran.length === 1) this.stream.push({ type: "plan", plan: message.ran.plan });
      this.stream.push({ type: "candidate", candidate: candidateOf(message.ran, this.#ran.length - 1) });
    }
  }

  /** @param {import("./types").TokenInfo} token */
  #token(token) {
    if (token.index < this.#decided.length) return; // told before its device was lost
    this.#decided.push(token.id);
    if (token.candidate === this.settings.candidate) this.#tokens.push(token);
    this.options.onToken?.(token);
    this.stream.push({ type: "token", token });
  }

  /** The worker is done. @param {import("./types").Stats} stats */
  end(stats) {
    stats.edits++;
    for (const { tokens, forwards, milliseconds, guarded, device } of this.#ran) {
      for (const [name, count] of Object.entries({ tokens, forwards, milliseconds, guarded, ...device })) stats[/** @type {keyof typeof stats} */ (name)] += count;
    }
    const order = this.#ran.map((ran, at) => ({ ran, at }));
    if (this.settings.rank !== "none") order.sort((a, b) => b.ran.logProb - a.ran.logProb || a.at - b.at);
    const stopped = this.#ran.find((ran) => ran.stopped);
    const kept = stopped ?? order[0]?.ran;
    if (!kept || !this.info) throw failure("E_STATE", "the edit gave no result");
    const result = resultOf(this.info, kept, order.map(({ ran, at }) => candidateOf(ran, at)));
    if (this.options.maps) result.maps = mapsOf(this.info, this.#tokens);
    this.stream.push(stopped ? { type: "stopped", checkpoint: this.checkpoint, result } : { type: "done", result });
  }
}
