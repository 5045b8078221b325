// @ts-check
/**
 * Several workers for the candidates of one edit: each takes the next that is left. A candidate has a seed of its own, so
 * whoever writes it writes the same; only the order in which its tokens are told among others' differs.
 *
 *   the editor's worker → candidate 0, then the next    helper → the next, as soon as it has loaded the model
 *
 * @typedef {import("./client.js").Client} Client
 * @typedef {{ picture: import("./types").Picture, options: import("./types").RunOptions, signal: AbortSignal,
 *   hear: (message: import("./types").FromWorker) => void, isStopped: () => boolean }} Edit
 */
import { fromCandidate } from "./job.js";

/** Workers beside an editor's first. They start when they are first needed and live as long as the editor. */
export class Helpers {
  /** One that did not start, or died, is not replaced: what it lacks is mostly memory. @type {Promise<Client>[]} */
  #started = [];

  /** @param {number} most @param {() => Promise<Client>} start */
  constructor(most, start) {
    this.most = most;
    this.start = start;
  }

  /** Those who may help with so many candidates. @param {number} candidates */
  for(candidates) {
    const wanted = Math.min(this.most, candidates - 1);
    while (this.#started.length < wanted) this.#started.push(this.start());
    return this.#started.slice(0, wanted);
  }

  /** @param {import("./errors.js").EarlError} reason */
  end(reason) {
    for (const helper of this.#started) helper.then((client) => client.end(reason), () => undefined);
  }
}

/**
 * Runs an edit's candidates. The first error ends it; but the candidate of a helper that dies goes back to the first worker.
 * @param {Client} main @param {Promise<Client>[]} helpers @param {Edit} edit @returns {{ answer: Promise<void>, stop: () => void }}
 */
export function shareOut(main, helpers, { picture, options, signal, hear, isStopped }) {
  const left = Array.from({ length: options.candidates }, (_, at) => at);
  /** @type {Set<{ stop: () => void }>} */
  const running = new Set();
  const failed = new AbortController();
  const either = AbortSignal.any([signal, failed.signal]);
  let stopping = false;
  const candidate = async (/** @type {Client} */ client, /** @type {number} */ at) => {
    const asked = client.ask({ type: "edit", picture, options: { ...fromCandidate(options, at), candidates: 1 } }, { signal: either, hear });
    running.add(asked);
    if (stopping) asked.stop();
    await asked.answer.finally(() => running.delete(asked));
  };
  /** @param {Client} client @returns {Promise<void>} */
  const work = async (client) => {
    for (let at = left.shift(); at !== undefined && !isStopped(); at = left.shift()) {
      try {
        await candidate(client, at);
      } catch (error) {
        if (client === main || !client.dead || either.aborted) throw error;
        left.unshift(at);
        return work(main);
      }
    }
  };
  /** @type {Promise<void>} */
  const answer = new Promise((resolve, reject) => {
    let busy = 0;
    const employ = (/** @type {Client} */ client) => {
      busy++;
      work(client).then(() => --busy === 0 && resolve(), (error) => {
        left.length = 0;
        failed.abort(error);
        reject(error);
      });
    };
    employ(main);
    for (const helper of helpers) helper.then((client) => client.dead || employ(client), () => undefined);
  });
  return {
    answer,
    stop: () => {
      stopping = true;
      for (const { stop } of running) stop();
    },
  };
}
