// @ts-check
/**
 * WebGPU beside the CPU, on Chromium's software adapter: the same tokens and pixels, chosen by the device where
 * its choice is clear, and by the CPU where it is close.
 */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { GPU, bench, budget } from "./helpers.js";

/** @type {import("./helpers.js").Bench} */
let on;
before(async () => {
  on = await bench(GPU);
});
after(() => on.close());

/**
 * Edits the first sample on the CPU and on WebGPU.
 * @param {object[]} edits @param {{ workerUrl: string, margin: number } | null} spoilt another worker for WebGPU, as if its device had passed, with this margin for close choices
 */
async function both(edits, spoilt = null) {
  const page = await on.fresh();
  page.setDefaultTimeout(0);
  const found = await page.evaluate(async ({ edits, spoilt }) => {
    const t = await import("/test/tools.js");
    const cpu = await t.create();
    let gpu = await t.create({ backend: "webgpu" });
    const { offBy } = spoilt ? { offBy: null } : await gpu.selfTest();
    if (spoilt) {
      const store = await caches.open("earl-weights-v1");
      const [passed] = (await store.keys()).filter(({ url }) => url.includes("/passed-"));
      await store.put(passed, new Response(String(spoilt.margin)));
      await gpu.destroy();
      gpu = await t.create({ backend: "webgpu", workerUrl: spoilt.workerUrl });
    }
    const image = await t.scene(0);
    const told = [];
    for (const edit of edits) {
      const run = async (editor) => {
        const { tokens, determinism, recipe, stats, data } = await editor.edit({ image, ...edit });
        return { tokens, determinism, recipe: recipe.determinism, forwards: stats.forwards, pixels: await t.hash(new Blob([data.data])) };
      };
      const began = performance.now();
      told.push({ cpu: await run(cpu), gpu: await run(gpu), ms: Math.round(performance.now() - began) });
    }
    return { told, stats: gpu.stats(), offBy };
  }, { edits, spoilt });
  await page.context().close();
  return found;
}

describe("guarded", () => {
  test("W2, W3 a device writes the CPU's tokens and pixels: greedy and sampled, local, think and full, drafts or none", async (context) => {
    const dog = { instruction: "replace the football with a dog" };
    const edits = [dog, { ...dog, temperature: 1, seed: 7 }, { ...dog, mode: "think" }, { ...dog, mode: "full" }, { instruction: "make the background pink", ahead: 0 }];
    const { told, stats, offBy } = await both(edits);
    context.diagnostic(`known answers off by ${offBy}; ${stats.guarded} of ${stats.tokens} tokens chosen again; ${told.map(({ gpu, ms }) => `${gpu.tokens.length} tokens in ${gpu.forwards} passes, ${ms} ms`).join("; ")}`);
    for (const [at, { cpu, gpu }] of told.entries()) {
      assert.deepEqual([gpu.tokens, gpu.pixels], [cpu.tokens, cpu.pixels], `edit ${at}`);
      assert.deepEqual([cpu.determinism, gpu.determinism, gpu.recipe], ["reference", "guarded", "guarded"]);
    }
    budget(context, "choices made again a token", stats.guarded / stats.tokens, 0.05);
  });

  test("W4 stopped on one backend and gone on with on the other: the same tokens and pixels", async () => {
    const page = await on.fresh();
    page.setDefaultTimeout(0);
    const found = await page.evaluate(async () => {
      const t = await import("/test/tools.js");
      const [cpu, gpu] = [await t.create(), await t.create({ backend: "webgpu" })];
      const edit = { image: await t.scene(0), instruction: "replace the football with a dog" };
      const facts = async ({ tokens, data, determinism }) => ({ tokens, pixels: await t.hash(new Blob([data.data])), determinism });
      const across = async (first, second) => {
        const stream = first.stream({ ...edit, onToken: ({ index }) => void (index === 8 && stream.stop()) });
        await stream.result;
        const resume = stream.checkpoint;
        return { at: resume.tokens.length, ...(await facts(await second.edit({ image: edit.image, resume }))) };
      };
      return { whole: await facts(await cpu.edit(edit)), there: await across(cpu, gpu), back: await across(gpu, cpu) };
    });
    await page.context().close();
    for (const half of [found.there, found.back]) {
      assert.ok(half.at > 0 && half.at < found.whole.tokens.length, `stopped after ${half.at} tokens`);
      assert.deepEqual([half.tokens, half.pixels], [found.whole.tokens, found.whole.pixels]);
    }
    assert.deepEqual([found.there.determinism, found.back.determinism], ["guarded", "reference"]);
  });

  test("W2 a close choice is the CPU's, whatever the device chose", async () => {
    const workerUrl = on.worker("next-code", `
      const make = GPUDevice.prototype.createShaderModule;
      GPUDevice.prototype.createShaderModule = function (what) {
        return make.call(this, { ...what, code: what.code.replace("= f32(place);", "= f32((place + 1u) % WIDTH);") });
      };`);
    const { told, stats } = await both([{ instruction: "add a cat" }], { workerUrl, margin: 1e9 });
    const [{ cpu, gpu }] = /** @type {[any]} */ (told);
    assert.deepEqual([gpu.tokens, gpu.pixels, gpu.determinism], [cpu.tokens, cpu.pixels, "guarded"]);
    assert.ok(stats.guarded > 0);
    const alone = await both([{ instruction: "add a cat" }], { workerUrl, margin: 0 });
    const [{ gpu: wrong }] = /** @type {[any]} */ (alone.told);
    assert.notDeepEqual(wrong.tokens, cpu.tokens, "left alone the device writes other codes");
    assert.equal(wrong.determinism, "device");
  });
});
