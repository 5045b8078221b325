// @ts-check
/**
 * The model's own verifier on the page: verdicts and order are the native program's, on the device they are near; a model without one says so.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { GPU, bench, chunkFile, html, manifest, site, until } from "./helpers.js";
import { skip, trainer } from "./trainer.js";

const EDIT = { instruction: "swap the football and the cat", mode: "full", seed: 3, temperature: 1, candidates: 4 };

const work = mkdtempSync(join(tmpdir(), "earl-verifier-"));
/** @type {import("./helpers.js").Bench} */
let on;
before(async () => void (on = await bench()));
after(async () => {
  await on.close();
  rmSync(work, { recursive: true, force: true });
});

/** What a page makes of the edit: the candidates in order, and what is said of the best. @param {import("./helpers.js").Bench} on @param {object} create @param {object} edit */
async function made(on, create, edit) {
  const page = await on.fresh();
  page.setDefaultTimeout(0);
  const found = await page.evaluate(async ({ create, edit }) => {
    const t = await import("/test/tools.js");
    const editor = await t.create(create);
    const image = await t.file(await t.scene(0));
    const { candidates, verdict } = await editor.edit({ image, ...edit });
    await editor.destroy();
    return { order: candidates.map(({ index, seed, score }) => ({ index, seed, score })), verdict, png: [...new Uint8Array(await image.arrayBuffer())] };
  }, { create, edit });
  await page.context().close();
  return found;
}

test("W9 the verifier orders candidates, and its verdicts are the native program's to the last bit", { skip }, async () => {
  const { order, verdict, png } = await made(on, {}, EDIT);
  assert.deepEqual([...order].sort((a, b) => b.score - a.score || a.index - b.index), order);
  assert.equal(verdict, order[0]?.score);
  assert.ok(order.every(({ score }) => score > 0 && score < 1) && new Set(order.map(({ score }) => score)).size > 1);
  const [picture, out] = [join(work, "in.png"), join(work, "out.png")];
  writeFileSync(picture, Uint8Array.from(png));
  const flags = ["--mode", EDIT.mode, "--seed", `${EDIT.seed}`, "--temperature", `${EDIT.temperature}`, "--candidates", `${EDIT.candidates}`, "--rank", "verifier", "--json"];
  const native = JSON.parse(execFileSync(trainer, ["edit", "--model", join(site, "models/tiny"), picture, EDIT.instruction, "-o", out, ...flags], { stdio: "pipe", encoding: "utf8" }));
  assert.deepEqual(order.map(({ seed, score }) => [seed, score]).sort(), native.candidates.map((/** @type {any} */ { seed, verdict }) => [seed, verdict]).sort());
  assert.equal(native.recipe.seed, order[0]?.seed, "the same candidate is best");
});

test("W9 one candidate is judged if asked for; by likelihood none is", async () => {
  const one = await made(on, {}, { ...EDIT, candidates: 1, rank: "verifier" });
  const many = await made(on, { workers: 3 }, EDIT);
  assert.deepEqual([one.verdict, one.order[0]?.score], Array(2).fill(many.order.find(({ index }) => index === 0)?.score));
  const likely = await made(on, {}, { ...EDIT, rank: "likelihood" });
  assert.ok(likely.verdict === undefined && likely.order.every(({ score }) => score < 0));
  const alone = await made(on, {}, { ...EDIT, candidates: 1 });
  assert.equal(alone.verdict, undefined);
});

test("W9 no verifier's tensors: `E_NO_VERIFIER`, and likelihood is what orders", async () => {
  const bare = readFileSync(join(site, "models/tiny/manifest.json"), "utf8").replaceAll('"verifier.', '"spare.');
  on.server.files.set("/test/bare/manifest.json", Buffer.from(bare));
  for (const { sha256 } of manifest.chunks) on.server.files.set(`/test/bare/chunks/${sha256}.bin`, chunkFile(sha256));
  const found = await made(on, { model: "/test/bare/" }, EDIT);
  assert.ok(found.verdict === undefined && found.order.every(({ score }) => score < 0));
  const page = await on.fresh();
  const fault = await page.evaluate(async (edit) => {
    const t = await import("/test/tools.js");
    const editor = await t.create({ model: "/test/bare/" });
    const { code, hint } = await t.fault(async () => editor.edit({ image: await t.scene(0), ...edit, rank: "verifier" }));
    return { code, hint };
  }, EDIT);
  await page.context().close();
  assert.deepEqual(fault, { code: "E_NO_VERIFIER", hint: "rank by `likelihood` or `none`" });
});

test("W9 the element says of each candidate how likely it is right", async () => {
  on.server.files.set("/test/judged.html", html('<script type="module" src="/web/element/define.js"></script><earl-editor model="/models/tiny/" candidates="3"></earl-editor>'));
  const page = await on.fresh();
  await page.goto(`${on.server.url}test/judged.html`);
  const labels = await page.evaluate(async () => {
    const t = await import("/test/tools.js");
    const editor = /** @type {any} */ (document.querySelector("earl-editor"));
    editor.image = await t.scene(0);
    editor.instruction = "remove the football";
    await editor.run();
    return [...editor.shadowRoot.querySelectorAll(".candidate")].map((button) => button.getAttribute("aria-label"));
  });
  await page.context().close();
  assert.equal(labels.length, 3);
  for (const label of labels) assert.match(label ?? "", /^Candidate \d: right with \d+ %$/);
});

test("W9 the page keeps the best of several candidates and tells how sure it is", async () => {
  const page = await on.fresh();
  await page.goto(on.server.url);
  await page.waitForSelector("#status.ready");
  await page.locator("details", { hasText: "Settings" }).first().locator("summary").click();
  await page.selectOption("#candidates", "4");
  await page.fill("#instruction", "remove the football");
  await page.click("#run");
  await until(page, () => /best of 4, right with \d+ % as the model sees it/.test(document.querySelector("#result")?.textContent ?? ""));
  await page.context().close();
});

test("W9 on WebGPU the same candidates, and verdicts that are near", { timeout: 600_000 }, async () => {
  const reference = await made(on, {}, { ...EDIT, candidates: 2 });
  const device = await bench(GPU);
  try {
    const found = await made(device, { backend: "webgpu" }, { ...EDIT, candidates: 2 });
    assert.deepEqual(found.order.map(({ index }) => index), reference.order.map(({ index }) => index));
    found.order.forEach(({ score }, at) => assert.ok(Math.abs(score - (reference.order[at]?.score ?? 0)) < 0.02, `${score} against ${reference.order[at]?.score}`));
  } finally {
    await device.close();
  }
});
