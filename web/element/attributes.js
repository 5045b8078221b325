// @ts-check
/** Attributes and the properties that reflect them: strings, numbers and switches. */

/** Attribute → kind. Property names are the attributes' in camel case; `readonly` is `readOnly`. */
export const ATTRIBUTES = /** @type {const} */ ({
  src: "text", alt: "text", instruction: "text", model: "text", "model-hash": "text", backend: "text", seed: "seed", candidates: "number",
  rank: "text", lock: "text", region: "text", reveal: "text", poster: "text", recipe: "text", maps: "flag", history: "text",
  name: "text", required: "flag", disabled: "flag", readonly: "flag",
});

/** @param {string} attribute */
export const propertyOf = (attribute) => (attribute === "readonly" ? "readOnly" : attribute.replace(/-(\w)/g, (_, letter) => letter.toUpperCase()));

/** A seed as number, or bigint above 2^53. @param {string | null} text */
function seedOf(text) {
  if (!/^\d{1,20}$/.test(text ?? "")) return 0;
  const seed = BigInt(text ?? "0");
  return seed <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(seed) : seed;
}

/** @param {HTMLElement} element @param {string} name @param {string} kind */
function read(element, name, kind) {
  const value = element.getAttribute(name);
  if (kind === "flag") return value !== null;
  if (kind === "seed") return seedOf(value);
  if (kind === "number") return Math.max(1, Math.trunc(Number(value)) || 1);
  return value ?? "";
}

/** @param {HTMLElement} element @param {string} name @param {string} kind @param {unknown} value */
function write(element, name, kind, value) {
  if (kind === "flag") element.toggleAttribute(name, Boolean(value));
  else if (value === null || value === undefined) element.removeAttribute(name);
  else element.setAttribute(name, String(value));
}

/**
 * @typedef {{ src: string, alt: string, instruction: string, model: string, modelHash: string, backend: string,
 *   seed: number | bigint, candidates: number, rank: string, lock: string, region: string | null, reveal: string,
 *   poster: string, recipe: string, maps: boolean, history: string, name: string, required: boolean,
 *   disabled: boolean, readOnly: boolean }} Reflected
 */

/** A class with a property for each attribute. @param {typeof HTMLElement} type @returns {new () => HTMLElement & Reflected} */
export function reflecting(type) {
  const made = class extends type {};
  for (const [name, kind] of Object.entries(ATTRIBUTES)) {
    Object.defineProperty(made.prototype, propertyOf(name), {
      configurable: true, enumerable: true,
      get() {
        return read(this, name, kind);
      },
      set(value) {
        write(this, name, kind, value);
      },
    });
  }
  return /** @type {any} */ (made);
}

/** Properties set before the element was known become attributes. @param {any} element */
export function upgrade(element) {
  for (const name of [...Object.keys(ATTRIBUTES).map(propertyOf), "image"]) {
    if (!Object.hasOwn(element, name)) continue;
    const value = element[name];
    delete element[name];
    element[name] = value;
  }
}
