// @ts-check
/** An element that takes part in forms: its value is a PNG file. */
import { reflecting } from "./attributes.js";

/** No `HTMLElement` on a server: importing must not throw there. */
const Base = reflecting(typeof HTMLElement === "undefined" ? /** @type {typeof HTMLElement} */ (class {}) : HTMLElement);

/** Value, validity and states. */
export class FormElement extends Base {
  static formAssociated = true;

  #internals = this.attachInternals();
  #has = false;

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
    this.#has = file !== null;
    this.#internals.setFormValue(file, file);
  }

  /** @protected @param {string} message if a picture is required and missing @param {HTMLElement} anchor */
  validate(message, anchor) {
    if (this.required && !this.#has) this.#internals.setValidity({ valueMissing: true }, message, anchor);
    else this.#internals.setValidity({});
  }

  /** What `:state()` selects. @protected @param {string} state @param {string} old */
  showState(state, old) {
    this.#internals.states?.delete(old);
    this.#internals.states?.add(state);
  }
}
