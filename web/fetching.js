// @ts-check
/** Files from the site: streamed, counted, timed, tried again. Nothing about the visitor is sent along. */
import { breathe } from "./breathe.js";
import { EarlError, failure } from "./errors.js";

/** Patience, as numbers that tests may shorten. */
export const LIMITS = {
  /** Milliseconds without a byte that end a request. */
  silenceMs: 30_000,
  /** Tries of a request whose connection fails. */
  tries: 3,
  /** Milliseconds before the second try; each later one waits three times as long. */
  waitMs: 300,
  /** Requests at once. */
  parallel: 3,
};
/** Bytes taken over before the page may draw: on a fast connection parts come without a pause. */
const AT_ONCE = 1 << 19;
/** Most bytes of a file without a known length, such as a manifest. */
const MAX_UNKNOWN = 16 * 1024 * 1024;

/**
 * @typedef {{ signal?: AbortSignal | undefined, cache?: RequestCache, expected?: number, onBytes?: (count: number) => void }} How
 * `expected` is the length the manifest names; `onBytes` hears the bytes of this try so far, 0 when it starts.
 */

/** The bytes of a file of the site. Faults of the connection are tried again. @param {URL} url @param {How} [how] @returns {Promise<Uint8Array<ArrayBuffer>>} */
export async function fetchBytes(url, how = {}) {
  let wait = LIMITS.waitMs;
  for (let tried = 1; ; tried++, wait *= 3) {
    try {
      return await once(url, how);
    } catch (error) {
      const again = error instanceof EarlError && error.detail["again"] === true;
      if (!again || tried >= LIMITS.tries || how.signal?.aborted) throw error;
      await pause(wait, how.signal);
    }
  }
}

/** One try. @param {URL} url @param {How} how */
async function once(url, { signal, cache = "default", expected, onBytes }) {
  signal?.throwIfAborted();
  onBytes?.(0);
  const silence = new AbortController();
  let timer = setTimeout(() => silence.abort(), LIMITS.silenceMs);
  const heard = () => {
    clearTimeout(timer);
    timer = setTimeout(() => silence.abort(), LIMITS.silenceMs);
  };
  try {
    const both = signal ? AbortSignal.any([signal, silence.signal]) : silence.signal;
    const response = await fetch(url, { signal: both, cache, credentials: "omit", referrerPolicy: "no-referrer" });
    heard();
    if (!response.ok) throw refused(url, response.status);
    return await read(url, response, expected, (count) => {
      heard();
      onBytes?.(count);
    });
  } catch (error) {
    if (error instanceof EarlError) throw error;
    signal?.throwIfAborted();
    if (silence.signal.aborted) {
      throw failure("E_TIMEOUT", `${url.pathname} sent nothing for ${LIMITS.silenceMs / 1000} s`, { cause: error });
    }
    throw failure("E_OFFLINE", `${url.pathname} can't be fetched`, { cause: error, detail: { again: true } });
  } finally {
    clearTimeout(timer);
  }
}

/** @param {URL} url @param {number} status */
function refused(url, status) {
  const passing = status >= 500 || status === 408 || status === 429;
  return failure("E_HTTP", `${url.pathname} answered ${status}`, {
    retryable: passing, detail: { status, again: passing },
    ...(passing ? { hint: "the site is busy or out of order; try again later" } : {}),
  });
}

/** @param {URL} url @param {Response} response @param {number | undefined} expected @param {(count: number) => void} onBytes */
async function read(url, response, expected, onBytes) {
  const limit = expected ?? MAX_UNKNOWN;
  // Copied part by part as they come: joining them in the end would hold up the page.
  let whole = new Uint8Array(expected ?? 0);
  let [count, breathed] = [0, 0];
  const reader = response.body?.getReader();
  for (let part = await reader?.read(); part && !part.done; part = await reader?.read()) {
    count += part.value.length;
    if (count > limit) {
      await reader?.cancel();
      throw failure("E_SIZE_MISMATCH", `${url.pathname} has more than ${limit} bytes`);
    }
    if (count > whole.length) whole = grown(whole, count);
    whole.set(part.value, count - part.value.length);
    onBytes(count);
    if (count - breathed >= AT_ONCE) {
      breathed = count;
      await breathe();
    }
  }
  if (expected !== undefined && count !== expected) {
    throw failure("E_SIZE_MISMATCH", `${url.pathname} has ${count} bytes; the manifest says ${expected}`);
  }
  return count === whole.length ? whole : whole.slice(0, count);
}

/** Room for so many bytes and as many again. @param {Uint8Array<ArrayBuffer>} bytes @param {number} count */
function grown(bytes, count) {
  const larger = new Uint8Array(count * 2);
  larger.set(bytes);
  return larger;
}

/** @param {number} ms @param {AbortSignal | undefined} signal @returns {Promise<void>} */
function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => (clearTimeout(timer), reject(signal.reason)), { once: true });
  });
}
