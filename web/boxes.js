// @ts-check
/**
 * Boxes of a plan that can be moved over the picture, cell by cell: by arrow keys, or dragged and let go.
 * Enter, or letting go elsewhere, says where the box is to be; Escape puts it back.
 * @typedef {import("./plan.js").Place} Place
 */

/** Row and column a key goes. @type {Record<string, [number, number]>} */
const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

/** Lays a box on its cells. @param {HTMLElement} box @param {Place} place @param {number} grid cells a side of the picture */
export function lay(box, { row, col, cells }, grid) {
  const part = (/** @type {number} */ cell) => `${(100 * cell) / grid}%`;
  Object.assign(box.style, { top: part(row), left: part(col), width: part(cells), height: part(cells) });
}

/**
 * Lets a box be moved.
 * @param {HTMLElement} box @param {Place} start @param {number} grid
 * @param {{ name: (place: Place) => string, done: (place: Place) => void }} how `name` is what the box is called where it stands
 */
export function movable(box, start, grid, { name, done }) {
  let at = start;
  const put = (/** @type {number} */ row, /** @type {number} */ col) => {
    const inside = (/** @type {number} */ cell) => Math.max(0, Math.min(grid - start.cells, cell));
    at = { row: inside(row), col: inside(col), cells: start.cells };
    lay(box, at, grid);
    box.setAttribute("aria-label", name(at));
  };
  box.tabIndex = 0;
  box.setAttribute("role", "button");
  put(start.row, start.col);
  box.addEventListener("keydown", (event) => {
    const step = STEPS[event.key];
    if (step) put(at.row + step[0], at.col + step[1]);
    else if (event.key === "Escape") put(start.row, start.col);
    else if (event.key === "Enter" || event.key === " ") done(at);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  box.addEventListener("pointerdown", (event) => {
    if (event.button === 0) drag(box, event, grid, at, put, () => done(at));
  });
}

/** @param {HTMLElement} box @param {PointerEvent} from @param {number} grid @param {Place} held @param {(row: number, col: number) => void} put @param {() => void} done */
function drag(box, from, grid, held, put, done) {
  const frame = /** @type {HTMLElement} */ (box.offsetParent).getBoundingClientRect();
  let moved = false;
  const ended = new AbortController();
  const on = (/** @type {"pointermove" | "pointerup" | "pointercancel"} */ type, /** @type {(at: PointerEvent) => void} */ act) => box.addEventListener(type, act, { signal: ended.signal });
  from.stopPropagation();
  box.setPointerCapture(from.pointerId);
  on("pointermove", (at) => {
    const [down, right] = [Math.round(((at.clientY - from.clientY) / frame.height) * grid), Math.round(((at.clientX - from.clientX) / frame.width) * grid)];
    moved = down !== 0 || right !== 0;
    put(held.row + down, held.col + right);
  });
  on("pointerup", () => {
    ended.abort();
    if (moved) done();
  });
  on("pointercancel", () => {
    ended.abort();
    put(held.row, held.col);
  });
}
