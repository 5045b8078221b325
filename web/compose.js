// @ts-check
/**
 * The edit on the picture itself: the model works on a small canvas; what it changed there is laid on the
 * picture at the picture's own size, everything else is the picture's own bytes. Runs in the worker.
 * @typedef {import("./types").Pixels} Pixels
 */
import { failure } from "./errors.js";
import { frameOf } from "./frame.js";

/** Most pixels over which a soft region fades. */
const FADE = 8;

/** For each picture column (or row) the canvas column (or row) that shows it. @param {number} length @param {number} inner @param {number} start */
const canvasOf = (length, inner, start) => Uint16Array.from({ length }, (_, at) => start + Math.min(inner - 1, Math.floor(((at + 0.5) * inner) / length)));

/**
 * Which pixels lie inside a region: 1 inside, 0 outside.
 * @param {import("./types").Rect[] | Pixels} region @param {number} width @param {number} height
 */
export function maskOf(region, width, height) {
  const mask = new Uint8Array(width * height);
  if (Array.isArray(region)) {
    for (const rect of region) fill(mask, rect, width, height);
  } else {
    if (region.width !== width || region.height !== height) {
      throw failure("E_REGION", `the mask has ${region.width}×${region.height} pixels, the picture ${width}×${height}`);
    }
    for (let at = 0; at < mask.length; at++) mask[at] = (region.rgba[at * 4 + 3] ?? 0) >= 128 ? 1 : 0;
  }
  if (!mask.includes(1)) throw failure("E_REGION", "the region covers no pixel of the picture");
  return mask;
}

/** @param {Uint8Array} mask @param {import("./types").Rect} rect @param {number} width @param {number} height */
function fill(mask, { x, y, width: w, height: h }, width, height) {
  if (![x, y, w, h].every(Number.isFinite) || w <= 0 || h <= 0) {
    throw failure("E_REGION", `a region of ${w}×${h} at ${x}, ${y} is no rectangle`);
  }
  const [left, top] = [Math.max(0, Math.floor(x)), Math.max(0, Math.floor(y))];
  const [right, bottom] = [Math.min(width, Math.ceil(x + w)), Math.min(height, Math.ceil(y + h))];
  for (let row = top; row < bottom; row++) mask.fill(1, row * width + left, row * width + Math.max(left, right));
}

/** Cells of the canvas that show a pixel of the mask, row by row. @param {Uint8Array} mask @param {number} width @param {number} height @param {number} side @param {number} patch */
export function cellsOf(mask, width, height, side, patch) {
  const [frame, grid] = [frameOf(width, height, side), side / patch];
  /** First and last cell that show a pixel of one side. @param {number} at @param {number} length @param {number} inner @param {number} start */
  const span = (at, length, inner, start) => [Math.floor((start + Math.floor((at * inner) / length)) / patch), Math.floor((start + Math.ceil(((at + 1) * inner) / length) - 1) / patch)];
  const [cols, rows] = [Array.from({ length: width }, (_, x) => span(x, width, frame.width, frame.left)), Array.from({ length: height }, (_, y) => span(y, height, frame.height, frame.top))];
  const cells = Array(grid * grid).fill(false);
  for (let at = mask.indexOf(1); at >= 0; at = mask.indexOf(1, at + 1)) {
    const [[left = 0, right = 0] = [], [top = 0, bottom = 0] = []] = [cols[at % width], rows[Math.floor(at / width)]];
    for (let row = top; row <= bottom; row++) cells.fill(true, row * grid + left, row * grid + right + 1);
  }
  return cells;
}

/** Weight of the edit, 0 to 1: 1 at `FADE` pixels and more from the region's border. @param {Uint8Array} mask @param {number} width @param {number} height */
export function fadeOf(mask, width, height) {
  const far = Float32Array.from(mask, (inside) => (inside ? FADE : 0));
  const near = (/** @type {number} */ at, /** @type {number} */ other) => {
    far[at] = Math.min(far[at] ?? 0, (far[other] ?? 0) + 1);
  };
  // Two passes of a city-block distance; beyond the picture's border the region goes on.
  for (let at = 0; at < mask.length; at++) {
    if (at % width > 0) near(at, at - 1);
    if (at >= width) near(at, at - width);
  }
  for (let at = mask.length - 1; at >= 0; at--) {
    if (at % width < width - 1) near(at, at + 1);
    if (at < width * (height - 1)) near(at, at + width);
  }
  return far.map((distance) => distance / FADE);
}

/** Canvas pixels that differ. @param {Uint8ClampedArray} source @param {Uint8ClampedArray} edited */
export function changedOf(source, edited) {
  const changed = new Uint8Array(source.length / 4);
  for (let at = 0; at < changed.length; at++) {
    const from = at * 4;
    changed[at] = source[from] !== edited[from] || source[from + 1] !== edited[from + 1] || source[from + 2] !== edited[from + 2] ? 1 : 0;
  }
  return changed;
}

/**
 * Lays the canvas on the picture where `changed` says so; `weight` holds it back outside a region.
 * Transparency is the picture's own.
 * @param {Pixels} picture @param {number} side @param {Uint8ClampedArray} edited @param {Uint8Array} changed
 * @param {Uint8Array | Float32Array | null} weight @returns {Uint8ClampedArray<ArrayBuffer>}
 */
export function compose({ width, height, rgba }, side, edited, changed, weight) {
  const frame = frameOf(width, height, side);
  const [cols, rows] = [canvasOf(width, frame.width, frame.left), canvasOf(height, frame.height, frame.top)];
  const result = new Uint8ClampedArray(rgba);
  for (let y = 0, at = 0; y < height; y++) {
    const row = (rows[y] ?? 0) * side;
    for (let x = 0; x < width; x++, at++) {
      const from = row + (cols[x] ?? 0);
      if (changed[from]) mix(result, at, edited, from, weight ? weight[at] ?? 0 : 1);
    }
  }
  return result;
}

/**
 * As `compose`, of an edit that has the picture's own size and changes all of it.
 * @param {Pixels} picture @param {Uint8ClampedArray} edited @param {Uint8Array | Float32Array | null} weight @returns {Uint8ClampedArray<ArrayBuffer>}
 */
export function overlay({ rgba }, edited, weight) {
  const result = new Uint8ClampedArray(rgba);
  for (let at = 0; at * 4 < result.length; at++) mix(result, at, edited, at, weight ? weight[at] ?? 0 : 1);
  return result;
}

/** Mixes a share of another pixel's colour into one. @param {Uint8ClampedArray} into @param {number} at @param {Uint8ClampedArray} other @param {number} from @param {number} share */
function mix(into, at, other, from, share) {
  if (share === 0) return;
  for (let c = 0; c < 3; c++) {
    const old = into[at * 4 + c] ?? 0;
    into[at * 4 + c] = share === 1 ? other[from * 4 + c] ?? 0 : Math.round(old + share * ((other[from * 4 + c] ?? 0) - old));
  }
}

/** The smallest rectangle around a mask. @param {Uint8Array} mask @param {number} width @returns {import("./types").Rect} */
export function boxOf(mask, width) {
  const [first, last] = [mask.indexOf(1), mask.lastIndexOf(1)];
  const [top, bottom] = [Math.floor(first / width), Math.floor(last / width)];
  let [left, right] = [width, 0];
  for (let at = first; at <= last; at++) {
    if (!mask[at]) continue;
    left = Math.min(left, at % width);
    right = Math.max(right, at % width);
  }
  return { x: left, y: top, width: right - left + 1, height: bottom - top + 1 };
}

/**
 * The pixels a plan may change: those under its boxes, all under a background.
 * @param {import("./types").Plan} plan @param {number} width @param {number} height @param {number} side @param {number} patch
 */
export function maskOfPlan(plan, width, height, side, patch) {
  const frame = frameOf(width, height, side);
  const [cols, rows] = [canvasOf(width, frame.width, frame.left), canvasOf(height, frame.height, frame.top)];
  const cells = new Uint8Array(side * side);
  for (const step of plan) {
    if (step.verb === "background") return new Uint8Array(width * height).fill(1);
    if (step.verb === "see") continue;
    fill(cells, { x: step.col * patch, y: step.row * patch, width: step.cells * patch, height: step.cells * patch }, side, side);
  }
  const mask = new Uint8Array(width * height);
  for (let at = 0; at < mask.length; at++) mask[at] = cells[(rows[Math.floor(at / width)] ?? 0) * side + (cols[at % width] ?? 0)] ?? 0;
  return mask;
}

/** Counts the pixels outside a mask, and those of them that differ. @param {Uint8ClampedArray} before @param {Uint8ClampedArray} after @param {Uint8Array} inside */
export function countOutside(before, after, inside) {
  const [a, b] = [before, after].map((bytes) => new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4));
  const count = { pixels: 0, changed: 0 };
  for (let at = 0; a && b && at < inside.length; at++) {
    if (inside[at]) continue;
    count.pixels++;
    if (a[at] !== b[at]) count.changed++;
  }
  return count;
}

/** A canvas rectangle of cells in the picture's pixels. @param {{ row: number, col: number, rows: number, cols: number }} cells @param {{ width: number, height: number }} picture @param {number} side @param {number} patch @returns {import("./types").Rect} */
export function rectOf({ row, col, rows, cols }, { width, height }, side, patch) {
  const frame = frameOf(width, height, side);
  const across = (/** @type {number} */ x) => ((x - frame.left) * width) / frame.width;
  const down = (/** @type {number} */ y) => ((y - frame.top) * height) / frame.height;
  const [x, y] = [across(col * patch), down(row * patch)];
  return { x, y, width: across((col + cols) * patch) - x, height: down((row + rows) * patch) - y };
}
