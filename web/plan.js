// @ts-check
/**
 * Plans: the form of one that comes from outside, the boxes it shows, and the same plan with another box.
 * @typedef {import("./types").Plan} Plan
 * @typedef {import("./types").PlanStep} PlanStep
 * @typedef {{ row: number, col: number, cells: number }} Place
 */

const VERBS = ["see", "erase", "draw", "background"];
/** Sides a box may have, in cells: those the model has words for. */
export const SIZES = /** @type {const} */ ([2, 3, 4]);
/** Most steps of a plan. */
const MOST_STEPS = 12;

/** What is wrong with what should be a plan, `""` if nothing. Words and places are the model's to check. @param {unknown} plan */
export function planFault(plan) {
  if (!Array.isArray(plan)) return "is no list of steps";
  if (plan.length > MOST_STEPS) return `has ${plan.length} steps, more than ${MOST_STEPS}`;
  for (const [at, step] of plan.entries()) {
    if (!VERBS.includes(step?.verb)) return `step ${at + 1}: \`verb\` is \`${step?.verb}\`, none of ${VERBS.join(", ")}`;
    if (typeof step.name !== "string") return `step ${at + 1} has no \`name\``;
    if (typeof (step.tint ?? "") !== "string") return `step ${at + 1}: \`tint\` is neither a colour nor null`;
    for (const name of /** @type {const} */ (["row", "col", "cells"])) {
      if (!Number.isInteger(step[name]) || step[name] < 0) return `step ${at + 1}: \`${name}\` is \`${step[name]}\`, no whole number from 0`;
    }
  }
  return "";
}

/** A plan's own fields and nothing else; no tint is null, as JSON has it. @param {Plan} plan @returns {Plan} */
export const plainPlan = (plan) => plan.map(({ verb, name, tint, row, col, cells }) => ({ verb, name, tint: tint ?? null, row, col, cells }));

/** The plan with one step's box elsewhere, or of another size. @param {Plan} plan @param {number} at @param {Place} to @returns {Plan} */
export const withBoxAt = (plan, at, to) => plan.map((step, index) => (index === at ? { ...step, ...to } : step));

/**
 * The boxes a plan shows, each with the step it stands for; what is drawn where something was erased carries the label of both.
 * @param {Plan} plan @returns {(Place & { step: number, kind: PlanStep["verb"], label: string })[]}
 */
export function planBoxes(plan) {
  const named = (/** @type {PlanStep} */ step) => (step.tint ? `${step.tint} ${step.name}` : step.name);
  const place = (/** @type {PlanStep} */ step) => `${step.row} ${step.col} ${step.cells}`;
  const drawn = new Set(plan.filter((step) => step.verb === "draw").map(place));
  const erased = new Map(plan.filter((step) => step.verb === "erase").map((step) => [place(step), step]));
  const label = (/** @type {PlanStep} */ step) => {
    if (step.verb === "see") return `look at ${named(step)}`;
    const old = erased.get(place(step));
    if (step.verb === "draw" && old) return `${named(old)} → ${named(step)}`;
    return `${step.verb} ${named(step)}`;
  };
  return plan
    .map((step, at) => ({ row: step.row, col: step.col, cells: step.cells, step: at, kind: step.verb, label: label(step), hidden: step.verb === "erase" && drawn.has(place(step)) }))
    .filter(({ cells, hidden }) => cells > 0 && !hidden)
    .map(({ hidden, ...box }) => box);
}
