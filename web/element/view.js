// @ts-check
/**
 * The element's shadow tree: made once, never rebuilt, so that the focus stays where it is.
 * User text enters as text nodes only.
 * @typedef {import("../types").Rect} Rect
 */
import { lay, movable } from "../boxes.js";
import { frameOf } from "../frame.js";
import { planBoxes } from "../plan.js";
import { shownOf, thumbnailOf } from "./shown.js";
import { styles } from "./style.js";
import { fill } from "./texts.js";

/** The live region speaks at these parts of a download. */
const QUARTER = 25;

/** @template {keyof HTMLElementTagNameMap} K @param {K} tag @param {Record<string, string>} [attributes] @param {(Node | string)[]} [children] */
export function make(tag, attributes = {}, children = []) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** @param {string} name @param {Node[]} [fallback] */
const slot = (name, fallback = []) => make("slot", { name }, fallback);

/** @param {HTMLCanvasElement} canvas */
function context(canvas) {
  const found = canvas.getContext("2d", { willReadFrequently: true });
  if (!found) throw new Error("no 2d canvas");
  return found;
}

/** Everything inside the element. */
export class View {
  after = make("canvas", { part: "canvas after", class: "after", width: "1", height: "1" }); // a square until there is a picture
  before = make("canvas", { part: "canvas before", class: "before", "aria-hidden": "true" });
  map = make("canvas", { part: "map", class: "map", "aria-hidden": "true" });
  plan = make("div", { class: "plan", role: "group" });
  region = make("div", { part: "region", class: "region", role: "group", tabindex: "0" }, [make("div", { class: "corner" })]);
  poster = make("img", { alt: "" });
  handle = make("input", { part: "handle", class: "handle", type: "range", min: "0", max: "100", value: "0" });
  instruction = make("input", { type: "text", maxlength: "400", enterkeyhint: "go", autocomplete: "off", spellcheck: "false" });
  run = make("button", { part: "run", class: "run", type: "submit" });
  stop = make("button", { part: "stop", type: "button" });
  goOn = make("button", { type: "button" });
  open = make("button", { type: "button" });
  undo = make("button", { type: "button" });
  redo = make("button", { type: "button" });
  dice = make("button", { type: "button" });
  regionToggle = make("button", { type: "button", "aria-pressed": "false" });
  save = make("button", { part: "save", type: "button" });
  withRecipe = make("input", { type: "checkbox" });
  clear = make("button", { type: "button" });
  file = make("input", { type: "file", accept: "image/*", tabindex: "-1", "aria-hidden": "true" });
  bar = make("progress", { part: "bar", max: "1", value: "0" });
  candidates = make("div", { part: "candidates", class: "candidates", role: "group" });
  history = make("div", { part: "history", class: "history", role: "group" });
  status = make("p", { part: "status", class: "status", "aria-live": "polite" });
  error = make("p", { class: "error", role: "alert" });
  fields = { x: number(), y: number(), width: number(), height: number() };

  /** @param {ShadowRoot} root @param {typeof import("./texts.js").TEXTS} texts */
  constructor(root, texts) {
    root.adoptedStyleSheets = [styles()];
    this.texts = texts;
    this.withRecipe.checked = true;
    this.fieldRow = make("div", { class: "fields" }, Object.values(this.fields).map((field) => make("label", {}, [make("span"), field])));
    this.stage = make("div", { part: "stage", class: "stage" }, [
      slot("poster", [this.poster]), this.after, this.before, this.map, make("div", { class: "grid", "aria-hidden": "true" }), this.plan, this.region,
    ]);
    this.form = make("form", { class: "ask" }, [make("div", { class: "field" }, [slot("instruction", [this.instruction])]), this.run, this.stop, this.goOn]);
    this.keep = make("label", {}, [this.withRecipe, make("span")]);
    this.toolbar = make("div", { part: "toolbar", class: "toolbar", role: "group" }, [
      this.open, this.undo, this.redo, this.dice, this.regionToggle, this.save, this.keep, this.clear, slot("toolbar"),
    ]);
    this.progress = make("div", { part: "progress" }, [slot("progress", [this.bar])]);
    this.file.hidden = true;
    root.append(
      this.stage, this.handle, slot("samples"), this.form, this.fieldRow, this.progress, slot("error", [this.error]), this.candidates, this.toolbar, this.history,
      this.status, make("slot"), slot("footer"), this.file,
    );
    for (const part of [this.handle, this.before, this.map, this.region, this.fieldRow, this.progress, this.stop, this.goOn, this.error, this.poster, this.clear]) part.hidden = true;
    this.handle.addEventListener("input", () => this.#reveal());
    this.translate();
  }

  /** Puts the words in. */
  translate() {
    const { texts } = this;
    const say = (/** @type {HTMLElement} */ element, /** @type {string} */ text) => void (element.textContent = text);
    say(this.run, texts.run);
    say(this.stop, texts.stop);
    say(this.goOn, texts.goOn);
    say(this.open, texts.open);
    say(this.undo, texts.undo);
    say(this.redo, texts.redo);
    say(this.dice, texts.dice);
    say(this.regionToggle, texts.region);
    say(this.save, texts.save);
    say(this.clear, texts.clear);
    const label = (/** @type {HTMLElement} */ element, /** @type {string} */ text) => element.setAttribute("aria-label", text);
    label(this.handle, texts.compare);
    label(this.region, texts.regionBox);
    label(this.plan, texts.plan);
    label(this.bar, texts.progress);
    label(this.candidates, texts.candidates);
    label(this.history, texts.history);
    label(this.toolbar, texts.toolbar);
    label(this.instruction, texts.instruction);
    this.instruction.placeholder = texts.placeholder;
    const names = [texts.left, texts.top, texts.width, texts.height];
    this.fieldRow.querySelectorAll("span").forEach((span, at) => say(span, names[at] ?? ""));
    const keep = this.keep.querySelector("span");
    if (keep) say(keep, texts.withRecipe);
  }

  /** Shows a picture; with `before`, one that can be compared. @param {ImageData} data @param {ImageData | null} before @param {string} alt */
  show(data, before, alt) {
    this.#forget();
    this.poster.hidden = true;
    this.#put(this.after, shownOf(data));
    this.#scale = this.after.width / data.width;
    this.after.setAttribute("role", "img");
    this.after.setAttribute("aria-label", alt || this.texts.picture);
    if (before) this.#put(this.before, shownOf(before));
    this.handle.hidden = before === null;
    this.handle.value = "0";
    this.#reveal();
  }

  /** @param {HTMLCanvasElement} canvas @param {ImageData | OffscreenCanvas} picture */
  #put(canvas, picture) {
    const whole = picture instanceof ImageData;
    canvas.width = picture.width;
    canvas.height = picture.height;
    canvas.classList.toggle("pixels", whole && picture.width <= 256);
    if (whole) context(canvas).putImageData(picture, 0, 0);
    else context(canvas).drawImage(picture, 0, 0);
  }

  #reveal() {
    const share = Number(this.handle.value);
    this.before.hidden = this.handle.hidden || share === 0;
    this.before.style.clipPath = `inset(0 ${100 - share}% 0 0)`;
    this.handle.setAttribute("aria-valuetext", `${share} %`);
  }

  /** Pixels on the stage for one of the picture's, along a side. */
  #scale = 1;

  /** Rows that wait for the next frame. @type {import("../types").Paint[]} */
  #paints = [];

  /** Lays a finished row on the picture, all of a frame at once. @param {Rect} rect @param {ImageBitmap} bitmap */
  paint(rect, bitmap) {
    if (this.#paints.push({ rect, bitmap }) === 1) requestAnimationFrame(() => this.#draw());
  }

  #draw() {
    if (this.#paints.length === 0) return; // another picture was shown since
    const [scale, rects] = [this.#scale, this.#paints.map(({ rect }) => rect)];
    const least = (/** @type {number[]} */ sides) => Math.floor(Math.min(...sides) * scale);
    const most = (/** @type {number[]} */ sides) => Math.ceil(Math.max(...sides) * scale);
    const [left, top] = [least(rects.map(({ x }) => x)), least(rects.map(({ y }) => y))];
    const [right, bottom] = [most(rects.map(({ x, width }) => x + width)), most(rects.map(({ y, height }) => y + height))];
    const rows = new OffscreenCanvas(right - left, bottom - top).getContext("2d", { willReadFrequently: true });
    if (!rows) return;
    rows.imageSmoothingEnabled = false;
    rows.setTransform(scale, 0, 0, scale, -left, -top);
    for (const { rect, bitmap } of this.#paints) rows.drawImage(bitmap, rect.x, rect.y, rect.width, rect.height);
    context(this.after).drawImage(rows.canvas, left, top);
    this.#forget();
  }

  #forget() {
    for (const { bitmap } of this.#paints.splice(0)) bitmap.close();
  }

  /** Which buttons work. @param {Record<"disabled" | "closed" | "running" | "stopped" | "picture" | "undo" | "redo", boolean>} can */
  enable({ disabled, closed, running, stopped, picture, undo, redo }) {
    this.run.disabled = this.dice.disabled = closed || running || !picture;
    this.run.hidden = running;
    this.stop.hidden = !running;
    this.goOn.hidden = !stopped || running;
    this.open.disabled = this.regionToggle.disabled = this.instruction.disabled = closed || running;
    this.undo.disabled = closed || running || !undo;
    this.redo.disabled = closed || running || !redo;
    this.save.disabled = disabled || !picture;
  }

  #spoken = -1;

  /** Shows a download; the live region speaks at its quarters. @param {number} share 0 to 1 */
  downloading(share) {
    this.progress.hidden = false;
    this.bar.value = share;
    const quarter = Math.floor((share * 100) / QUARTER) * QUARTER;
    if (quarter === this.#spoken) return;
    this.#spoken = quarter;
    this.say("downloading", { percent: quarter });
  }

  /**
   * Shows the plan of an edit; none takes the boxes away. They lie on the model's canvas, into which the picture was fitted.
   * @param {import("../types").EditResult | null} result @param {((step: number, place: import("../plan.js").Place) => void) | null} moved may boxes be moved, and who hears of it
   */
  boxes(result, moved) {
    this.plan.replaceChildren();
    if (!result) return;
    const { data, canvas: { side, patch } } = result;
    const frame = frameOf(data.width, data.height, side);
    const part = (/** @type {number} */ length, /** @type {number} */ whole) => `${(100 * length) / whole}%`;
    Object.assign(this.plan.style, { left: part(-frame.left, frame.width), top: part(-frame.top, frame.height), width: part(side, frame.width), height: part(side, frame.height) });
    const grid = side / patch;
    this.plan.append(...planBoxes(result.plan).map(({ step, kind, label, ...place }) => {
      const box = make("div", { part: "plan-box", class: `plan-box ${kind}${place.row === 0 ? " low" : ""}`, "data-step": String(step) }, [make("span", { "aria-hidden": "true" }, [label])]);
      lay(box, place, grid);
      const words = (/** @type {import("../plan.js").Place} */ { row, col, cells }) => ({ label, cells, row: row + 1, column: col + 1 });
      if (moved) movable(box, place, grid, { name: (at) => fill(this.texts.planBox, words(at)), told: (at) => this.say("planBoxAt", words(at)), done: (to) => moved(step, to) });
      else box.setAttribute("aria-hidden", "true");
      return box;
    }));
  }

  /** Keeps the focus on the picture while the box that had it is drawn anew. */
  holdFocus() {
    this.stage.tabIndex = -1;
    this.stage.focus();
    this.stage.addEventListener("blur", () => this.stage.removeAttribute("tabindex"), { once: true });
  }

  /** The focus goes back to the box of a plan's step. @param {number} step */
  focusBox(step) {
    const box = this.plan.querySelector(`[data-step="${step}"]`);
    if (box instanceof HTMLElement) box.focus();
  }

  /** Shows entropy as a heat map; none hides it. @param {import("../types").Maps | null} maps */
  heat(maps) {
    this.map.hidden = maps === null;
    if (!maps) return;
    const image = new ImageData(maps.cols, maps.rows);
    const highest = maps.entropy.reduce((most, value) => (value > most ? value : most), 1e-6);
    maps.entropy.forEach((value, at) => image.data.set(Number.isNaN(value) ? [0, 0, 0, 0] : [230, 60, 40, Math.round((200 * value) / highest) + 20], at * 4));
    this.#put(this.map, image);
  }

  /** A button with a small picture. @param {string} part @param {string} label @param {ImageData} data @param {boolean} chosen @param {() => void} act */
  thumbnail(part, label, data, chosen, act) {
    const canvas = make("canvas");
    this.#put(canvas, thumbnailOf(data));
    const button = make("button", { type: "button", class: part, "aria-label": label, "aria-pressed": String(chosen), title: label }, [canvas]);
    if (part === "candidate") button.setAttribute("part", part);
    button.addEventListener("click", act);
    return button;
  }

  /** @param {keyof typeof import("./texts.js").TEXTS} text @param {Record<string, string | number>} [values] */
  say(text, values = {}) {
    const words = fill(this.texts[text], values);
    if (this.status.textContent !== words) this.status.textContent = words;
  }

  /** @param {string} text */
  fault(text) {
    this.error.textContent = text;
    this.error.hidden = text === "";
  }
}

/** A number field. */
function number() {
  return make("input", { type: "number", step: "1", min: "0" });
}
