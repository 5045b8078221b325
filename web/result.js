// @ts-check
/**
 * From what the worker hands over to what the caller gets.
 * @typedef {import("./types").Ran} Ran
 */
import { small } from "./recipe.js";

/** A probability for people. @param {number} share */
export const percent = (share) => `${Math.round(100 * share)} %`;

/** What candidates are ordered by. @param {Ran} ran */
export const scoreOf = ({ verdict, logProb }) => verdict ?? logProb;

/** @param {Ran} ran @param {number} index @returns {import("./types").Candidate} */
export const candidateOf = (ran, index) => ({
  index, seed: small(ran.seed), score: scoreOf(ran), image: ran.png,
  data: new ImageData(ran.rgba, ran.width, ran.height), recipe: ran.recipe,
  outside: ran.outside, plan: ran.plan, tokens: ran.program,
});

/** @param {import("./types").ModelInfo} info @param {Ran} ran @param {import("./types").Candidate[]} candidates @returns {import("./types").EditResult} */
export const resultOf = (info, ran, candidates) => ({
  image: ran.png,
  data: new ImageData(ran.rgba, ran.width, ran.height),
  candidates, plan: ran.plan, recipe: ran.recipe, outside: ran.outside, determinism: ran.recipe.determinism, backend: info.backend,
  notes: ran.notes, doubt: ran.doubt, tokens: ran.program,
  ...(ran.reasoning ? { reasoning: ran.reasoning } : {}), ...(ran.verdict === undefined ? {} : { verdict: ran.verdict }),
  canvas: { side: info.canvas, patch: info.patch, width: info.canvas, height: info.canvas, ...ran.canvas, source: ran.source, edited: ran.edited },
  stats: { tokens: ran.tokens, forwards: ran.forwards, milliseconds: ran.milliseconds, logProb: ran.logProb },
});

/** One value a cell from the first candidate's tokens. @param {import("./types").ModelInfo} info @param {import("./types").TokenInfo[]} tokens @returns {import("./types").Maps} */
export function mapsOf({ canvas, patch }, tokens) {
  const side = canvas / patch;
  const bytes = () => new Uint8Array(side * side);
  const maps = { rows: side, cols: side, entropy: new Float32Array(side * side).fill(NaN), changed: bytes(), accepted: bytes(), forced: bytes() };
  for (const { row, col, id, sourceId, entropy, accepted, forced } of tokens) {
    if (row === null || col === null || sourceId === null) continue;
    const at = row * side + col;
    maps.entropy[at] = entropy;
    maps.changed[at] = id === sourceId ? 0 : 1;
    maps.accepted[at] = accepted ? 1 : 0;
    maps.forced[at] = forced ? 1 : 0;
  }
  return maps;
}
