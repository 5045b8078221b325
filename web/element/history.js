// @ts-check
/**
 * A tree of pictures: each edit hangs below the picture it was made from; going on from any of them makes a branch.
 * @typedef {{ id: number, parent: number | null, image: Blob, data: ImageData, recipe: import("../types").Recipe | null,
 *   result: import("../types").EditResult | null, label: string }} Node
 */

/** Most pictures kept, and most bytes of their pixels and files. */
export const LIMITS = { nodes: 50, bytes: 64 * 1024 * 1024 };

/** @param {Node} node */
const bytesOf = ({ image, data }) => image.size + data.data.length;

/** Where one is in the tree, and the way back and forth. */
export class History {
  /** @type {Map<number, Node>} */ #nodes = new Map();
  /** The child to go to on redo. @type {Map<number, number>} */ #next = new Map();
  /** @type {number | null} */ #at = null;
  #counter = 1;

  /** The picture one is at. @returns {Node | null} */
  get current() {
    return this.#at === null ? null : this.#nodes.get(this.#at) ?? null;
  }

  /** All pictures, oldest first. */
  get nodes() {
    return [...this.#nodes.values()];
  }

  /** The picture a picture was made from, if it is known and has the same size. @param {Node} node */
  before({ parent, data }) {
    const from = this.#nodes.get(parent ?? -1)?.data;
    return from && from.width === data.width && from.height === data.height ? from : null;
  }

  get canUndo() {
    const parent = this.current?.parent;
    return parent !== null && parent !== undefined && this.#nodes.has(parent);
  }

  get canRedo() {
    return this.#at !== null && this.#nodes.has(this.#next.get(this.#at) ?? -1);
  }

  /** Hangs a picture below the current one and goes there. @param {Omit<Node, "id" | "parent">} picture @returns {Node} */
  add(picture) {
    const node = { ...picture, id: this.#counter++, parent: this.#at };
    this.#nodes.set(node.id, node);
    if (this.#at !== null) this.#next.set(this.#at, node.id);
    this.#at = node.id;
    this.#shrink();
    return node;
  }

  /** @param {number} id */
  go(id) {
    const node = this.#nodes.get(id);
    if (!node) return null;
    if (node.parent !== null) this.#next.set(node.parent, id);
    this.#at = id;
    return node;
  }

  undo() {
    return this.canUndo ? this.go(this.current?.parent ?? -1) : null;
  }

  redo() {
    return this.canRedo ? this.go(this.#next.get(this.#at ?? -1) ?? -1) : null;
  }

  clear() {
    this.#nodes.clear();
    this.#next.clear();
    this.#at = null;
  }

  /** Drops the oldest leaf, never the current picture, until the limits hold; a root without children is a leaf too. */
  #shrink() {
    const bytes = () => this.nodes.reduce((sum, node) => sum + bytesOf(node), 0);
    while (this.#nodes.size > LIMITS.nodes || bytes() > LIMITS.bytes) {
      const parents = new Set(this.nodes.map(({ parent }) => parent));
      // A single line has no leaf but the current picture: then its oldest picture goes.
      const oldest = this.nodes.find(({ id }) => !parents.has(id) && id !== this.#at) ?? this.nodes.find(({ id }) => id !== this.#at);
      if (!oldest) return;
      this.#nodes.delete(oldest.id);
      this.#next.delete(oldest.id);
    }
  }
}
