// @ts-check
/**
 * Bundles of every type of number, written by the native program from the shipped model and read by the page. The
 * program writes known answers into each: the page must give the same tokens, pixels and last bits, so every weight
 * was read as it was written.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { parseManifest } from "../../web/manifest.js";
import { bench, site } from "./helpers.js";
import { skip, trainer } from "./trainer.js";

const work = mkdtempSync(join(tmpdir(), "earl-bundles-"));
/** @type {import("./helpers.js").Bench} */
let on;
before(async () => void (on = await bench()));
after(async () => {
  await on.close();
  rmSync(work, { recursive: true, force: true });
});

/** The types in a manifest; every tensor starts at a multiple of 256 bytes and takes at most 120 MiB. @param {string} folder */
function typesOf(folder) {
  const { tensors } = parseManifest(readFileSync(join(folder, "manifest.json")));
  for (const { name, offset, length } of tensors) assert.ok(offset % 256 === 0 && length <= 120 * 1024 * 1024, `${name} at ${offset}, ${length} bytes`);
  return [...new Set(tensors.map(({ dtype }) => dtype))].sort();
}

for (const [quant, types] of /** @type {const} */ ([["q8", ["f16", "f32", "q8"]], ["q4", ["f16", "f32", "q4", "q8"]], ["t2", ["f16", "f32", "q8", "t2"]], ["f16", ["f16", "f32"]], ["f32", ["f32"]]])) {
  test(`W39 matrices in ${quant}: the page gives the known answers of the native export, to the last bit`, { skip }, async (context) => {
    const folder = join(work, quant);
    execFileSync(trainer, ["export", "--model", join(site, "models/tiny"), "--quant", quant, "--out", folder], { stdio: "pipe" });
    assert.deepEqual(typesOf(folder), types);
    for (const name of readdirSync(folder, { recursive: true, encoding: "utf8" })) {
      if (/\.(json|bin)$/.test(name)) on.server.files.set(`/test/${quant}/${name}`, readFileSync(join(folder, name)));
    }
    const page = await on.fresh();
    const { checks, hash } = await page.evaluate(async (quant) => {
      const t = await import("/test/tools.js");
      const editor = await t.create({ model: `/test/${quant}/` });
      return { checks: (await editor.selfTest()).checks, hash: editor.info.modelHash };
    }, quant);
    await page.context().close();
    const known = checks.filter(({ name }) => name.startsWith("known answer"));
    context.diagnostic(`model ${hash.slice(0, 8)}, ${known.length} known answers`);
    assert.equal(known.length, 12);
    assert.deepEqual(checks.filter(({ ok }) => !ok), []);
  });
}

const full = process.env["EARL_FULL"] ?? "";
test("W39 tensors of published models' bundles are aligned and fit a binding too", { skip: full ? false : "EARL_FULL names no folder" }, () => {
  assert.deepEqual(typesOf(join(full, "q8")).includes("q8"), true);
  assert.deepEqual(typesOf(join(full, "f32")), ["f32"]);
});
