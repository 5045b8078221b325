// @ts-check
/**
 * Recipes: what an edit was made from, as JSON in a link or a PNG. A recipe holds no pixels.
 * @typedef {import("./types").Recipe} Recipe
 */
import { failure } from "./errors.js";
import { plainPlan, planFault } from "./plan.js";

/** Keyword of the PNG's text chunk. */
export const KEYWORD = "earl-recipe";
/** Longest link that is read. */
const MAX_LINK = 16_384;

/** @param {import("./run.js").Job} job @param {string} seed @param {number} candidate @returns {Recipe} */
export const recipeOf = ({ info, image, options, rects }, seed, candidate) => ({
  v: 1, model: info.modelHash, image, instruction: options.instruction, mode: options.mode, seed: small(seed), temperature: options.temperature,
  candidate, lock: options.lock, region: rects, determinism: options.onDevice ? "device" : info.backend === "cpu" ? "reference" : options.guard > 0 ? "guarded" : "device",
  ...(options.plan ? { plan: options.plan } : {}), ...(options.area ? { area: options.area } : {}),
  ...(options.steer ? { steer: true } : {}), ...(options.topK ? { topK: options.topK } : {}),
});

/** A seed as a number where JSON holds it exactly. @param {string} seed */
export const small = (seed) => (BigInt(seed) <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(seed) : seed);

/** Checks what came from outside. @param {any} recipe @returns {Recipe} */
export function checkRecipe(recipe) {
  const wrong = (/** @type {string} */ problem) => failure("E_RECIPE_MISMATCH", `the recipe ${problem}`, { hint: "copy the whole link, or make it again" });
  if (typeof recipe !== "object" || recipe === null) throw wrong("is no recipe");
  if (recipe.v !== 1) throw wrong(`has version ${recipe.v}; this page reads version 1`);
  const { model, image, instruction, mode, seed, temperature, lock } = recipe;
  if (![model, image].every((hash) => typeof hash === "string" && /^[0-9a-f]{64}$/.test(hash))) throw wrong("names no model or no picture");
  if (typeof instruction !== "string") throw wrong("has no instruction");
  if (!["local", "full", "think"].includes(mode) || !["hard", "soft", "none"].includes(lock)) throw wrong("has an unknown mode or lock");
  const whole = typeof seed === "number" ? Number.isSafeInteger(seed) && seed >= 0 : typeof seed === "string" && /^\d{1,20}$/.test(seed);
  if (!whole || typeof temperature !== "number") throw wrong("has no seed or no temperature");
  const numbers = (/** @type {any} */ rect) => [rect?.x, rect?.y, rect?.width, rect?.height].every(Number.isFinite);
  if (recipe.region && recipe.region !== "mask" && !(Array.isArray(recipe.region) && recipe.region.every(numbers))) throw wrong("has a damaged region");
  if (recipe.topK !== undefined && !(Number.isInteger(recipe.topK) && recipe.topK > 0)) throw wrong("has a damaged `topK`");
  const planned = recipe.plan !== undefined;
  if (planned && (mode === "full" || planFault(recipe.plan))) throw wrong("has a damaged plan");
  return { ...recipe, candidate: Number(recipe.candidate) || 0, region: recipe.region ?? null, ...(planned ? { plan: plainPlan(recipe.plan) } : {}) };
}

/** The part of a link after `#`. @param {Recipe} recipe */
export function toFragment(recipe) {
  const bytes = new TextEncoder().encode(JSON.stringify(recipe));
  const text = btoa(String.fromCharCode(...bytes));
  return `r=${text.replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "")}`;
}

/** The recipe in a link's fragment; null if it holds none. @param {string} fragment @returns {Recipe | null} */
export function fromFragment(fragment) {
  const found = /^#?r=(.*)$/s.exec(fragment);
  if (!found) return null;
  const text = found[1] ?? "";
  let recipe;
  try {
    if (text.length > MAX_LINK) throw new Error("too long");
    const bytes = Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (sign) => sign.charCodeAt(0));
    recipe = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (cause) {
    throw failure("E_RECIPE_MISMATCH", "the recipe in the link is damaged", { hint: "copy the whole link, or make it again", cause });
  }
  return checkRecipe(recipe);
}

/** Walks a PNG's chunks. @param {Uint8Array} png */
function* chunksOf(png) {
  const view = new DataView(png.buffer, png.byteOffset, png.byteLength);
  for (let at = 8; at + 12 <= png.length; ) {
    const length = view.getUint32(at);
    if (at + 12 + length > png.length) return;
    yield { type: String.fromCharCode(...png.subarray(at + 4, at + 8)), data: png.subarray(at + 8, at + 8 + length), at, end: at + 12 + length };
    at += 12 + length;
  }
}

/** The recipe a PNG holds; null if none that can be read. @param {Uint8Array} png @returns {Recipe | null} */
export function fromPng(png) {
  if (png[0] !== 0x89 || png[1] !== 0x50) return null;
  for (const { type, data } of chunksOf(png)) {
    if (type !== "iTXt" || !new TextDecoder("latin1").decode(data.subarray(0, KEYWORD.length + 1)).startsWith(`${KEYWORD}\0`)) continue;
    // keyword 0, compressed?, method, language 0, translated keyword 0, text
    let at = KEYWORD.length + 3;
    for (let ends = 0; ends < 2; at++) if (data[at] === 0 || at >= data.length) ends++;
    try {
      return checkRecipe(JSON.parse(new TextDecoder().decode(data.subarray(at))));
    } catch {
      return null;
    }
  }
  return null;
}

/** A PNG without its text chunks. @param {Uint8Array<ArrayBuffer>} png @returns {Uint8Array<ArrayBuffer>} */
export function withoutText(png) {
  const parts = [png.subarray(0, 8)];
  for (const { type, at, end } of chunksOf(png)) if (!["tEXt", "iTXt", "zTXt"].includes(type)) parts.push(png.subarray(at, end));
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  parts.reduce((at, part) => (whole.set(part, at), at + part.length), 0);
  return whole;
}
