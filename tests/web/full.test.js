// @ts-check
/**
 * A published model's bundle (tier `full`: Emu3's architecture, random weights) in the browser, through the page's
 * API: the codes that the native program wrote. The native test `the_page_has_codes_to_compare_with` leaves bundles,
 * picture and codes in the folder `EARL_FULL` (where `EARL_PAGE_FIXTURE` told it to); `cargo xtask test` sets both.
 */
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { GPU, bench } from "./helpers.js";

const folder = process.env["EARL_FULL"] ?? "";
const skip = folder ? false : "EARL_FULL names no folder";

/** Serves the fixture below `/test/full/`. @param {string[]} flags */
async function withModels(flags = []) {
  const on = await bench(flags);
  const serve = (/** @type {string} */ name) => on.server.files.set(`/test/full/${name}`, readFileSync(join(folder, name)));
  serve("in.png");
  for (const quant of ["q8", "q4", "f32"]) {
    serve(`${quant}/manifest.json`);
    for (const name of readdirSync(join(folder, quant, "chunks"))) serve(`${quant}/chunks/${name}`);
  }
  return on;
}

/**
 * Does the expected edits of a bundle, or some of them, in a fresh page.
 * @param {import("./helpers.js").Bench} on @param {"cpu" | "webgpu"} backend @param {string} quant @param {number[]} [which]
 */
async function edits(on, backend, quant, which) {
  const all = JSON.parse(readFileSync(join(folder, "expected.json"), "utf8"));
  const expected = all.filter((/** @type {any} */ { bundle }) => bundle === quant).filter((/** @type {any} */ _, /** @type {number} */ at) => which?.includes(at) ?? true);
  const page = await on.fresh();
  page.setDefaultTimeout(0);
  const made = await page.evaluate(async ({ backend, quant, requests }) => {
    const { api } = await import("/test/tools.js");
    const editor = await api.createEditor({ model: `/test/full/${quant}/`, backend });
    const all = [];
    for (const { region, top_k, ...request } of requests) {
      const stream = editor.stream({ image: "/test/full/in.png", ...request, ...(region ? { region } : {}), ...(top_k ? { topK: top_k } : {}) });
      const heard = [];
      for await (const event of stream) if (event.type === "code") heard.push(event.done);
      const { tokens, stats, outside, data, canvas, backend, recipe } = await stream.result;
      all.push({ tokens, stats, outside, heard, size: [data.width, data.height], canvas: [canvas.width, canvas.height, canvas.edited.length], backend, area: recipe.area });
    }
    const { info } = editor;
    await editor.destroy();
    return { all, info };
  }, { backend, quant, requests: expected.map((/** @type {any} */ { request }) => request) });
  await page.context().close();
  assert.deepEqual([made.info.tier, made.info.backend, made.info.canvas, made.info.patch], ["full", backend, 0, 8]);
  expected.forEach(({ codes, request }, /** @type {number} */ at) => {
    const what = `${backend} ${quant} ${request.mode} ${request.ahead}`;
    const one = made.all[at];
    assert.deepEqual(one.tokens, codes, what);
    assert.deepEqual([one.size, one.backend, one.area], [[75, 61], backend, request.area], what);
    const [width, height, bytes] = one.canvas;
    assert.deepEqual([(width * height) / 64, bytes], [codes.length, width * height * 4], what);
    assert.ok(one.heard.length > 0 && one.heard.every((/** @type {number} */ done, /** @type {number} */ at) => at === 0 || done > one.heard[at - 1]), what);
    assert.ok(one.stats.forwards > 0 && one.stats.forwards <= one.heard.length, what);
    if (request.region) assert.deepEqual(one.outside, { pixels: 75 * 61 - 20 * 20, changed: 0 }, what);
  });
  return made.all;
}

test("a published model's bundle writes the native codes on the CPU, in 8 and 4 bits and in float32", { skip }, async () => {
  const on = await withModels();
  try {
    for (const quant of ["q8", "q4", "f32"]) await edits(on, "cpu", quant);
    assert.ok(on.server.count("earl_cpu_full_bg.wasm") > 0);
    assert.deepEqual([on.server.count("earl_cpu_bg.wasm"), on.server.count("earl_gpu")], [0, 0], "no other module is asked for");
    assert.deepEqual(on.noise, []);
  } finally {
    await on.close();
  }
});

test("a published model's bundle writes the native codes on WebGPU, packed and in float32", { skip, timeout: 900_000 }, async (context) => {
  const on = await withModels(GPU);
  try {
    // Software takes half a minute for a whole picture.
    for (const [quant, which] of /** @type {[string, number[]][]} */ ([["q4", [0, 1, 2]], ["q8", [0]], ["f32", [2]]])) {
      const all = await edits(on, "webgpu", quant, which);
      context.diagnostic(`${quant}: ${all.map(({ stats }) => `${Math.round(stats.milliseconds / 1000)} s`).join(", ")}`);
    }
    assert.ok(on.server.count("earl_gpu_full_bg.wasm") > 0);
    assert.deepEqual([on.server.count("earl_gpu_bg.wasm"), on.server.count("earl_cpu")], [0, 0], "no other module is asked for");
  } finally {
    await on.close();
  }
});

test("a published model refuses what it can't do, ends when told, and repeats a recipe", { skip }, async () => {
  const on = await withModels();
  try {
    const page = await on.fresh();
    page.setDefaultTimeout(0);
    const found = await page.evaluate(async () => {
      const t = await import("/test/tools.js");
      const editor = await t.api.createEditor({ model: "/test/full/q8/", backend: "cpu" });
      const tiny = await t.create();
      const edit = { image: await t.scene(0), instruction: "make it red", area: 1024 };
      const code = async (/** @type {object} */ more, from = editor) => (await t.fault(() => from.edit({ ...edit, ...more }))).code;
      const codes = [
        await code({ plan: [] }), await code({ maps: true }), await code({ candidates: 2 }), await code({ area: 255 }), await code({ mode: "local" }),
        await code({ mode: "think", reasoning: "off" }), await code({ instruction: " " }), await code({}, tiny), (await t.fault(() => editor.selfTest())).code,
      ];
      const ended = (await t.fault(() => editor.edit({ ...edit, area: 65_536, signal: AbortSignal.timeout(1) }))).name;
      const { recipe, tokens, determinism, reasoning } = await editor.edit(edit);
      const again = await editor.edit({ image: edit.image, recipe });
      const stream = editor.stream(edit);
      const checkpoint = await stream.stop();
      const went = await editor.edit({ image: edit.image, resume: checkpoint });
      const silent = await editor.edit({ ...edit, reasoning: "off" });
      const within = await editor.edit({ ...edit, reasoning: "off", region: { x: 0, y: 0, width: 32, height: 32 } });
      return { silent: [silent.tokens, silent.recipe.mode, within.recipe.mode, within.reasoning], codes, ended, recipe, tokens, determinism, reasoning, again: again.tokens, went: went.tokens, checkpoint: checkpoint.tokens };
    });
    assert.deepEqual(found.codes, ["E_OPTION", "E_OPTION", "E_OPTION", "E_OPTION", "E_OPTION", "E_OPTION", "E_INSTRUCTION", "E_OPTION", "E_SELF_TEST"]);
    assert.deepEqual(found.silent, [found.tokens, "full", "local", undefined], "without reasoning");
    assert.equal(found.ended, "TimeoutError");
    assert.deepEqual([found.recipe.mode, found.recipe.area, found.determinism, found.reasoning], ["full", 1024, "device", undefined]);
    assert.deepEqual([found.again, found.went, found.checkpoint], [found.tokens, found.tokens, []]);
    await page.context().close();
  } finally {
    await on.close();
  }
});
