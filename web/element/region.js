// @ts-check
/**
 * The box over the picture that may change: moved and sized by pointer, by keys, or by four numbers.
 * All in the picture's own pixels.
 * @typedef {import("../types").Rect} Rect
 */

/** Smallest side. */
const LEAST = 1;

/** The box and its fields. */
export class RegionBox {
  /** @type {Rect | null} */ #rect = null;
  #size = { width: 1, height: 1 };

  /** @param {import("./view.js").View} view @param {(text: string | null) => void} changed */
  constructor(view, changed) {
    this.view = view;
    this.box = view.region;
    this.changed = changed;
    this.box.addEventListener("keydown", (event) => this.#key(event));
    this.box.addEventListener("pointerdown", (event) => this.#drag(event));
    for (const [name, field] of Object.entries(view.fields)) {
      field.addEventListener("change", () => this.#rect && this.#set({ ...this.#rect, [name]: Math.round(Number(field.value)) || 0 }));
    }
  }

  /** Shows what an attribute says on a picture of this size, without telling. @param {string | null} text @param {{ width: number, height: number } | null} size */
  show(text, size) {
    const rect = size ? parseRect(text) : null;
    this.#size = size ?? { width: 1, height: 1 };
    this.#rect = rect && this.#within(rect);
    this.view.fieldRow.hidden = rect === null;
    this.view.regionToggle.setAttribute("aria-pressed", String(rect !== null));
    this.#draw();
  }

  /** Takes the box away, or puts one of half the size in the middle. */
  toggle() {
    if (this.#rect) return this.changed(null);
    const [width, height] = [Math.ceil(this.#size.width / 2), Math.ceil(this.#size.height / 2)];
    this.changed(rectText({ x: Math.floor((this.#size.width - width) / 2), y: Math.floor((this.#size.height - height) / 2), width, height }));
  }

  /** @param {Rect} rect @returns {Rect} */
  #within({ x, y, width, height }) {
    const limit = (/** @type {number} */ value, /** @type {number} */ least, /** @type {number} */ most) => Math.min(Math.max(value, least), Math.max(least, most));
    const [w, h] = [limit(width, LEAST, this.#size.width), limit(height, LEAST, this.#size.height)];
    return { x: limit(x, 0, this.#size.width - w), y: limit(y, 0, this.#size.height - h), width: w, height: h };
  }

  /** @param {Rect} rect */
  #set(rect) {
    this.#rect = this.#within(rect);
    this.#draw();
    this.changed(rectText(this.#rect));
  }

  #draw() {
    const rect = this.#rect;
    this.box.hidden = rect === null;
    if (!rect) return;
    const part = (/** @type {number} */ value, /** @type {number} */ whole) => `${(100 * value) / whole}%`;
    const { width, height } = this.#size;
    Object.assign(this.box.style, { left: part(rect.x, width), top: part(rect.y, height), width: part(rect.width, width), height: part(rect.height, height) });
    this.box.setAttribute("aria-description", `${rect.x}, ${rect.y}, ${rect.width} × ${rect.height}`);
    for (const name of /** @type {const} */ (["x", "y", "width", "height"])) this.view.fields[name].value = String(rect[name]);
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!step || !this.#rect) return;
    event.preventDefault();
    const by = event.shiftKey ? 10 : 1;
    const [dx, dy] = [(step[0] ?? 0) * by, (step[1] ?? 0) * by];
    const { x, y, width, height } = this.#rect;
    this.#set(event.altKey ? { x, y, width: width + dx, height: height + dy } : { x: x + dx, y: y + dy, width, height });
  }

  /** @param {PointerEvent} event */
  #drag(event) {
    const start = this.#rect;
    if (!start || event.button !== 0) return;
    const sizing = event.target !== this.box;
    const frame = this.view.stage.getBoundingClientRect();
    const [fx, fy] = [this.#size.width / frame.width, this.#size.height / frame.height];
    this.box.setPointerCapture(event.pointerId);
    const move = (/** @type {PointerEvent} */ at) => {
      const [dx, dy] = [Math.round((at.clientX - event.clientX) * fx), Math.round((at.clientY - event.clientY) * fy)];
      this.#set(sizing ? { ...start, width: start.width + dx, height: start.height + dy } : { ...start, x: start.x + dx, y: start.y + dy });
    };
    const end = () => this.box.removeEventListener("pointermove", move);
    this.box.addEventListener("pointermove", move);
    this.box.addEventListener("pointerup", end, { once: true });
    this.box.addEventListener("pointercancel", end, { once: true });
  }
}

/** `"x,y,w,h"` as a rectangle; null if it is none. @param {string | null} text @returns {Rect | null} */
export function parseRect(text) {
  const numbers = (text ?? "").split(",").map((part) => Number(part.trim() || NaN));
  const [x, y, width, height] = numbers;
  if (numbers.length !== 4 || !numbers.every(Number.isFinite)) return null;
  return { x: x ?? 0, y: y ?? 0, width: width ?? 0, height: height ?? 0 };
}

/** @param {Rect} rect */
export const rectText = ({ x, y, width, height }) => [x, y, width, height].join(",");
