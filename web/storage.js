// @ts-check
/**
 * Where verified chunks are kept: Cache Storage, the origin's private files, or this page's memory.
 * A store keeps bytes by (model hash, name) and promises nothing about them: whoever reads, checks.
 * @typedef {import("./types").Store} Store
 */
import { purgeTrees } from "./archive.js";
import { failure } from "./errors.js";

/** Name of our Cache Storage. */
export const CACHE = "earl-weights-v1";
/** Models above this go to private files when the browser has them. */
const LARGE = 256 * 1024 * 1024;

/** Chunks of this page, where nothing else is allowed. @type {Map<string, Uint8Array<ArrayBuffer>>} */
const memory = new Map();

/** @type {Store} */
const inMemory = {
  kind: "memory",
  get: async (hash, name) => memory.get(`${hash}/${name}`)?.slice() ?? null,
  blob: async () => null,
  has: async (hash, name) => memory.has(`${hash}/${name}`),
  put: async (hash, name, bytes) => void memory.set(`${hash}/${name}`, bytes.slice()),
  delete: async (hash, name) => void memory.delete(`${hash}/${name}`),
};

/** A key no file of the site has. @param {string} hash @param {string} name */
const keyOf = (hash, name) => new URL(`/.earl/${hash}/${name}`, location.origin).href;

/** @returns {Promise<Store>} */
async function inCache() {
  const cache = await caches.open(CACHE);
  return {
    kind: "cache",
    get: async (hash, name) => {
      const found = await cache.match(keyOf(hash, name));
      return found ? new Uint8Array(await found.arrayBuffer()) : null;
    },
    blob: async (hash, name) => (await cache.match(keyOf(hash, name)))?.blob() ?? null,
    has: async (hash, name) => (await cache.match(keyOf(hash, name))) !== undefined,
    put: (hash, name, bytes) => cache.put(keyOf(hash, name), new Response(bytes, { headers: { "content-length": String(bytes.length) } })),
    delete: async (hash, name) => void (await cache.delete(keyOf(hash, name))),
  };
}

/** @returns {Promise<Store>} */
async function inFiles() {
  const root = await (await navigator.storage.getDirectory()).getDirectoryHandle(CACHE, { create: true });
  const folder = (/** @type {string} */ hash, create = false) => root.getDirectoryHandle(hash, { create });
  const file = async (/** @type {string} */ hash, /** @type {string} */ name) => {
    try {
      return await (await (await folder(hash)).getFileHandle(name)).getFile();
    } catch {
      return null;
    }
  };
  return {
    kind: "opfs",
    get: async (hash, name) => {
      const found = await file(hash, name);
      return found ? new Uint8Array(await found.arrayBuffer()) : null;
    },
    blob: file,
    has: async (hash, name) => (await file(hash, name)) !== null,
    put: async (hash, name, bytes) => {
      const writer = await (await (await folder(hash, true)).getFileHandle(name, { create: true })).createWritable();
      await writer.write(bytes); // a file appears whole, when it is closed
      await writer.close();
    },
    delete: async (hash, name) => (await folder(hash)).removeEntry(name).catch(() => undefined),
  };
}

/**
 * The store for a model, and a sentence if it is not the one that lasts.
 * @param {import("./types").Storage} asked @param {number} size
 * @returns {Promise<{ store: Store, notice: string | null }>}
 */
export async function openStore(asked, size) {
  if (asked === "memory") return { store: inMemory, notice: null };
  try {
    const files = asked === "opfs" || (asked === "auto" && size > LARGE);
    return { store: await (files ? inFiles() : inCache()), notice: null };
  } catch {
    return { store: inMemory, notice: "This browser allows no storage here: the model is kept in memory and fetched again next time." };
  }
}

/** Is there room for so many bytes more? @param {number} bytes */
export async function hasRoom(bytes) {
  if (bytes === 0) return true;
  const { quota, usage } = await navigator.storage?.estimate?.().catch(() => ({ quota: undefined, usage: undefined })) ?? {};
  return quota === undefined || quota - (usage ?? 0) >= bytes;
}

/** What to say when there is no room. */
export const NO_ROOM = "There is no room to store the model: it is kept in memory and fetched again next time.";

/** The store of last resort. */
export const memoryStore = inMemory;

/** Removes stored models but those to keep, and without any such list the stored histories too; the bytes freed. @param {string[]} [list] */
export async function purge(list) {
  const keep = list ?? [];
  let freed = 0;
  for (const [key, bytes] of memory) {
    if (keep.includes(key.split("/")[0] ?? "")) continue;
    freed += bytes.length;
    memory.delete(key);
  }
  try {
    freed += await purgeCache(keep);
    freed += await purgeFiles(keep);
    if (!list) freed += await purgeTrees();
  } catch (cause) {
    // Where storage is denied nothing is stored.
    if (!(cause instanceof DOMException && cause.name === "SecurityError")) {
      throw failure("E_STATE", "what is stored can't be removed", { cause, retryable: true, hint: "close the site's other tabs and try again" });
    }
  }
  return freed;
}

/** @param {string[]} keep */
async function purgeCache(keep) {
  if (typeof caches === "undefined" || !(await caches.has(CACHE))) return 0;
  const cache = await caches.open(CACHE);
  let freed = 0;
  for (const request of await cache.keys()) {
    const hash = new URL(request.url).pathname.split("/")[2] ?? "";
    if (keep.includes(hash)) continue;
    freed += Number((await cache.match(request))?.headers.get("content-length") ?? 0);
    await cache.delete(request);
  }
  return freed;
}

/** @param {string[]} keep */
async function purgeFiles(keep) {
  const top = await navigator.storage?.getDirectory?.();
  const root = await top?.getDirectoryHandle(CACHE).catch(() => null);
  if (!root) return 0;
  let freed = 0;
  const entries = /** @type {any} */ (root).entries();
  for await (const [hash, folder] of entries) {
    if (keep.includes(hash)) continue;
    for await (const file of folder.values()) freed += (await file.getFile()).size;
    await root.removeEntry(hash, { recursive: true });
  }
  return freed;
}
