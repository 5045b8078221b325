// @ts-check
/**
 * The element's hold of an editor: taken at first need, once; let go of when the model or the page changes.
 * @typedef {import("../api.js").Editor} Editor
 * @typedef {{ options: () => Omit<import("./shared.js").Asked, "signal">, starts: () => void, ready: (editor: Editor) => void, failed: (error: unknown) => void,
 *   progress: (event: import("../types").DownloadProgressEvent) => void }} Host
 */
import { borrow } from "./shared.js";

/** One editor, or none yet. */
export class Loader {
  /** @type {Promise<Editor> | null} */ #editor = null;
  #hold = new AbortController();

  /** @param {Host} host */
  constructor(host) {
    this.host = host;
  }

  get isThere() {
    return this.#editor !== null;
  }

  /** The loaded editor; loading starts with the first call. @returns {Promise<Editor>} */
  get() {
    return (this.#editor ??= this.#load(this.#hold.signal));
  }

  /** @param {AbortSignal} signal @returns {Promise<Editor>} */
  async #load(signal) {
    const { host } = this;
    host.starts();
    try {
      const editor = await borrow({ ...host.options(), signal }, host.progress);
      signal.throwIfAborted();
      host.ready(editor);
      return editor;
    } catch (error) {
      if (!signal.aborted) {
        this.drop(error);
        host.failed(error);
      }
      throw error;
    }
  }

  /** Lets go of the editor; whoever waits for it gets the reason. @param {unknown} reason */
  drop(reason) {
    this.#hold.abort(reason);
    this.#hold = new AbortController();
    this.#editor = null;
  }
}
