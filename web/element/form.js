// @ts-check
/**
 * An element that takes part in forms: its value is a PNG file.
 * @typedef {import("./attributes.js").Reflected} Reflected
 */
import { reflecting } from "./attributes.js";

/** No `HTMLElement` on a server: importing must not throw there. */
const Base = reflecting(typeof HTMLElement === "undefined" ? /** @type {typeof HTMLElement} */ (class {}) : HTMLElement);

/** Largest picture that the browser is given to remember when the page is left, in bytes. */
const REMEMBERED = 1024 * 1024;

/** @param {Blob} image */
async function remembered(image) {
  const bytes = new Uint8Array(await image.arrayBuffer());
  let text = "";
  for (let at = 0; at < bytes.length; at += 4096) text += String.fromCharCode(...bytes.subarray(at, at + 4096));
  return btoa(text);
}

/** Back from text; null if it is none of ours. @param {unknown} state */
export function recalled(state) {
  if (state instanceof Blob) return state;
  try {
    return typeof state === "string" ? new Blob([Uint8Array.from(atob(state), (sign) => sign.charCodeAt(0))], { type: "image/png" }) : null;
  } catch {
    return null;
  }
}

/** Value, validity and states. */
export class FormElement extends Base {
  static formAssociated = true;

  #internals = this.attachInternals();
  /** @type {File | null} */ #file = null;
  /** The file as text. */ #text = "";

  /** The form it belongs to. */
  get form() {
    return this.#internals.form;
  }

  /** What is wrong with the value, if anything. */
  get validity() {
    return this.#internals.validity;
  }

  /** The same in words. */
  get validationMessage() {
    return this.#internals.validationMessage;
  }

  /** Is the value valid? Fires `invalid` if not. */
  checkValidity() {
    return this.#internals.checkValidity();
  }

  /** The same, and tells the user. */
  reportValidity() {
    return this.#internals.reportValidity();
  }

  /** The form gets this picture, or nothing. @protected @param {Blob | null} image */
  setValue(image) {
    const file = image && new File([image], `${this.name || "earl"}.png`, { type: "image/png" });
    this.#file = file;
    this.#text = "";
    this.#internals.setFormValue(file);
    if (file && file.size <= REMEMBERED) remembered(file).then((text) => void (this.#file === file && (this.#text = text)), () => undefined);
  }

  /** Lets the browser remember the picture when the page is left: it does so for text, not for files. @protected @param {AbortSignal} signal */
  rememberValue(signal) {
    window.addEventListener("pagehide", () => this.#internals.setFormValue(null, this.#text || null), { signal });
    window.addEventListener("pageshow", ({ persisted }) => persisted && this.#internals.setFormValue(this.#file), { signal });
  }

  /** @protected @param {string} message if a picture is required and missing @param {HTMLElement} anchor */
  validate(message, anchor) {
    if (this.required && !this.#file) this.#internals.setValidity({ valueMissing: true }, message, anchor);
    else this.#internals.setValidity({});
  }

  /** What `:state()` selects. @protected @param {string} state @param {string} old */
  showState(state, old) {
    this.#internals.states?.delete(old);
    this.#internals.states?.add(state);
  }
}
