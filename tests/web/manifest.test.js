// @ts-check
/** Manifests as an enemy would write them, against the page's own reader, without a browser. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { EarlError } from "../../web/errors.js";
import { parseManifest } from "../../web/manifest.js";
import { manifest } from "./helpers.js";

const MUTATIONS = 5000;
/** The site's, with fewer tensors, so that a mutation is more often one of the head. */
const small = { ...manifest, tensors: manifest.tensors.slice(0, 4), kat: [], files: [] };
const address = new URL("https://host/models/tiny/manifest.json");

/** Numbers by chance, repeatable. @param {number} seed */
function chance(seed) {
  let state = seed;
  return (/** @type {number} */ most) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * most);
  };
}

/** What may stand where something else is expected. */
const ODD = [
  null, true, "", "x", "../../etc", "https://elsewhere/", "q8", "t2", -1, 0.5, 1e300, 2 ** 53, 2 ** 36, 255, 256, 1, [], {}, [[]], "0".repeat(64), "F".repeat(64), `${"0".repeat(64)}\n`, ["a".repeat(64)],
  { toString: 1, valueOf: 1 }, { length: -1 }, "\u0000", "//elsewhere", "EARLW", 2,
];

/** One place changed, removed, doubled or swapped. @param {any} value @param {(most: number) => number} next @returns {any} */
function mutate(value, next) {
  const keys = value !== null && typeof value === "object" ? Object.keys(value) : [];
  if (keys.length === 0 || next(8) === 0) return ODD[next(ODD.length)];
  const key = /** @type {any} */ (keys[next(keys.length)]);
  const copy = Array.isArray(value) ? [...value] : { ...value };
  const how = next(10);
  if (how === 0) Array.isArray(copy) ? copy.splice(key, 1) : delete copy[key];
  else if (how === 1 && Array.isArray(copy)) copy.push(copy[key]);
  else if (how === 2 && typeof copy[key] === "number") copy[key] += next(2) * 2 - 1;
  else copy[key] = mutate(copy[key], next);
  return copy;
}

/** What the page does with a manifest before it fetches: none of it may fail or leave the folder. @param {import("../../web/types").Manifest} sound */
function use(sound) {
  let end = 0;
  for (const { sha256, offset, length } of sound.chunks) {
    assert.equal(offset, end);
    end += length;
    const { href } = new URL(`chunks/${sha256}.bin`, address);
    assert.match(href, /^https:\/\/host\/models\/tiny\/chunks\/[0-9a-f]{64}\.bin$/);
  }
  assert.equal(end, sound.size);
  for (const { shape, offset, length } of sound.tensors) {
    assert.ok(offset % 256 === 0 && length <= 120 << 20 && offset + length <= end, "a tensor lies in the stream");
    assert.ok(Number.isSafeInteger(shape.reduce((product, axis) => product * axis, 1)), "its values can be counted");
  }
  assert.equal([sound.model.name, sound.model.tier, sound.model.licence].every((text) => typeof text === "string"), true);
}

test(`W39 of ${MUTATIONS} mutated manifests each is refused with a typed error or sound: nothing outside \`chunks/\` can be fetched`, (context) => {
  const codes = new Map();
  for (let seed = 0; seed < MUTATIONS; seed++) {
    const next = chance(seed);
    let changed = small;
    for (let times = 1 + next(3); times > 0; times--) changed = mutate(changed, next);
    let code = "sound";
    try {
      use(parseManifest(new TextEncoder().encode(JSON.stringify(changed) ?? "")));
    } catch (error) {
      if (!(error instanceof EarlError)) assert.fail(`seed ${seed}: ${error}\n${JSON.stringify(changed)}`);
      code = error.code;
    }
    codes.set(code, (codes.get(code) ?? 0) + 1);
  }
  context.diagnostic(JSON.stringify(Object.fromEntries(codes)));
  assert.deepEqual([...codes.keys()].sort(), ["E_FORMAT", "E_TENSOR_SHAPE", "E_VERSION", "sound"]);
});

test("W39 of a manifest whose bytes are cut or flipped the same holds", () => {
  const text = new TextEncoder().encode(JSON.stringify(small));
  for (let seed = 0; seed < 2000; seed++) {
    const next = chance(seed);
    const bytes = text.slice(0, next(4) === 0 ? next(text.length) : text.length);
    for (let times = next(3); times >= 0 && bytes.length > 0; times--) {
      const at = next(bytes.length);
      bytes[at] = (bytes[at] ?? 0) ^ (1 << next(8));
    }
    try {
      use(parseManifest(bytes));
    } catch (error) {
      if (!(error instanceof EarlError)) assert.fail(`seed ${seed}: ${error}`);
    }
  }
});

test("W39, W41 a shape that does not take its bytes is E_TENSOR_SHAPE, and what is wrong with others is said", () => {
  const fault = (/** @type {object} */ change) => {
    try {
      parseManifest(new TextEncoder().encode(JSON.stringify({ ...small, tensors: [{ ...small.tensors[0], ...change }, ...small.tensors.slice(1)] })));
    } catch (error) {
      assert.ok(error instanceof EarlError);
      return [error.name, error.code, error.retryable, error.hint.length > 10, error.message];
    }
    return [];
  };
  assert.deepEqual(fault({}), []);
  assert.deepEqual(fault({ shape: [8192, 191] }).slice(0, 4), [], "rows are padded to whole blocks");
  for (const change of [{ shape: [8191, 192] }, { shape: [] }, { shape: [8192, 192.5] }, { length: 1 }, { dtype: "q4" }, { shape: [2 ** 30, 2 ** 30] }]) {
    assert.deepEqual(fault(change).slice(0, 4), ["EarlFormatError", "E_TENSOR_SHAPE", false, true], JSON.stringify(change));
  }
  assert.match(String(fault({ dtype: "q2" })[4]), /type `"q2"`; known are f32, f16, q8, q4, t2/);
  assert.match(String(fault({ name: small.tensors[1].name })[4]), /no name of its own/);
  assert.match(String(fault({ offset: 128 })[4]), /unaligned/);
});
