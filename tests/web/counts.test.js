// @ts-check
/**
 * What an edit asks of the device: a script read before the worker's own counts calls by WebGPU's prototypes. The
 * counts are the same on any device, so Chromium's software adapter can tell them; times it can't.
 */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { GPU, bench } from "./helpers.js";

/**
 * Of one pass: 10 · 6 blocks + 12 dispatches, a quarter more with drafts, and 8 bytes for each of the best hundred and 64 to each place.
 * One submit was the goal; CubeCL hands over what is queued before it queues the copy that is read.
 */
const LIMITS = { dispatches: 72, drafts: 1.25, submits: 2, read: 864 };

/** @typedef {{ dispatches: number, submits: number, maps: number, read: number, buffers: number, live: number, pipelines: number, shaders: number, layouts: number }} Counts */

/** Counts, and keeps a copy at each edit's beginning, for each token, and at its end. */
const PROBE = `
  const counts = { dispatches: 0, submits: 0, maps: 0, read: 0, buffers: 0, live: 0, pipelines: 0, shaders: 0, layouts: 0 };
  const before = (type, name, note) => {
    const own = type.prototype[name];
    type.prototype[name] = function (...what) { note(...what); return own.apply(this, what); };
  };
  const count = (what, by = () => 1) => (...args) => void (counts[what] += by(...args));
  before(GPUComputePassEncoder, "dispatchWorkgroups", count("dispatches"));
  before(GPUComputePassEncoder, "dispatchWorkgroupsIndirect", count("dispatches"));
  before(GPUQueue, "submit", count("submits"));
  before(GPUBuffer, "mapAsync", count("maps"));
  before(GPUCommandEncoder, "copyBufferToBuffer", (from, to, ...rest) => {
    const [into, size] = to instanceof GPUBuffer ? [to, rest[0]] : [rest[0], rest[2]];
    if (into.usage & GPUBufferUsage.MAP_READ) counts.read += size;
  });
  before(GPUDevice, "createBuffer", () => { counts.buffers++; counts.live++; });
  before(GPUBuffer, "destroy", count("live", () => -1));
  for (const name of ["createComputePipeline", "createComputePipelineAsync"]) before(GPUDevice, name, count("pipelines"));
  before(GPUDevice, "createShaderModule", count("shaders"));
  for (const name of ["createBindGroupLayout", "createPipelineLayout"]) before(GPUDevice, name, count("layouts"));
  const told = [];
  const post = self.postMessage.bind(self);
  self.postMessage = (message, ...rest) => {
    if (["begin", "token", "ran"].includes(message.type)) told.push({ ...counts });
    post(message, ...rest);
  };
  new BroadcastChannel("counts").onmessage = ({ target }) => target.postMessage(told);
`;

/** @type {import("./helpers.js").Bench} */
let on;
before(async () => {
  on = await bench(GPU);
});
after(() => on.close());

/**
 * Edits of one editor; the counts at its beginning, every token and its end, by edit, and what the editor itself says of it.
 * @param {{ instruction: string, mode?: string }[]} edits @returns {Promise<{ at: Counts[], stats: Record<string, number> }[]>}
 */
async function counted(edits) {
  const workerUrl = on.worker("counting", PROBE);
  const page = await on.fresh();
  page.setDefaultTimeout(0);
  const told = await page.evaluate(async ({ edits, workerUrl }) => {
    const t = await import("/test/tools.js");
    const editor = await t.create({ workerUrl, backend: "webgpu" });
    const channel = new BroadcastChannel("counts");
    const heard = () => new Promise((resolve) => {
      channel.onmessage = ({ data }) => resolve(data);
      channel.postMessage("tell");
    });
    const all = [];
    for (const edit of edits) {
      const [start, before] = [(await heard()).length, editor.stats()];
      await editor.edit({ image: await t.scene(0), ...edit });
      const stats = Object.fromEntries(Object.entries(editor.stats()).map(([name, value]) => [name, value - before[name]]));
      all.push({ at: (await heard()).slice(start), stats });
    }
    return all;
  }, { edits, workerUrl });
  await page.context().close();
  return told;
}

/** What each token took. @param {Counts[]} at @returns {Counts[]} */
const steps = (at) => at.slice(1).map((now, index) => /** @type {Counts} */ (Object.fromEntries(Object.entries(now).map(([name, value]) => [name, Number(value) - Number(at[index]?.[/** @type {keyof Counts} */ (name)])]))));

/** Edits that tell whether what the first leaves is all there is. */
const EDITS = 20;

describe("counts", () => {
  test(`W24, W25 what a token asks of the device stays within its limits and is what \`stats()\` says; of ${EDITS} edits only the first makes objects, and none is left`, async (context) => {
    const [first, ...later] = await counted(Array(EDITS).fill({ instruction: "make the background pink" }));
    const end = (/** @type {Counts[]} */ at) => /** @type {Counts} */ (at.at(-1));
    context.diagnostic(`first edit: ${JSON.stringify(end(first?.at ?? []))}`);
    context.diagnostic(`later tokens: ${JSON.stringify(steps(later[0]?.at ?? []))}`);
    for (const [number, { at, stats }] of later.entries()) {
      const made = (/** @type {Counts} */ { buffers, live, pipelines, shaders, layouts }) => [buffers, live, pipelines, shaders, layouts];
      assert.deepEqual(made(end(at)), made(end(first?.at ?? [])), `edit ${number + 2} makes nothing`);
      // The first step reads the prompt, the second has what that left in the queue; the last is the picture's.
      for (const token of steps(at).slice(2, -1)) {
        assert.ok(token.dispatches > 0 && token.dispatches <= LIMITS.dispatches, `${token.dispatches} dispatches`);
        assert.ok(token.submits <= LIMITS.submits && token.maps === 1, `${token.submits} submits, ${token.maps} maps`);
        assert.ok(token.read <= LIMITS.read, `${token.read} bytes`);
      }
      const [whole] = steps([/** @type {Counts} */ (at[0]), end(at)]);
      assert.deepEqual([stats["dispatches"], stats["submits"], stats["readBacks"], stats["bytesReadBack"]], [whole?.dispatches, whole?.submits, whole?.maps, whole?.read]);
    }
  });

  test("W24 drafts take several places at once, within a quarter more", async (context) => {
    const [{ at } = { at: [] }] = await counted([{ instruction: "remove the football", mode: "full" }]);
    const passes = steps(at).slice(2, -1).filter(({ dispatches }) => dispatches > 0);
    context.diagnostic(`whole picture, ${passes.length} passes: at most ${Math.max(...passes.map(({ dispatches }) => dispatches))} dispatches, ${Math.max(...passes.map(({ read }) => read))} bytes`);
    assert.ok(passes.length > 2 && passes.length < 40, `${passes.length} passes`);
    for (const { dispatches, submits, maps, read } of passes) {
      assert.ok(dispatches <= LIMITS.drafts * LIMITS.dispatches && submits <= LIMITS.submits && maps === 1, `${dispatches} dispatches, ${submits} submits, ${maps} maps`);
      assert.ok(read <= LIMITS.read, `${read} bytes`);
    }
  });
});
