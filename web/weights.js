// @ts-check
/**
 * A model's bytes: manifest read and checked, chunks from memory, storage or the site, each hashed
 * when it arrives and again whenever it is read back. Runs on the page; WebAssembly checks once more.
 *
 *   manifest → room and memory → lock → stored chunk? → fetched chunk → hash → store → hand over
 *
 * @typedef {import("./types").Manifest} Manifest
 * @typedef {import("./types").Store} Store
 * @typedef {{ url: URL, bytes: Uint8Array<ArrayBuffer>, hash: string, manifest: Manifest }} Model
 */
import { breathe } from "./breathe.js";
import { EarlError, failure } from "./errors.js";
import { LIMITS, fetchBytes } from "./fetching.js";
import { parseManifest } from "./manifest.js";
import { FULL } from "./options.js";
import { NO_ROOM, hasRoom, memoryStore, openStore } from "./storage.js";

/** SHA-256 in hex; empty where the browser offers none (pages without HTTPS): WebAssembly still checks. @param {Uint8Array<ArrayBuffer>} bytes */
export async function sha256(bytes) {
  if (!crypto.subtle) return "";
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Stored manifests by their address, so that a stored model opens without a network. @param {URL} url @param {string} base */
const manifestName = async (url, base) => `manifest-${(await sha256(new TextEncoder().encode(url.href))) || base}`;
/** Where stored manifests are listed, in place of a model's hash. */
const MANIFESTS = "manifests";

/**
 * Reads and checks a manifest. Without a network a stored one serves.
 * @param {import("./types").ModelOptions} options @param {AbortSignal} [signal] @returns {Promise<Model>}
 */
export async function openModel(options, signal) {
  const folder = new URL(options.model ?? new URL("../models/tiny/", import.meta.url), document.baseURI);
  const url = new URL("manifest.json", folder.href.endsWith("/") ? folder : `${folder.href}/`);
  const { store } = await openStore(options.storage ?? "auto", 0);
  const name = await manifestName(url, "any");
  let bytes;
  try {
    bytes = await fetchBytes(url, { signal, cache: "no-cache" });
  } catch (error) {
    if (!(error instanceof EarlError) || error.code !== "E_OFFLINE") throw error;
    bytes = await store.get(MANIFESTS, name);
    if (!bytes) throw error;
  }
  const manifest = parseManifest(bytes);
  const hash = await sha256(bytes);
  const wanted = options.modelHash?.toLowerCase();
  if (wanted && hash && wanted !== hash) {
    throw failure("E_MANIFEST_MISMATCH", `${url.pathname} has the hash ${hash.slice(0, 12)}…, not ${wanted.slice(0, 12)}…`);
  }
  return { url, bytes, hash: hash || wanted || url.href, manifest };
}

/** Distinct chunks of a manifest. @param {Manifest} manifest */
export const distinct = (manifest) => [...new Map(manifest.chunks.map((chunk) => [chunk.sha256, chunk])).values()];

/** Bytes of a model that are stored. @param {Model} model @param {Store} store */
export async function storedBytes(model, store) {
  const found = await Promise.all(distinct(model.manifest).map(async (chunk) => ((await store.has(model.hash, chunk.sha256)) ? chunk.length : 0)));
  return found.reduce((sum, length) => sum + length, 0);
}

/** Name of the lock that one tab holds while it fetches. @param {string} hash */
export const lockName = (hash) => `earl-weights:${hash}`;

/** Of a published model. @param {Manifest} manifest */
const isLarge = ({ model }) => model.tier === FULL;

/** Memory an edit with this model needs, in bytes: f32 weights, but for the packed ones of a published model, the stream, and room to work. @param {Manifest} manifest */
export function memoryOf(manifest) {
  const wide = isLarge(manifest) ? manifest.tensors.filter(({ dtype }) => dtype.startsWith("f")) : manifest.tensors;
  const values = wide.reduce((sum, { shape }) => sum + shape.reduce((product, axis) => product * axis, 1), 0);
  return values * 4 + manifest.size + 48 * 1024 * 1024;
}

/** Who names a store that lasts wants that one or none. @param {import("./types").Storage | undefined} storage */
const insists = (storage) => storage === "cache" || storage === "opfs";

/** @param {number} bytes @param {unknown} [cause] */
const noRoom = (bytes, cause) => failure("E_QUOTA", `the browser has no room to store ${(bytes / 1e6).toFixed(1)} MB of the model`, { cause });

export const declined = () => failure("E_DOWNLOAD_DECLINED", "the page declined to fetch the model");

/** Counts bytes over all chunks; what it tells never decreases. */
class Progress {
  /** @type {Map<string, number>} */ #counts = new Map();
  #highest = -1;
  #cached = 0;

  /** @param {Model} model @param {(progress: import("./types").DownloadDetail) => void} tell */
  constructor(model, tell) {
    this.total = distinct(model.manifest).reduce((sum, { length }) => sum + length, 0);
    this.files = distinct(model.manifest).length;
    this.tell = tell;
    this.#say();
  }

  /** @param {string} chunk @param {number} count @param {boolean} [cached] */
  count(chunk, count, cached = false) {
    this.#counts.set(chunk, count);
    if (cached) this.#cached += count;
    this.#say();
  }

  #say() {
    const sum = [...this.#counts.values()].reduce((a, b) => a + b, 0);
    if (sum <= this.#highest) return;
    this.#highest = sum;
    this.tell({ status: "progress_total", bytesLoaded: sum, bytesTotal: this.total, bytesFromCache: this.#cached, files: this.files });
  }
}

/**
 * The chunks in the manifest's order, verified; equal chunks share their bytes.
 * @param {Model} model
 * @param {{ storage?: import("./types").Storage, signal?: AbortSignal | undefined, onProgress?: (progress: import("./types").DownloadDetail) => void,
 *   onNotice?: (notice: string) => void, mayFetch?: (missing: number, stored: number) => boolean }} how
 * @returns {Promise<import("./types").Chunks>} blobs, which the browser may keep outside its memory, of a published model
 */
export async function loadChunks(model, how) {
  const { signal, mayFetch } = how;
  const opened = await openStore(how.storage ?? "auto", model.manifest.size);
  if (opened.notice) how.onNotice?.(opened.notice);
  const progress = new Progress(model, how.onProgress ?? (() => undefined));
  const load = async () => {
    signal?.throwIfAborted();
    const stored = await storedBytes(model, opened.store);
    const missing = progress.total - stored;
    if (missing > 0 && mayFetch && !mayFetch(missing, stored)) throw declined();
    let store = opened.store;
    if (store.kind !== "memory" && !(await hasRoom(missing))) {
      if (insists(how.storage)) throw noRoom(missing);
      how.onNotice?.(NO_ROOM);
      store = memoryStore;
    }
    return gather(model, [opened.store, memoryStore], store, progress, how);
  };
  // One tab fetches, the others wait and then find everything stored.
  const locks = navigator.locks;
  return locks ? locks.request(lockName(model.hash), signal ? { signal } : {}, load) : load();
}

/**
 * @param {Model} model @param {Store[]} from @param {Store} to @param {Progress} progress
 * @param {{ storage?: import("./types").Storage, signal?: AbortSignal | undefined, onNotice?: (notice: string) => void }} how
 */
async function gather(model, from, to, progress, how) {
  const chunks = distinct(model.manifest);
  /** @type {Map<string, Uint8Array<ArrayBuffer> | Blob>} */
  const found = new Map();
  const keeper = { store: to, insists: insists(how.storage) };
  const failed = new AbortController();
  const signal = how.signal ? AbortSignal.any([how.signal, failed.signal]) : failed.signal;
  const work = async () => {
    for (let chunk = chunks.shift(); chunk; chunk = chunks.shift()) {
      signal.throwIfAborted();
      const bytes = await fromStores(model, chunk, from, progress) ?? await fromSite(model, chunk, keeper, progress, signal, how.onNotice);
      found.set(chunk.sha256, isLarge(model.manifest) ? ((await keeper.store.blob(model.hash, chunk.sha256)) ?? new Blob([bytes])) : bytes);
    }
  };
  try {
    await Promise.all(Array.from({ length: LIMITS.parallel }, work));
  } catch (error) {
    failed.abort();
    how.signal?.throwIfAborted();
    throw error;
  }
  if (keeper.store.kind !== "memory") await keeper.store.put(MANIFESTS, await manifestName(model.url, "any"), model.bytes).catch(() => undefined);
  return /** @type {import("./types").Chunks} */ (model.manifest.chunks.map(({ sha256 }) => found.get(sha256)));
}

/** A stored chunk; a damaged one is deleted. @param {Model} model @param {import("./types").Chunk} chunk @param {Store[]} from @param {Progress} progress */
async function fromStores(model, chunk, from, progress) {
  for (const store of from) {
    const bytes = await store.get(model.hash, chunk.sha256).catch(() => null);
    if (!bytes) continue;
    if (bytes.length === chunk.length && (await fits(bytes, chunk))) {
      progress.count(chunk.sha256, chunk.length, true);
      return bytes;
    }
    await store.delete(model.hash, chunk.sha256);
  }
  return null;
}

/**
 * A chunk from the site; a damaged one is fetched once more, past every cache. Stored when it is whole.
 * @param {Model} model @param {import("./types").Chunk} chunk @param {{ store: Store, insists: boolean }} keeper
 * @param {Progress} progress @param {AbortSignal} signal @param {((notice: string) => void) | undefined} onNotice
 */
async function fromSite(model, chunk, keeper, progress, signal, onNotice) {
  const url = new URL(`chunks/${chunk.sha256}.bin`, model.url);
  const fetchOnce = async (/** @type {RequestCache} */ cache) => {
    const bytes = await fetchBytes(url, { signal, cache, expected: chunk.length, onBytes: (count) => progress.count(chunk.sha256, count) });
    if (!(await fits(bytes, chunk))) throw failure("E_HASH_MISMATCH", `${url.pathname} is damaged: its SHA-256 is not its name`);
    return bytes;
  };
  let bytes;
  try {
    bytes = await fetchOnce("default");
  } catch (error) {
    if (!(error instanceof EarlError) || !["E_HASH_MISMATCH", "E_SIZE_MISMATCH"].includes(error.code)) throw error;
    bytes = await fetchOnce("reload");
  }
  await breathe();
  try {
    await keeper.store.put(model.hash, chunk.sha256, bytes);
  } catch (cause) {
    if (keeper.insists) throw noRoom(bytes.length, cause);
    if (keeper.store.kind !== "memory") onNotice?.(NO_ROOM);
    keeper.store = memoryStore;
    await memoryStore.put(model.hash, chunk.sha256, bytes);
  }
  return bytes;
}

/** @param {Uint8Array<ArrayBuffer>} bytes @param {import("./types").Chunk} chunk */
async function fits(bytes, chunk) {
  await breathe(); // browsers copy what is to be hashed, and what is to be stored: not both in one task
  const hash = await sha256(bytes);
  return hash === "" || hash === chunk.sha256;
}
