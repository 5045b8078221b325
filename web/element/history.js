// @ts-check
/**
 * A tree of pictures: each edit hangs below the picture it was made from; going on from any of them makes a branch.
 * It lives in memory; `keep` has it stored in the browser as well, from the first edit on.
 * @typedef {{ image: Blob, data: ImageData, recipe: import("../types").Recipe | null, result: import("../types").EditResult | null, label: string }} Picture
 * @typedef {import("../archive.js").Entry & Picture} Node
 * @typedef {import("../archive.js").Entry & Pick<Picture, "image" | "recipe" | "label">} Stored
 */
import { Archive, identity, surplus } from "../archive.js";
import { sha256 } from "../weights.js";
import { openPicture } from "./source.js";

/** @param {Picture} picture */
const bytesOf = ({ image, data }) => image.size + data.data.length;

/** Most bytes of a file that are hashed: browsers do it on the page's thread. */
const HASHED = 4 << 20;

/** What tells a file from others: all of it, of a large one its length and ends. @param {Blob} file */
const marks = (file) => (file.size > HASHED ? new Blob([`${file.size}`, file.slice(0, HASHED / 2), file.slice(-HASHED / 2)]) : file);

/** A stored picture with its pixels; null if it can't be read any more. @param {Stored} stored @returns {Promise<Node | null>} */
const revived = (stored) => openPicture(stored.image).then(({ data }) => ({ ...stored, data, result: null }), () => null);

/** Where one is in the tree, and the way back and forth. */
export class History {
  /** @type {Map<string, Node>} */ #nodes = new Map();
  /** The child to go to on redo. @type {Map<string, string>} */ #next = new Map();
  /** @type {string | null} */ #at = null;
  /** @type {Archive<Stored> | null} */ #archive = null;
  /** Resolves when what was stored is back. @type {Promise<boolean>} */ #ready = Promise.resolve(false);
  /** Hash of the picture the page came with. */ #given = "";

  /** The picture one is at. @returns {Node | null} */
  get current() {
    return this.#nodes.get(this.#at ?? "") ?? null;
  }

  /** All pictures, oldest first. */
  get nodes() {
    return [...this.#nodes.values()];
  }

  /** The picture that all edits on the way to the current one began with. */
  get root() {
    let root = this.current;
    for (let up = root; up; up = this.#nodes.get(up.parent ?? "") ?? null) root = up;
    return root;
  }

  /** The picture a picture was made from, if it is known and has the same size. @param {Node} node */
  before({ parent, data }) {
    const from = this.#nodes.get(parent ?? "")?.data;
    return from && from.width === data.width && from.height === data.height ? from : null;
  }

  get canUndo() {
    return this.#nodes.has(this.current?.parent ?? "");
  }

  get canRedo() {
    return this.#nodes.has(this.#next.get(this.#at ?? "") ?? "");
  }

  /** Hangs a picture below the current one and goes there. @param {Picture} picture */
  add(picture) {
    this.#put(picture, this.#at);
  }

  /** A picture begins a tree of its own. @param {Picture} picture @param {string} [id] */
  begin(picture, id) {
    this.#put(picture, null, id);
  }

  /** @param {Picture} picture @param {string | null} parent @param {string} [id] */
  #put(picture, parent, id) {
    const node = { ...picture, ...identity(), ...(id ? { id } : {}), parent, bytes: bytesOf(picture) };
    this.#nodes.set(node.id, node);
    if (parent !== null) this.#next.set(parent, node.id);
    this.#at = node.id;
    this.#shrink();
    this.#save();
  }

  /**
   * A picture comes from outside; is it on the stage then? Without an archive it begins anew. With one it begins another tree,
   * unless it is there already; and the picture that a page comes with again does not take one away from where one was.
   * @param {Picture} picture @param {boolean} first is it the first the page gives?
   */
  async open(picture, first) {
    await this.#ready;
    if (!this.#archive) {
      this.clear();
      this.begin(picture);
      return true;
    }
    if (picture.recipe && this.current) return false; // a form's memory of an edit that is in the tree
    const hash = await sha256(new Uint8Array(await marks(picture.image).arrayBuffer()));
    const again = first && hash !== "" && this.#given === hash && this.current !== null;
    if (first) this.#given = hash;
    if (again) return false;
    if (this.#nodes.has(hash)) this.go(hash);
    else this.begin(picture, hash);
    return true;
  }

  /** Another picture takes a node's place. @param {Node} node @param {Partial<Picture>} picture */
  replace(node, picture) {
    Object.assign(node, picture);
    node.bytes = bytesOf(node);
    this.#save(node.id);
  }

  /** @param {string} id */
  go(id) {
    const node = this.#nodes.get(id);
    if (!node) return null;
    if (node.parent !== null) this.#next.set(node.parent, id);
    this.#at = id;
    this.#save();
    return node;
  }

  undo() {
    return this.canUndo ? this.go(this.current?.parent ?? "") : null;
  }

  redo() {
    return this.canRedo ? this.go(this.#next.get(this.#at ?? "") ?? "") : null;
  }

  /** Forgets all pictures, the stored ones too. */
  clear() {
    this.#nodes.clear();
    this.#next.clear();
    this.#at = null;
    this.#archive?.forget();
  }

  /**
   * Stores the tree under a name from now on and brings back what was stored; resolves with whether there was something. Null if it is stored already.
   * @param {string} name @param {() => void} failed
   */
  keep(name, failed) {
    if (this.#archive) return null;
    this.#archive = new Archive(name);
    this.#archive.failed = failed;
    return (this.#ready = this.#restore(this.#archive));
  }

  /** @param {Archive<Stored>} archive */
  async #restore(archive) {
    const { entries, place } = await archive.load();
    const stored = (await Promise.all(entries.map(revived))).filter((node) => node !== null);
    if (this.#archive !== archive) return false;
    const own = this.nodes;
    this.#nodes = new Map([...stored, ...own].map((node) => [node.id, node]));
    this.#next = new Map([...(place.next ?? []), ...this.#next]);
    this.#given ||= place.given ?? "";
    if (own.length === 0) this.#at = this.#nodes.has(place.at ?? "") ? place.at : stored.at(-1)?.id ?? null;
    this.#shrink();
    if (own.length > 0) this.#save();
    return stored.length > 0;
  }

  /** Stores nothing any more and deletes what is stored. */
  unkeep() {
    this.#archive?.forget();
    this.release();
  }

  /** Stores nothing any more; what is stored stays. */
  release() {
    this.#archive?.close();
    this.#archive = null;
  }

  /** Pictures alone are not stored, edits are, and what they were made from. @param {string} [changed] */
  #save(changed) {
    if (!this.nodes.some(({ recipe }) => recipe)) return;
    const stored = this.nodes.map(({ data: _, result: __, ...rest }) => rest);
    this.#archive?.keep(stored, { at: this.#at, next: [...this.#next], given: this.#given }, changed);
  }

  #shrink() {
    for (const id of surplus(this.nodes, this.#at)) {
      this.#nodes.delete(id);
      this.#next.delete(id);
    }
  }
}
