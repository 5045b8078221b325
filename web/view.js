// @ts-check
/**
 * The stage: two canvases one over the other (before, after), boxes over them, a slider between.
 * @typedef {import("./types").PlanStep} PlanStep
 * @typedef {{ plan: PlanStep[], summary: string, kept: boolean, cost: string, compared?: { same: boolean, text: string } }} Told what is said of an edit
 */
import { lay, movable } from "./boxes.js";
import { planBoxes } from "./plan.js";
import { CELL, GRID, SIDE } from "./scene.js";

/** An element that must be there. @template {HTMLElement} T @param {string} id @param {new () => T} kind @returns {T} */
export function element(id, kind) {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`#${id} is missing`);
  return found;
}

/** @param {HTMLCanvasElement} canvas */
function context(canvas) {
  const found = canvas.getContext("2d", { willReadFrequently: true });
  if (!found) throw new Error("no 2d canvas");
  return found;
}

/** @param {string} label */
function tokenOf(label) {
  const word = document.createElement("span");
  word.textContent = label;
  return word;
}

/** The two pictures and what lies over them. */
export class Stage {
  #before = context(element("before", HTMLCanvasElement));
  #after = context(element("after", HTMLCanvasElement));
  #boxes = element("boxes", HTMLDivElement);
  #divider = element("divider", HTMLDivElement);
  #compare = element("compare", HTMLLabelElement);
  #slider = element("slider", HTMLInputElement);
  #tokens = element("tokens", HTMLParagraphElement);
  #plan = element("plan", HTMLButtonElement);
  /** What a screen reader says of a box that keys move. */
  #spoken = element("spoken", HTMLParagraphElement);

  constructor() {
    this.#slider.addEventListener("input", () => this.#reveal());
  }

  /** The context of the picture on top. */
  get context() {
    return this.#after;
  }

  /** RGBA bytes of the picture on top. */
  pixels() {
    return this.#after.getImageData(0, 0, SIDE, SIDE).data;
  }

  /** Shows one picture, without a comparison. @param {Uint8ClampedArray<ArrayBuffer>} rgba */
  show(rgba) {
    this.#cells = [];
    this.#after.putImageData(new ImageData(rgba, SIDE, SIDE), 0, 0);
    this.#comparing(false);
  }

  /** Shows an edit: the picture before it can be pulled over. @param {Uint8ClampedArray<ArrayBuffer>} before @param {Uint8ClampedArray<ArrayBuffer>} after */
  showEdit(before, after) {
    this.#cells = [];
    this.#before.putImageData(new ImageData(before, SIDE, SIDE), 0, 0);
    this.#after.putImageData(new ImageData(after, SIDE, SIDE), 0, 0);
    this.#comparing(true);
  }

  /** Finished cells that wait for the next frame. @type {import("./types").CellPreview[]} */
  #cells = [];

  /** Paints finished cells, all of a frame at once. @param {import("./types").CellPreview[]} cells */
  paint(cells) {
    if (cells.length === 0) return;
    if (this.#cells.length === 0) requestAnimationFrame(() => this.#draw());
    this.#cells.push(...cells);
  }

  #draw() {
    if (this.#cells.length === 0) return; // another picture was shown since
    const image = this.#after.getImageData(0, 0, SIDE, SIDE);
    for (const { row, col, rgb } of this.#cells.splice(0)) {
      for (let at = 0; at < CELL * CELL; at++) {
        const to = (row * CELL + Math.floor(at / CELL)) * SIDE + col * CELL + (at % CELL);
        image.data.set([...rgb.slice(at * 3, at * 3 + 3), 255], to * 4);
      }
    }
    this.#after.putImageData(image, 0, 0);
  }

  /** Adds a token to the line of tokens, and points at the cell it is about. @param {import("./types").TokenInfo} token */
  token({ label, row, col }) {
    this.#tokens.append(tokenOf(label));
    this.#tokens.hidden = false;
    this.#tokens.scrollLeft = this.#tokens.scrollWidth;
    if (row !== null && col !== null) this.boxes([{ row, col, cells: 1, kind: "cursor", label: "" }]);
  }

  /** Shows the tokens of a finished edit, from its start. @param {string[]} labels */
  tokens(labels) {
    this.#tokens.replaceChildren(...labels.map(tokenOf));
    this.#tokens.hidden = labels.length === 0;
    this.#tokens.scrollLeft = 0;
  }

  /** The focus goes to the box of a plan's step, or to the picture. @param {number} step */
  focusBox(step) {
    const box = this.#boxes.querySelector(`[data-step="${step}"]`);
    (box instanceof HTMLElement ? box : element("stage", HTMLDivElement)).focus();
  }

  /** Shows or hides the boxes over the picture. */
  toggleBoxes() {
    this.#boxes.hidden = !this.#boxes.hidden;
    this.#plan.setAttribute("aria-pressed", String(!this.#boxes.hidden));
  }

  /** @param {boolean} on */
  #comparing(on) {
    this.#slider.value = "0";
    this.#compare.hidden = !on;
    this.#reveal();
  }

  #reveal() {
    const share = Number(this.#slider.value);
    this.#after.canvas.style.clipPath = share > 0 ? `inset(0 0 0 ${share}%)` : "";
    this.#divider.hidden = share === 0 || share === 100;
    this.#divider.style.left = `${share}%`;
  }

  /**
   * Draws boxes with labels. Those of a plan's steps can be moved if `moved` is to hear of it.
   * @param {{ row: number, col: number, cells: number, kind: string, label: string, step?: number }[]} boxes
   * @param {(step: number, place: import("./plan.js").Place) => void} [moved]
   */
  boxes(boxes, moved) {
    this.#boxes.replaceChildren(...boxes.map(({ step, kind, label, ...place }) => {
      const box = document.createElement("div");
      box.className = `box ${kind}${place.row === 0 ? " low" : ""}`;
      lay(box, place, GRID);
      if (moved && step !== undefined) {
        box.dataset["step"] = String(step);
        const words = (/** @type {import("./plan.js").Place} */ { row, col, cells }) => `${label}, ${cells} cells wide, row ${row + 1}, column ${col + 1}.`;
        movable(box, place, GRID, {
          name: (at) => `${words(at)} Arrow keys move it, with Shift they change its size, Enter edits again.`,
          told: (at) => void (this.#spoken.textContent = words(at)), done: (to) => moved(step, to),
        });
      } else box.setAttribute("aria-hidden", "true");
      if (label) {
        const text = document.createElement("span");
        text.textContent = label;
        box.append(text);
      }
      return box;
    }));
  }
}

/** A plan step in words. @param {PlanStep} step */
function sentence(step) {
  if (step.verb === "background") return `background: ${step.name}`;
  const verb = { see: "look at", erase: "erase", draw: "draw" }[step.verb];
  const size = { 2: "small", 3: "medium", 4: "large" }[step.cells] ?? "";
  return `${verb} the ${size} ${step.tint ? `${step.tint} ` : ""}${step.name} at row ${step.row + 1}, column ${step.col + 1}`;
}

/** @param {string} kind @param {string} text */
function paragraph(kind, text) {
  const line = document.createElement("p");
  line.className = kind;
  line.textContent = text;
  return line;
}

/** What is said under an edit. @param {Told} told */
export function facts({ plan, summary, kept, cost, compared }) {
  const list = document.createElement("ol");
  list.append(...plan.map((step) => {
    const item = document.createElement("li");
    item.textContent = sentence(step);
    return item;
  }));
  return [
    paragraph(kept ? "kept" : "spilt", summary),
    ...(compared ? [paragraph(compared.same ? "kept" : "spilt", compared.text)] : []),
    list,
    ...(planBoxes(plan).length > 0 ? [paragraph("cost", "Drag a box or its corner, or use the arrow keys (Shift for the size) and Enter, to edit with that plan.")] : []),
    paragraph("cost", cost),
  ];
}

/** Files that are let fall anywhere on the page. @param {(file: File) => void} open */
export function listenForDrops(open) {
  const over = (/** @type {boolean} */ on) => {
    element("stage", HTMLDivElement).classList.toggle("dropping", on);
    element("drop", HTMLDivElement).hidden = !on;
  };
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    over(true);
  });
  document.addEventListener("dragleave", (event) => event.relatedTarget === null && over(false));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    over(false);
    const file = event.dataTransfer?.files[0];
    if (file) open(file);
  });
}
