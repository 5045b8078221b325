// @ts-check
/**
 * One edit on the page: what workers send, each in order, becomes events and in the end a result.
 * @typedef {import("./types").Ran} Ran
 */
import { failure } from "./errors.js";
import { candidateOf, mapsOf, resultOf, scoreOf } from "./result.js";

/** Options of an edit without its first candidates. @param {import("./types").RunOptions} options @param {number} count @returns {import("./types").RunOptions} */
export const fromCandidate = (options, count) => (count === 0 ? options : {
  ...options, seed: String((BigInt(options.seed) + BigInt(count)) % 2n ** 64n), candidate: options.candidate + count, candidates: options.candidates - count,
  decided: [], paint: "final",
});

/** Between workers' messages and a stream's events. */
export class Job {
  /** By the candidate's number in this edit. @type {Map<number, Ran>} */ #ran = new Map();
  /** Of the first candidate. @type {import("./types").TokenInfo[]} */ #tokens = [];
  /** Ids told of each candidate, in the same way. @type {Map<number, number[]>} */ #decided = new Map();
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
    const { stopped } = this;
    return { recipe: stopped?.recipe ?? this.recipe, tokens: stopped?.program ?? this.#tokens.map(({ id }) => id) };
  }

  /** Candidates that are done, and their numbers. */
  get #done() {
    return [...this.#ran].map(([at, ran]) => ({ at, ran })).sort((a, b) => a.at - b.at);
  }

  /** The first candidate that was stopped. */
  get stopped() {
    return this.#done.find(({ ran }) => ran.stopped)?.ran;
  }

  /** What is left to do: all of it, or what a lost device had not done; tokens it had decided are kept. @param {number} guard of the backend that does it @returns {import("./types").RunOptions} */
  rest(guard) {
    const settings = { ...this.settings, guard };
    const done = this.#ran.size;
    const decided = this.#decided.get(done) ?? [];
    const onDevice = settings.onDevice || this.#onDevice;
    this.#onDevice ||= this.info?.backend === "webgpu" && guard === 0;
    if (done === 0 && decided.length <= settings.decided.length) return settings;
    return { ...fromCandidate(settings, done), decided: [...decided], onDevice };
  }

  /** @param {import("./types").FromWorker} message */
  hear(message) {
    if (message.type === "begin") {
      if (this.#numberOf(message.recipe) === 0) this.recipe ??= message.recipe;
    } else if (message.type === "token") this.#token(message.token, message.paints);
    else if (message.type === "code") this.stream.push({ type: "code", done: message.done, total: message.total });
    else if (message.type === "ran") {
      const at = this.#numberOf(message.ran.recipe);
      this.#ran.set(at, message.ran);
      if (at === 0) this.stream.push({ type: "plan", plan: message.ran.plan });
      this.stream.push({ type: "candidate", candidate: candidateOf(message.ran, at) });
    }
  }

  /** A candidate's number in this edit. @param {{ candidate: number }} of */
  #numberOf({ candidate }) {
    return candidate - this.settings.candidate;
  }

  /** @param {import("./types").TokenInfo} token @param {import("./types").Paint[]} paints */
  #token(token, paints) {
    const at = this.#numberOf(token);
    const decided = this.#decided.get(at) ?? [];
    if (token.index < decided.length) {
      for (const { bitmap } of paints) bitmap.close();
      return; // told before its device or worker was lost
    }
    decided.push(token.id);
    this.#decided.set(at, decided);
    if (at === 0) this.#tokens.push(token);
    this.options.onToken?.(token);
    this.stream.push({ type: "token", token });
    for (const paint of paints) this.stream.push({ type: "paint", ...paint });
  }

  /** The workers are done. @param {import("./types").Stats} stats */
  end(stats) {
    stats.edits++;
    for (const { tokens, forwards, milliseconds, guarded, device } of this.#ran.values()) {
      for (const [name, count] of Object.entries({ tokens, forwards, milliseconds, guarded, ...device })) stats[/** @type {keyof typeof stats} */ (name)] += count;
    }
    const order = this.#done;
    if (this.settings.rank !== "none") order.sort((a, b) => scoreOf(b.ran) - scoreOf(a.ran) || a.at - b.at);
    const { stopped } = this;
    const kept = stopped ?? order[0]?.ran;
    if (!kept || !this.info) throw failure("E_STATE", "the edit gave no result");
    const result = resultOf(this.info, kept, order.map(({ ran, at }) => candidateOf(ran, at)));
    if (this.options.maps) result.maps = mapsOf(this.info, this.#tokens);
    this.stream.push(stopped ? { type: "stopped", checkpoint: this.checkpoint, result } : { type: "done", result });
  }
}
