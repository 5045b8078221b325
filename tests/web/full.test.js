// @ts-check
/**
 * A bundle of tier `full` (Emu3's architecture, random weights) in the browser: the codes that the native
 * program wrote. The native test `the_page_has_codes_to_compare_with` leaves bundle and codes in the folder
 * `EARL_FULL` (where `EARL_PAGE_FIXTURE` told it to); modules built with feature `full` lie in the folder
 * `EARL_FULL_MODULES`, since the page's own are built without.
 */
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { GPU, bench } from "./helpers.js";

const folder = process.env["EARL_FULL"] ?? "";
const modules = process.env["EARL_FULL_MODULES"] ?? "";
const skip = folder && modules ? false : "EARL_FULL or EARL_FULL_MODULES names no folder";

/**
 * Edits with every expected request of a bundle in a fresh page.
 * @param {import("./helpers.js").Bench} on @param {string} module @param {string} quant
 */
async function edits(on, module, quant) {
  const expected = JSON.parse(readFileSync(join(folder, "expected.json"), "utf8")).filter((/** @type {any} */ one) => one.bundle === quant);
  const bundle = join(folder, quant);
  on.server.files.set("/test/full/manifest.json", readFileSync(join(bundle, "manifest.json")));
  for (const name of readdirSync(join(bundle, "chunks"))) on.server.files.set(`/test/full/chunks/${name}`, readFileSync(join(bundle, "chunks", name)));
  for (const name of [`${module}.js`, `${module}_bg.wasm`]) on.server.files.set(`/test/modules/${name}`, readFileSync(join(modules, name)));
  on.server.files.set("/test/in.png", readFileSync(join(folder, "in.png")));
  const page = await on.fresh();
  page.setDefaultTimeout(600_000);
  const made = await page.evaluate(async ({ module, requests }) => {
    const bytes = async (/** @type {string} */ path) => new Uint8Array(await (await fetch(path)).arrayBuffer());
    const wasm = await import(`/test/modules/${module}.js`);
    await wasm.default();
    const manifest = await bytes("/test/full/manifest.json");
    const { chunks } = JSON.parse(new TextDecoder().decode(manifest));
    const editor = await wasm.load_full(manifest, await Promise.all(chunks.map((/** @type {any} */ { sha256 }) => bytes(`/test/full/chunks/${sha256}.bin`))));
    const picture = wasm.decode(await bytes("/test/in.png"));
    const all = [];
    for (const request of requests) {
      let heard = 0;
      const { sourceCodes, codes, edited, passes } = await editor.edit(new Uint8Array(picture.rgba), picture.width, picture.height, request, () => void heard++);
      const rgb = edited.filter((/** @type {number} */ _, /** @type {number} */ at) => at % 4 !== 3);
      all.push({ sourceCodes, codes, passes, heard, sha256: wasm.sha256(new Uint8Array(rgb)) });
    }
    return all;
  }, { module, requests: expected.map((/** @type {any} */ one) => one.request) });
  await page.close();
  return made.map((/** @type {any} */ one, /** @type {number} */ at) => ({ made: one, expected: expected[at] }));
}

test("a published model's bundle writes the native codes on the CPU, in 8 bits and in float32", { skip }, async () => {
  const on = await bench();
  try {
    for (const quant of ["q8", "f32"]) {
      for (const { made, expected } of await edits(on, "earl_cpu", quant)) {
        const what = `${quant} ${expected.request.mode} ${expected.request.ahead}`;
        assert.deepEqual(made.sourceCodes, expected.source, what);
        assert.deepEqual(made.codes, expected.codes, what);
        assert.ok(made.heard > 0 && (expected.request.ahead === 0) === (made.passes === undefined || made.passes === null), what);
      }
    }
  } finally {
    await on.close();
  }
});

test("a published model's bundle writes the native codes on WebGPU, in float32", { skip, timeout: 900_000 }, async () => {
  const on = await bench(GPU);
  try {
    for (const { made, expected } of await edits(on, "earl_gpu", "f32")) {
      assert.deepEqual(made.sourceCodes, expected.source, expected.request.mode);
      assert.deepEqual(made.codes, expected.codes, expected.request.mode);
    }
  } finally {
    await on.close();
  }
});
