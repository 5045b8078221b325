// @ts-check
/**
 * Trees of pictures in IndexedDB, each under a name: a record for every picture, one for the place in the tree.
 * What differs alone is written, each time in one transaction: two tabs with the same tree add to it and lose nothing of each other's.
 * Where storage is denied or full, that is told once and nothing more is written.
 *
 * @typedef {{ id: string, parent: string | null, made: number, bytes: number }} Entry what every picture has; the rest is its owner's
 * @typedef {{ at: string | null, next?: [string, string][], given?: string }} Place
 */
/** @template T @typedef {{ entries: T[], place: Place }} Tree oldest first */

const DATABASE = "earl-history-v1";
/** Most pictures of a tree, and most bytes of their pixels and files. */
export const LIMITS = { nodes: 50, bytes: 64 * 1024 * 1024 };
/** Most trees of a site: the one that rested longest goes first. */
const TREES = 16;

/** The name of a tree: the page's address without its query, and who asks. @param {string} owner */
export const treeName = (owner) => `${location.pathname}#${owner}`;

let last = 0;
/** Of a picture new to all trees: a name no other has, and when it came, later than all before. */
export function identity() {
  last = Math.max(last + 0.001, performance.timeOrigin + performance.now());
  return { id: crypto.getRandomValues(new Uint32Array(4)).join("-"), made: last };
}

/**
 * Ids of those that go so that the limits hold: the oldest leaf first, never the one at hand nor what it was made from; a root without children is a leaf too.
 * @param {Entry[]} entries oldest first @param {string | null} at
 */
export function surplus(entries, at) {
  const left = [...entries];
  const kept = [at, entries.find(({ id }) => id === at)?.parent];
  /** @type {string[]} */
  const gone = [];
  while (left.length > LIMITS.nodes || left.reduce((sum, { bytes }) => sum + bytes, 0) > LIMITS.bytes) {
    const parents = new Set(left.map(({ parent }) => parent));
    const free = left.filter(({ id }) => !kept.includes(id)); // one edit can always be undone
    const oldest = free.find(({ id }) => !parents.has(id)) ?? free[0]; // a single line has no leaf but the picture at hand
    if (!oldest) break;
    left.splice(left.indexOf(oldest), 1);
    gone.push(oldest.id);
  }
  return gone;
}

/** @template T @param {IDBRequest<T>} request @returns {Promise<T>} */
const answer = (request) => new Promise((resolve, reject) => {
  request.onsuccess = () => resolve(request.result);
  request.onerror = () => reject(request.error);
});

/** The database; null if there is none and none is to be made. @param {boolean} make @returns {Promise<IDBDatabase | null>} */
const open = (make) => new Promise((resolve, reject) => {
  const request = indexedDB.open(DATABASE, 1);
  request.onupgradeneeded = () => {
    if (!make) return request.transaction?.abort();
    request.result.createObjectStore("pictures", { keyPath: ["tree", "id"] });
    request.result.createObjectStore("places", { keyPath: "tree" });
  };
  request.onsuccess = () => resolve(request.result);
  request.onerror = () => (!make && request.error?.name === "AbortError" ? resolve(null) : reject(request.error));
  request.onblocked = () => reject(new DOMException("another tab holds the database", "AbortError"));
});

/**
 * One transaction over both stores. The database is open no longer than that, so that no tab is in the way of one that deletes it.
 * @template T @param {boolean} make @param {(pictures: IDBObjectStore, places: IDBObjectStore) => T | Promise<T>} act
 * @returns {Promise<T | null>} null where there is no database
 */
async function transact(make, act) {
  const database = await open(make);
  if (!database) return null;
  try {
    const transaction = database.transaction(["pictures", "places"], "readwrite");
    const done = new Promise((resolve, reject) => {
      transaction.oncomplete = resolve;
      transaction.onabort = () => reject(transaction.error);
    });
    const [value] = await Promise.all([act(transaction.objectStore("pictures"), transaction.objectStore("places")), done]);
    return value;
  } finally {
    database.close();
  }
}

/** @type {Promise<unknown>} */
let turn = Promise.resolve();
/** What this page asks of the database happens one after the other. @template T @param {() => Promise<T>} act @returns {Promise<T>} */
function inTurn(act) {
  const done = turn.then(act);
  turn = done.catch(() => undefined);
  return done;
}

/** Keys of all pictures of a tree. @param {string} tree */
const rangeOf = (tree) => IDBKeyRange.bound([tree], [tree, []]);

/** @param {IDBObjectStore} pictures @param {string} tree @returns {Promise<Entry[]>} oldest first */
const entriesOf = async (pictures, tree) => (await answer(pictures.getAll(rangeOf(tree)))).sort((a, b) => a.made - b.made);

/** @param {IDBObjectStore} pictures @param {IDBObjectStore} places @param {string} tree */
function drop(pictures, places, tree) {
  pictures.delete(rangeOf(tree));
  places.delete(tree);
}

/** Names of trees that someone on this page has. @type {Set<string>} */
const taken = new Set();

/** One tree, for one who shows it: who asks for a name that another on this page has gets the next one. @template {Entry} T */
export class Archive {
  /** Told when the tree can't be changed. */
  failed = () => {};
  /** Pictures that this page has put there or found there. @type {Set<string>} */ #stored = new Set();
  #broken = false;

  /** @param {string} name */
  constructor(name) {
    this.name = name;
    for (let next = 2; taken.has(this.name); next++) this.name = `${name}:${next}`;
    taken.add(this.name);
  }

  /** What is stored. @returns {Promise<Tree<T>>} */
  async load() {
    const found = await inTurn(() => transact(false, async (pictures, places) => {
      const entries = /** @type {T[]} */ (await entriesOf(pictures, this.name));
      this.#stored = new Set(entries.map(({ id }) => id));
      return { entries, place: /** @type {Place | undefined} */ (await answer(places.get(this.name))) };
    })).catch(() => null);
    return { entries: found?.entries ?? [], place: found?.place ?? { at: null } };
  }

  /** Stores what is new among these, and one that changed; removes those this page has dropped. @param {T[]} entries @param {Place} place @param {string} [changed] */
  keep(entries, place, changed) {
    this.#try(async () => {
      if (this.#broken) return;
      const ids = new Set(entries.map(({ id }) => id));
      await transact(true, async (pictures, places) => {
        for (const entry of entries) if (!this.#stored.has(entry.id) || entry.id === changed) pictures.put({ ...entry, tree: this.name });
        for (const id of this.#stored) if (!ids.has(id)) pictures.delete([this.name, id]);
        places.put({ ...place, tree: this.name, used: Date.now() });
        for (const id of surplus(await entriesOf(pictures, this.name), place.at)) pictures.delete([this.name, id]);
        /** @type {{ tree: string, used: number }[]} */
        const trees = await answer(places.getAll());
        for (const { tree } of trees.sort((a, b) => b.used - a.used).slice(TREES)) drop(pictures, places, tree);
      });
      this.#stored = ids;
    });
  }

  /** Deletes the tree. */
  forget() {
    this.#try(async () => {
      await transact(false, (pictures, places) => drop(pictures, places, this.name));
      this.#stored.clear();
      this.#broken = false;
    });
  }

  /** Leaves the name to others. */
  close() {
    taken.delete(this.name);
  }

  /** @param {() => Promise<void>} act */
  #try(act) {
    inTurn(act).catch(() => {
      this.#broken = true;
      this.failed();
    });
  }
}

/** Is there a tree of this name? @param {string} name */
export const isStored = async (name) => Boolean(await transact(false, (_, places) => answer(places.getKey(name))).catch(() => null));

/** Bytes of files and numbers in what is stored. @param {unknown} value @returns {number} */
function bytesIn(value) {
  if (value instanceof Blob) return value.size;
  if (ArrayBuffer.isView(value)) return value.byteLength;
  return value instanceof Object ? Object.values(value).reduce((sum, one) => sum + bytesIn(one), 0) : 0;
}

/** Deletes all trees and their database; the bytes freed. */
export async function purgeTrees() {
  if (typeof indexedDB === "undefined") return 0;
  const freed = await inTurn(() => transact(false, async (pictures, places) => {
    const bytes = bytesIn(await answer(pictures.getAll()));
    pictures.clear();
    places.clear();
    return bytes;
  }));
  if (freed === null) return 0;
  const request = indexedDB.deleteDatabase(DATABASE);
  // It is empty: where another tab is just reading it, it may stay.
  await new Promise((resolve) => (request.onsuccess = request.onerror = request.onblocked = resolve));
  return freed;
}
