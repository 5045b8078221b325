// @ts-check
/**
 * Plans: the form of one that comes from outside, the boxes it shows, and the same plan with a box elsewhere.
 * @typedef {import("./types").Plan} Plan
 * @typedef {import("./types").PlanStep} PlanStep
 * @typedef {{ row: number, col: number, cells: number }} Place
 */

const VERBS = ["see", "erase", "draw", "background"];
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
