// @ts-check
/**
 * The element's editor: loaded at first need, once; dropped when the model or the page changes.
 * @typedef {import("../api.js").Editor} Editor
 * @typedef {{ options: () => import("../types").CreateOptions, starts: () => void, ready: (editor: Editor) => void, failed: (error: unknown) => void,
 *   progress: (event: import("../types").DownloadProgressEvent) => void }} Host
 */
import { createEditor } from "../api.js";

/** One editor, or none yet. */
export class Loader {
  /** @type {Promise<Editor> | null} */ #editor = null;

  /** @param {Host} host */
  constructor(host) {
    this.host = host;
  }

  get isThere() {
    return this.#editor !== null;
  }

  /** The loaded editor; loading starts with the first call. @returns {Promise<Editor>} */
  get() {
    if (this.#editor) return this.#editor;
    const own = this.#load();
    this.#editor = own;
    own.catch((error) => {
      if (this.#editor === own) this.#editor = null;
      this.host.failed(error);
    });
    return own;
  }

  async #load() {
    this.host.starts();
    const editor = await createEditor({
      ...this.host.options(),
      monitor: (monitor) => monitor.addEventListener("downloadprogress", (event) =>
        this.host.progress(/** @type {import("../types").DownloadProgressEvent} */ (event))),
    });
    this.host.ready(editor);
    return editor;
  }

  /** Ends the worker. */
  drop() {
    this.#editor?.then((editor) => editor.destroy(), () => undefined);
    this.#editor = null;
  }
}
