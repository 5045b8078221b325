// @ts-check
/** What the element's attributes ask of the editor. */
import { parseRect } from "./region.js";

/** @typedef {import("./attributes.js").Reflected} Reflected */

/** @param {Reflected} element @returns {import("../types").CreateOptions} */
export const createOptions = ({ model, modelHash, backend }) => ({
  ...(model ? { model } : {}), ...(modelHash ? { modelHash } : {}), backend: /** @type {import("../types").Backend} */ (backend || "auto"),
});

/**
 * A stopped edit, a recipe, or what the attributes say.
 * @param {Reflected} element @param {import("../types").Checkpoint | null} resume @param {import("../types").Recipe | null} recipe
 */
export function editOptions({ instruction, seed, candidates, region, lock, rank }, resume, recipe) {
  if (resume) return { resume };
  if (recipe) return { recipe };
  const rect = parseRect(region);
  return {
    instruction, seed, candidates, ...(rect ? { region: rect } : {}),
    ...(lock ? { lock: /** @type {import("../types").Lock} */ (lock) } : {}), ...(rank ? { rank: /** @type {import("../types").Rank} */ (rank) } : {}),
  };
}
