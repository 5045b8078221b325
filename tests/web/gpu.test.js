// @ts-check
/**
 * WebGPU that is broken or goes away, on Chromium's software adapter. The faults are made in the worker: a
 * script that changes WebGPU's prototypes is read before ours (`workerUrl`).
 */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { GPU, bench, chunkCount, site } from "./helpers.js";

/** @type {import("./helpers.js").Bench} */
let on;
/** @type {{ tokens: number[], pixels: string }} */
let right;
/** The shortest edit: five tokens. */
const INSTRUCTION = "make the background pink";

before(async () => {
  on = await bench(GPU);
  const page = await on.fresh();
  right = await page.evaluate(async (instruction) => {
    const t = await import("/test/tools.js");
    const { tokens, data } = await (await t.create()).edit({ image: await t.scene(0), instruction });
    return { tokens, pixels: await t.hash(new Blob([data.data])) };
  }, INSTRUCTION);
  await page.context().close();
});
after(() => on.close());

/** Shaders that do not compile. */
const BROKEN_SHADERS = `const make = GPUDevice.prototype.createShaderModule;
  GPUDevice.prototype.createShaderModule = function (what) { return make.call(this, { ...what, code: what.code + "\\nthis is no shader" }); };`;

/** Of the WebGPU module, as a passed self-test is remembered by it. */
const module = createHash("sha256").update(readFileSync(join(site, "web/wasm/earl_gpu_bg.wasm"))).digest("hex");

/**
 * Opens an editor on a profile of its own and edits; the software adapter passes for a real one.
 * @param {string} workerUrl @param {{ backend: string, passed?: boolean, deviceMs?: number }} how `passed`: the device gave its known answer before
 */
async function edit(workerUrl, { backend, passed = false, deviceMs = 400_000 }) {
  on.limits({ deviceMs });
  const page = await on.fresh();
  page.setDefaultTimeout(0);
  const weights = on.server.count("chunks/");
  const found = await page.evaluate(async ({ workerUrl, backend, passed, instruction, module }) => {
    const t = await import("/test/tools.js");
    navigator.gpu.requestAdapter = async () => ({ info: { vendor: "test", architecture: "test", device: "", description: "" } });
    if (passed) await t.pretendPassed(module);
    const started = performance.now();
    const editor = await t.create({ workerUrl, backend });
    const opened = { backend: editor.info.backend, reason: editor.info.reason, ms: Math.round(performance.now() - started) };
    const states = [];
    editor.addEventListener("statechange", ({ detail }) => states.push(detail.state));
    const indices = [];
    const result = await editor.edit({ image: await t.scene(0), instruction, onToken: ({ index }) => indices.push(index) });
    return {
      opened, states, indices, tokens: result.tokens, pixels: await t.hash(new Blob([result.data.data])), determinism: result.determinism,
      backend: result.backend, reason: editor.info.reason, workers: editor.stats().workers, passed: await t.passes(),
      ms: Math.round(performance.now() - started),
    };
  }, { workerUrl, backend, passed, instruction: INSTRUCTION, module });
  on.server.spoil.clear();
  await page.context().close();
  return { ...found, weights: on.server.count("chunks/") - weights };
}

describe("a broken device", () => {
  for (const [fault, script] of /** @type {const} */ ([
    ["shaders that do not compile", BROKEN_SHADERS],
    ["a wrong constant", `const make = GPUDevice.prototype.createShaderModule;
      GPUDevice.prototype.createShaderModule = function (what) { return make.call(this, { ...what, code: what.code.replace(/const SCALE = [^;]+;/, "const SCALE = 1.0f;") }); };`],
    ["no answer at all", "GPUQueue.prototype.submit = function () {};"],
    ["no numbers", `const range = GPUBuffer.prototype.getMappedRange;
      GPUBuffer.prototype.getMappedRange = function (...part) {
        const bytes = range.apply(this, part);
        if (this.usage & GPUBufferUsage.MAP_READ) new Uint8Array(bytes).fill(255);
        return bytes;
      };`],
  ])) {
    test(`W26 ${fault}: the self-test fails, the CPU edits, and the reason is told`, async (context) => {
      const found = await edit(on.worker("broken", script), { backend: "auto", ...(fault === "no answer at all" ? { deviceMs: 10_000 } : {}) });
      context.diagnostic(`${found.reason}; ${found.opened.ms} ms`);
      assert.equal(found.opened.backend, "cpu");
      assert.match(found.opened.reason ?? "", /^E_SELF_TEST: /);
      assert.deepEqual([found.tokens, found.pixels], [right.tokens, right.pixels]);
      assert.deepEqual([found.determinism, found.passed], ["reference", 0]);
    });
  }

  test("W26, W41 a device that passed before and now complains in an edit: E_SHADER; tried again, it is tested anew and the CPU edits", async () => {
    const page = await on.fresh();
    page.setDefaultTimeout(0);
    const late = `const post = self.postMessage.bind(self);
      self.postMessage = (message, ...rest) => {
        post(message, ...rest);
        if (message.type === "begin") { ${BROKEN_SHADERS} }
      };`;
    // The second worker's shaders are broken from the start, as those of a driver that changed.
    let workers = 0;
    const workerUrl = on.worker("late", "");
    on.server.spoil.set("/test/late.js", () => Buffer.from(workers++ === 0 ? late : BROKEN_SHADERS));
    const found = await page.evaluate(async ({ workerUrl, instruction, module }) => {
      const t = await import("/test/tools.js");
      navigator.gpu.requestAdapter = async () => ({ info: { vendor: "test", architecture: "test", device: "", description: "" } });
      await t.pretendPassed(module);
      const editor = await t.create({ workerUrl, backend: "auto" });
      const opened = editor.info.backend;
      const image = await t.scene(0);
      const error = await t.fault(() => editor.edit({ image, instruction }));
      const passes = await t.passes();
      const again = await editor.edit({ image, instruction });
      return { opened, error, passes, backend: again.backend, reason: editor.info.reason, tokens: again.tokens };
    }, { workerUrl, instruction: INSTRUCTION, module });
    const { code, name, retryable, hint } = found.error;
    assert.deepEqual([found.opened, code, name, retryable, found.passes], ["webgpu", "E_SHADER", "EarlDeviceError", true, 0], found.error.message);
    assert.match(hint, /tested anew/);
    assert.equal(found.backend, "cpu");
    assert.match(found.reason ?? "", /^E_(SHADER|SELF_TEST): /);
    assert.deepEqual(found.tokens, right.tokens);
    // Who asks for WebGPU hears what is wrong with it.
    const asked = await page.evaluate(async (workerUrl) => {
      const t = await import("/test/tools.js");
      return t.fault(() => t.create({ workerUrl, backend: "webgpu" }));
    }, workerUrl);
    assert.ok(["E_SHADER", "E_SELF_TEST"].includes(asked.code), asked.code);
    await page.context().close();
  });

  test("W28 a browser that refuses the device: the CPU edits, and the reason is told", async () => {
    const refused = "GPUAdapter.prototype.requestDevice = async () => { throw new DOMException('no device for this page', 'OperationError'); };";
    const found = await edit(on.worker("refused", refused), { backend: "auto" });
    assert.equal(found.opened.backend, "cpu");
    assert.match(found.opened.reason ?? "", /no device for this page/);
    assert.deepEqual([found.tokens, found.pixels, found.determinism], [right.tokens, right.pixels, "reference"]);
  });

  test("W26, W41 who asks for WebGPU gets E_SELF_TEST instead", async () => {
    on.limits({ emulatedMs: 1000 });
    const page = await on.fresh();
    const workerUrl = on.worker("broken", "GPUQueue.prototype.submit = function () {};");
    const found = await page.evaluate(async (workerUrl) => {
      const t = await import("/test/tools.js");
      return t.fault(() => t.create({ backend: "webgpu", workerUrl }));
    }, workerUrl);
    on.server.spoil.clear();
    assert.deepEqual([found.code, found.name, found.retryable], ["E_SELF_TEST", "EarlDeviceError", false]);
    await page.context().close();
  });
});

describe("a device that goes away", () => {
  /** When a device is destroyed: a condition on `at`, what the worker has done. */
  const WHEN = {
    load: "at.buffers === 20", test: "at.loaded && at.submits === 1", prefill: "at.begun && at.submits === 1",
    decode: (/** @type {number} */ token) => `at.token === ${token}`,
  };

  /** Workers whose device is destroyed, one after another; later ones keep theirs. @param {string[]} when */
  const losing = (...when) => {
    const url = on.worker("losing", "");
    let workers = 0;
    on.server.spoil.set("/test/losing.js", () => {
      const now = when[workers++];
      return Buffer.from(now === undefined ? "" : `
        const at = { buffers: 0, submits: 0, token: -1, loaded: false, begun: false };
        let device = null;
        const watch = () => { if (device && (${now})) (device.destroy(), device = null); };
        const after = (type, name, note) => {
          const own = type.prototype[name];
          type.prototype[name] = function (...what) { const found = own.apply(this, what); note(); watch(); return found; };
        };
        const request = GPUAdapter.prototype.requestDevice;
        GPUAdapter.prototype.requestDevice = async function (...how) { return (device = await request.apply(this, how)); };
        after(GPUDevice, "createBuffer", () => at.buffers++);
        after(GPUQueue, "submit", () => at.submits++);
        const post = self.postMessage.bind(self);
        self.postMessage = (message, ...rest) => {
          post(message, ...rest);
          if (message.type === "token") at.token = message.token.index;
          if (message.type === "begin") Object.assign(at, { begun: true, submits: 0 });
          if (message.type === "done" && message.value?.modelHash) Object.assign(at, { loaded: true, submits: 0 });
          watch();
        };`);
    });
    return url;
  };

  test("W27 lost while the model is loaded: a new worker loads the weights that are there, and the edit is the same", async (context) => {
    const found = await edit(losing(WHEN.load), { backend: "webgpu", passed: true });
    context.diagnostic(`opened in ${found.opened.ms} ms, done after ${found.ms} ms`);
    assert.deepEqual([found.opened.backend, found.opened.reason, found.backend, found.determinism], ["webgpu", null, "webgpu", "guarded"]);
    // Uploads wait for no answer: the loss may be heard only when the edit begins.
    assert.ok(["running,ready", "running,lost,ready,running,ready"].includes(found.states.join()), found.states.join());
    assert.deepEqual([found.tokens, found.pixels, found.workers, found.weights], [right.tokens, right.pixels, 2, chunkCount]);
    assert.deepEqual(found.indices, right.tokens.map((_, at) => at));
  });

  test("W27 lost in the self-test: another device is tested; the second time the CPU edits, and the reason is told", async (context) => {
    const once = await edit(losing(WHEN.test), { backend: "webgpu" });
    context.diagnostic(`opened in ${once.opened.ms} ms, done after ${once.ms} ms`);
    assert.deepEqual([once.opened.backend, once.opened.reason, once.backend, once.determinism, once.passed], ["webgpu", null, "webgpu", "guarded", 1]);
    const twice = await edit(losing(WHEN.test, WHEN.test), { backend: "auto" });
    assert.deepEqual([twice.opened.backend, twice.backend, twice.determinism, twice.passed], ["cpu", "cpu", "reference", 0]);
    assert.match(twice.opened.reason ?? "", /^E_DEVICE_LOST: /);
    for (const [found, workers] of /** @type {const} */ ([[once, 2], [twice, 3]])) {
      assert.deepEqual(found.states, ["running", "ready"]);
      assert.deepEqual([found.tokens, found.pixels, found.workers, found.weights], [right.tokens, right.pixels, workers, chunkCount]);
    }
  });

  for (const [where, when] of /** @type {const} */ ([["in prefill", WHEN.prefill], ["in decode", WHEN.decode(1)]])) {
    test(`W27 lost ${where}: a new worker goes on from the decided tokens, without fetching weights; each token is told once`, async (context) => {
      const found = await edit(losing(when), { backend: "webgpu", passed: true });
      context.diagnostic(`opened in ${found.opened.ms} ms, done after ${found.ms} ms`);
      assert.deepEqual([found.opened.backend, found.backend, found.determinism], ["webgpu", "webgpu", "guarded"]);
      assert.deepEqual(found.states, ["running", "lost", "ready", "running", "ready"]);
      assert.deepEqual([found.tokens, found.pixels], [right.tokens, right.pixels]);
      assert.deepEqual(found.indices, right.tokens.map((_, at) => at));
      assert.equal(found.workers, 2);
      assert.equal(found.weights, chunkCount, "the second worker's weights come from the store");
    });
  }

  test("W27 lost twice in one edit: the CPU goes on, and says why", async (context) => {
    const found = await edit(losing(WHEN.decode(0), WHEN.decode(1)), { backend: "webgpu", passed: true });
    context.diagnostic(`opened in ${found.opened.ms} ms, done after ${found.ms} ms`);
    assert.deepEqual([found.opened.backend, found.backend, found.determinism], ["webgpu", "cpu", "reference"]);
    assert.match(found.reason ?? "", /^E_DEVICE_LOST: /);
    assert.deepEqual(found.states, ["running", "lost", "ready", "running", "lost", "ready", "running", "ready"]);
    assert.deepEqual([found.tokens, found.pixels], [right.tokens, right.pixels]);
    assert.deepEqual(found.indices, right.tokens.map((_, at) => at));
  });
});
