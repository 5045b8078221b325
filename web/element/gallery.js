// @ts-check
/** Rows of small pictures: the history and the candidates of an edit. */
import { percent } from "../result.js";
import { TEXTS, fill } from "./texts.js";

/** @param {import("./view.js").View} view @param {import("./history.js").History} history @param {boolean} all @param {(id: string) => void} go */
export function showHistory(view, { nodes, current }, all, go) {
  const shown = all ? nodes : [];
  view.clear.hidden = shown.length < 2 && !shown.some(({ recipe }) => recipe);
  const had = view.history.contains(/** @type {ShadowRoot} */ (view.history.getRootNode()).activeElement);
  view.history.replaceChildren(...shown.map((node) => view.thumbnail("node", node.label, node.data, node === current, () => go(node.id))));
  if (had) focusChosen(view.history);
}

/** @param {import("./view.js").View} view @param {import("./history.js").Node | null} node @param {(candidate: import("../types").Candidate) => void} choose */
export function showCandidates(view, node, choose) {
  const { candidates = [], verdict } = node?.result ?? {};
  const label = verdict === undefined ? TEXTS.candidate : TEXTS.judged;
  const had = view.candidates.contains(/** @type {ShadowRoot} */ (view.candidates.getRootNode()).activeElement);
  view.candidates.replaceChildren(...(candidates.length < 2 ? [] : candidates).map((candidate) =>
    view.thumbnail("candidate", fill(label, { number: candidate.index + 1, percent: percent(candidate.score) }), candidate.data, candidate.recipe.seed === node?.recipe?.seed, () => choose(candidate))));
  if (had) focusChosen(view.candidates);
}

/** The focus stays with the chosen picture when its row is drawn anew. @param {HTMLElement} row */
function focusChosen(row) {
  /** @type {HTMLElement | null} */ (row.querySelector('[aria-pressed="true"]'))?.focus();
}
