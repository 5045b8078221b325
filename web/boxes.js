// @ts-check
/**
 * Boxes of a plan that can be moved over the picture, cell by cell, and be given another size: by arrow keys
 * (with Shift they change the size), or dragged, by the corner for the size, and let go.
 * Enter, or letting go, says how the box is to lie; Escape puts it back.
 * @typedef {import("./plan.js").Place} Place
 */
import { SIZES } from "./plan.js";

/** Row and column a key goes. @type {Record<string, [number, number]>} */
const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

/** Lays a box on its cells. @param {HTMLElement} box @param {Place} place @param {number} grid cells a side of the picture */
export function lay(box, { row, col, cells }, grid) {
  const part = (/** @type {number} */ cell) => `${(100 * cell) / grid}%`;
  Object.assign(box.style, { top: part(row), left: part(col), width: part(cells), height: part(cells) });
}

/** The size nearest to a wish. @param {number} cells */
const sizeNear = (cells) => SIZES.reduce((/** @type {number} */ best, size) => (Math.abs(size - cells) < Math.abs(best - cells) ? size : best), SIZES[0]);

/**
 * Lets a box be moved and sized.
 * @param {HTMLElement} box @param {Place} start @param {number} grid
 * @param {{ name: (place: Place) => string, told: (place: Place) => void, done: (place: Place) => void }} how `name` is what the box is called where it lies; `told` hears of each change by keys
 */
export function movable(box, start, grid, { name, told, done }) {
  let at = start;
  /** Lays the box as near to a wish as there is room. @param {Place} place */
  const put = ({ row, col, cells }) => {
    const side = sizeNear(cells);
    const inside = (/** @type {number} */ cell) => Math.max(0, Math.min(grid - side, cell));
    at = { row: inside(row), col: inside(col), cells: side };
    lay(box, at, grid);
    box.setAttribute("aria-label", name(at));
    return at;
  };
  const corner = document.createElement("div");
  corner.className = "corner";
  box.append(corner);
  box.tabIndex = 0;
  box.setAttribute("role", "button");
  put(start);
  box.addEventListener("keydown", (event) => {
    const step = STEPS[event.key];
    const { row, col, cells } = at;
    if (step && event.shiftKey) put({ row, col, cells: cells + step[0] + step[1] });
    else if (step) put({ row: row + step[0], col: col + step[1], cells });
    else if (event.key === "Escape") put(start);
    else if (event.key === "Enter" || event.key === " ") done(at);
    else return;
    if (step || event.key === "Escape") told(at);
    event.preventDefault();
    event.stopPropagation();
  });
  box.addEventListener("pointerdown", (event) => {
    if (event.button === 0) drag(box, event, grid, at, put, done);
  });
}

/**
 * @param {HTMLElement} box @param {PointerEvent} from @param {number} grid @param {Place} held how it lies when it is taken
 * @param {(place: Place) => Place} put @param {(place: Place) => void} done
 */
function drag(box, from, grid, held, put, done) {
  const frame = /** @type {HTMLElement} */ (box.offsetParent).getBoundingClientRect();
  const sizing = from.target instanceof HTMLElement && from.target.className === "corner";
  let to = held;
  const ended = new AbortController();
  const on = (/** @type {"pointermove" | "pointerup" | "pointercancel"} */ type, /** @type {(at: PointerEvent) => void} */ act) => box.addEventListener(type, act, { signal: ended.signal });
  from.stopPropagation();
  box.setPointerCapture(from.pointerId);
  on("pointermove", (at) => {
    const [down, right] = [((at.clientY - from.clientY) / frame.height) * grid, ((at.clientX - from.clientX) / frame.width) * grid];
    // A box is a square: what is pulled most counts, and it grows no further than there is room.
    if (sizing) to = put({ ...held, cells: Math.min(held.cells + Math.round(Math.abs(down) > Math.abs(right) ? down : right), grid - Math.max(held.row, held.col)) });
    else to = put({ ...held, row: held.row + Math.round(down), col: held.col + Math.round(right) });
  });
  on("pointerup", () => {
    ended.abort();
    if (to.row !== held.row || to.col !== held.col || to.cells !== held.cells) done(to);
  });
  on("pointercancel", () => {
    ended.abort();
    put(held);
  });
}
