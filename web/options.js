// @ts-check
/** Checks options by name and range; an unknown name is answered with the nearest known one. */
import { failure } from "./errors.js";
import { plainPlan, planFault } from "./plan.js";
import { checkRecipe } from "./recipe.js";

const CREATE = ["model", "modelHash", "backend", "storage", "signal", "persist", "workerUrl", "workers", "maxMemoryBytes", "determinism", "monitor", "confirm"];
const EDIT = ["image", "instruction", "region", "lock", "steer", "mode", "reasoning", "seed", "temperature", "topK", "candidates", "rank", "paint", "maps", "plan", "ahead", "area", "resume", "recipe", "signal", "onToken"];
/** Tier of published models, which take other options. */
export const FULL = "full";
/** Pixels that a published model draws. */
const AREA = { least: 256, most: 1 << 20, usual: 1 << 16 };
/** Most candidates of an edit. */
const MAX_CANDIDATES = 16;
/** Most workers of an editor. */
export const MOST_WORKERS = 4;
/** Most codes read ahead, and how many unless an edit says otherwise. */
const AHEAD = { most: 64, usual: 32 };
/** More than any model has codes. */
const MAX_TOP_K = 1_000_000;
/** Temperature of several candidates, unless one is given: at 0 all would be alike. */
export const WARM = 0.7;

/** Letters to change to get from one word to another. @param {string} a @param {string} b */
function distance(a, b) {
  let row = Array.from({ length: b.length + 1 }, (_, at) => at);
  for (const [i, letter] of [...a].entries()) {
    const next = [i + 1];
    for (const [j, other] of [...b].entries()) {
      next.push(Math.min((row[j] ?? 0) + (letter.toLowerCase() === other.toLowerCase() ? 0 : 1), (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}

/** @param {object} options @param {string[]} known */
function checkNames(options, known) {
  for (const name of Object.keys(options)) {
    if (known.includes(name)) continue;
    const near = [...known].sort((a, b) => distance(name, a) - distance(name, b))[0];
    throw failure("E_OPTION", `there is no option \`${name}\``, { hint: `did you mean \`${near}\`?` });
  }
}

/** @param {string} name @param {unknown} value @param {readonly unknown[]} allowed */
function oneOf(name, value, allowed) {
  if (value !== undefined && !allowed.includes(value)) {
    throw failure("E_OPTION", `option \`${name}\`: \`${String(value)}\` is none of ${allowed.join(", ")}`);
  }
}

/** @param {string} name @param {unknown} value @param {number} least @param {number} most @param {boolean} whole */
function inRange(name, value, least, most, whole) {
  const fits = typeof value === "number" && value >= least && value <= most && (!whole || Number.isInteger(value));
  if (value !== undefined && !fits) throw failure("E_OPTION", `option \`${name}\`: ${String(value)} is no ${whole ? "whole " : ""}number in ${least}..=${most}`);
}

/** @template {import("./types").CreateOptions} T @param {T} options @returns {T} */
export function checkCreate(options) {
  checkNames(options, CREATE);
  oneOf("backend", options.backend, ["auto", "cpu", "webgpu"]);
  oneOf("storage", options.storage, ["auto", "cache", "opfs", "memory"]);
  oneOf("determinism", options.determinism, ["guarded", "device"]);
  inRange("workers", options.workers, 1, MOST_WORKERS, true);
  inRange("maxMemoryBytes", options.maxMemoryBytes, 1, Number.MAX_SAFE_INTEGER, false);
  if (options.modelHash !== undefined && !/^[0-9a-f]{64}$/i.test(options.modelHash)) throw failure("E_OPTION", "option `modelHash`: not 64 hexadecimal digits");
  return options;
}

/** @param {unknown} seed */
function seedText(seed) {
  const fits = (typeof seed === "bigint" && seed >= 0n && seed < 2n ** 64n) || (typeof seed === "number" && Number.isSafeInteger(seed) && seed >= 0);
  if (!fits) throw failure("E_OPTION", `option \`seed\`: ${String(seed)} is no whole number in 0..2^64`);
  return String(seed);
}

/** Every option of an edit with its value, ready for the worker. @param {import("./types").EditOptions} options @param {string} tier of the model @param {boolean} verifies Has it a verifier? @returns {import("./types").RunOptions} */
export function checkEdit(options, tier, verifies) {
  checkNames(options, EDIT);
  checkTier(options, tier);
  if (options.image === undefined) throw failure("E_OPTION", "option `image` is missing");
  inRange("ahead", options.ahead, 0, AHEAD.most, true);
  oneOf("paint", options.paint, ["row", "final"]);
  const full = tier === FULL;
  if (options.resume) return resumed(options.resume, options);
  if (options.recipe) return resumed({ recipe: checkRecipe(options.recipe), tokens: [] }, options);
  if (typeof options.instruction !== "string") throw failure("E_INSTRUCTION", "an edit needs an instruction");
  oneOf("mode", options.mode, ["local", "full", "think"]);
  oneOf("reasoning", options.reasoning, ["auto", "off"]);
  oneOf("lock", options.lock, ["hard", "soft", "none"]);
  oneOf("rank", options.rank, ["verifier", "likelihood", "none"]);
  inRange("temperature", options.temperature, 0, 5, false);
  oneOf("steer", options.steer, [true, false]);
  inRange("topK", options.topK, 1, MAX_TOP_K, true);
  inRange("candidates", options.candidates, 1, MAX_CANDIDATES, true);
  if (options.rank === "verifier" && !verifies) throw failure("E_NO_VERIFIER", "this model has no verifier");
  checkPlan(options.plan, options.mode);
  const candidates = options.candidates ?? 1;
  const region = options.region ?? null;
  const lock = options.lock ?? (region ? "hard" : "none");
  return {
    instruction: options.instruction, mode: modeOf(options, full), seed: seedText(options.seed ?? 0),
    temperature: options.temperature ?? (candidates > 1 ? WARM : 0), topK: options.topK ?? null, lock, steer: !full && region !== null && lock !== "none" && options.steer !== false, candidates,
    rank: options.rank ?? (verifies && candidates > 1 ? "verifier" : "likelihood"), paint: options.paint ?? "row", region, decided: [], candidate: 0, expect: null,
    plan: options.plan ? plainPlan(options.plan) : null, ahead: options.ahead ?? AHEAD.usual, area: options.area ?? (full ? AREA.usual : 0), onDevice: false, guard: 0,
  };
}

/** Refuses what a model of this tier has not. @param {import("./types").EditOptions} options @param {string} tier */
function checkTier(options, tier) {
  const refuse = (/** @type {string} */ name, /** @type {string} */ hint) => failure("E_OPTION", `option \`${name}\`: a model of tier \`${tier}\` has none`, { hint });
  inRange("area", options.area, AREA.least, AREA.most, true);
  if (tier !== FULL) {
    if (options.area !== undefined) throw refuse("area", "leave it out: the canvas has a fixed size");
    return;
  }
  for (const name of /** @type {const} */ (["plan", "maps"])) if (options[name]) throw refuse(name, "leave it out");
  if ((options.candidates ?? 1) > 1) throw refuse("candidates", "edit again with other seeds");
}

/** The mode, which says whether the model writes a plan, or reasons, before it draws. @param {import("./types").EditOptions} options @param {boolean} full @returns {import("./types").Mode} */
function modeOf({ mode, reasoning, plan, region }, full) {
  const silent = full && region ? "local" : "full";
  if (reasoning !== "off") return mode ?? (full ? silent : "local");
  const reasons = plan ? "a plan" : mode === "think" || (mode === "local" && !full) ? `mode \`${mode}\`` : "";
  if (reasons) throw failure("E_OPTION", `option \`reasoning\`: \`off\` and ${reasons} exclude each other`, { hint: `leave one of them out; mode \`${silent}\` does not reason` });
  return mode ?? silent;
}

/** @param {unknown} plan @param {import("./types").Mode | undefined} mode */
function checkPlan(plan, mode) {
  if (plan === undefined) return;
  const fault = mode === "full" ? "is given, but mode `full` has none" : planFault(plan);
  if (fault) throw failure("E_OPTION", `option \`plan\`: ${fault}`, { hint: "give a plan as a result has it, in mode `local` or `think`" });
}

/** A stopped edit goes on as it was: only picture, mask and listeners come from the caller. @param {import("./types").Checkpoint} checkpoint @param {import("./types").EditOptions} options @returns {import("./types").RunOptions} */
function resumed({ recipe, tokens }, options) {
  const sound = recipe?.v === 1 && Array.isArray(tokens) && tokens.every((token) => Number.isInteger(token) && token >= 0);
  if (!sound) throw failure("E_RECIPE_MISMATCH", "the checkpoint is damaged", { hint: "run the edit again" });
  const region = recipe.region === "mask" ? options.region ?? null : recipe.region;
  if (recipe.region === "mask" && !region) throw failure("E_REGION", "the edit had a mask; give it again as `region`");
  return {
    instruction: recipe.instruction, mode: recipe.mode, seed: String(recipe.seed), temperature: recipe.temperature, topK: recipe.topK ?? null, lock: recipe.lock, steer: recipe.steer === true,
    candidates: 1, rank: "none", paint: options.paint ?? "row", region, decided: tokens, candidate: recipe.candidate,
    expect: { model: recipe.model, image: recipe.image }, plan: recipe.plan ?? null, ahead: options.ahead ?? AHEAD.usual, area: recipe.area ?? 0,
    onDevice: tokens.length > 0 && recipe.determinism === "device", guard: 0,
  };
}
