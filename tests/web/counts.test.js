// @ts-check
/**
 * What an edit asks of the device: a script read before the worker's own counts calls by WebGPU's prototypes. The
 * counts are the same on any device, so Chromium's software adapter can tell them; times it can't.
 */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { GPU, bench, budget } from "./helpers.js";

/**
 * Of one pass: 10 · 6 blocks + 12 dispatches, a quarter more with drafts, and 8 bytes for each of the best hundred and 64 to each place.
 * One submit was the goal; CubeCL hands over what is queued before it queues the copy that is read. A token that is drawn
 * reads the logits of all 8,192 codes, also where only the best hundred are drawn among.
 */
const LIMITS = { dispatches: 72, drafts: 1.25, submits: 2, read: 864, drawn: 4 * 8192 };

/** @typedef {{ dispatches: number, submits: number, maps: number, read: number, buffers: number, live: number, pipelines: number, shaders: number, layouts: number }} Counts */

/** Counts, and keeps a copy at each edit's beginning, for each token, and at its end; and what came after an edit was to end. */
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
  const [told, stops, later] = [[], new Map(), []];
  self.addEventListener("message", ({ data }) => data.type === "stop" && stops.set(data.id, { ...counts }));
  const post = self.postMessage.bind(self);
  self.postMessage = (message, ...rest) => {
    if (["begin", "token", "ran"].includes(message.type)) told.push({ ...counts });
    if (message.type === "done" && stops.has(message.id)) later.push({ from: stops.get(message.id), to: { ...counts } });
    post(message, ...rest);
  };
  new BroadcastChannel("counts").onmessage = ({ data, target }) => target.postMessage(data === "stops" ? later : told);
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

const most = (/** @type {number[]} */ values) => values.reduce((a, b) => Math.max(a, b), -Infinity);

/** What each token took. @param {Counts[]} at @returns {Counts[]} */
const steps = (at) => at.slice(1).map((now, index) => /** @type {Counts} */ (Object.fromEntries(Object.entries(now).map(([name, value]) => [name, Number(value) - Number(at[index]?.[/** @type {keyof Counts} */ (name)])]))));

/** The passes of one token or several. The first step reads the prompt, the second has what that left in the queue; the last is the picture's. @param {Counts[]} at */
const passesOf = (at) => steps(at).slice(2, -1).filter(({ dispatches }) => dispatches > 0);

/** @param {import("node:test").TestContext} context @param {string} of @param {Counts[]} passes @param {number} dispatches the limit @param {number} [read] the limit of bytes */
function keeps(context, of, passes, dispatches, read = LIMITS.read) {
  assert.ok(passes.length > 2, `${passes.length} passes`);
  context.diagnostic(`dispatches of ${of}: ${[...new Set(passes.map((pass) => pass.dispatches))].sort((a, b) => a - b)}`);
  budget(context, `dispatches of ${of}`, most(passes.map((pass) => pass.dispatches)), dispatches);
  budget(context, `submits of ${of} (goal 1)`, most(passes.map(({ submits }) => submits)), LIMITS.submits);
  budget(context, `read-backs of ${of}`, most(passes.map(({ maps }) => maps)), 1);
  budget(context, `bytes read back of ${of}`, most(passes.map((pass) => pass.read)), read);
}

/** Edits that tell whether what the first leaves is all there is. */
const EDITS = 20;

describe("counts", () => {
  test(`W24, W25 what a token asks of the device stays within its limits and is what \`stats()\` says; of ${EDITS} edits only the first makes objects, and none is left`, async (context) => {
    const [first, ...later] = await counted(Array(EDITS).fill({ instruction: "make the background pink" }));
    const end = (/** @type {Counts[]} */ at) => /** @type {Counts} */ (at.at(-1));
    context.diagnostic(`first edit: ${JSON.stringify(end(first?.at ?? []))}`);
    context.diagnostic(`later tokens: ${JSON.stringify(steps(later[0]?.at ?? []))}`);
    const made = (/** @type {Counts} */ { buffers, pipelines, shaders, layouts }) => [buffers, pipelines, shaders, layouts];
    for (const { at, stats } of later) {
      const [whole] = steps([/** @type {Counts} */ (at[0]), end(at)]);
      assert.deepEqual([stats["dispatches"], stats["submits"], stats["readBacks"], stats["bytesReadBack"]], [whole?.dispatches, whole?.submits, whole?.maps, whole?.read]);
    }
    keeps(context, "a token", later.flatMap(({ at }) => passesOf(at)), LIMITS.dispatches);
    const gained = (/** @type {(counts: Counts) => number} */ of) => most(later.map(({ at }) => of(end(at)) - of(end(first?.at ?? []))));
    budget(context, `buffers, layouts, pipelines and shaders made from the 2nd to the ${EDITS}th edit`, gained((counts) => made(counts).reduce((a, b) => a + b, 0)), 0);
    budget(context, `live buffers gained from the 2nd to the ${EDITS}th edit`, gained(({ live }) => live), 0);
  });

  test("W24 words, codes and drafts: tokens that choose a verb stay within the limit, passes over many places within a quarter more", async (context) => {
    const [local, full] = await counted([{ instruction: "replace the football with a dog" }, { instruction: "remove the football", mode: "full" }]);
    keeps(context, "a token of boxes", passesOf(local?.at ?? []), LIMITS.dispatches);
    const passes = passesOf(full?.at ?? []);
    assert.ok(passes.length > 2 && passes.length < 40, `${passes.length} passes`);
    keeps(context, "a pass with drafts", passes, LIMITS.drafts * LIMITS.dispatches);
  });

  test("W24 drawn by chance a token reads all logits, also where few are drawn among", async (context) => {
    const warm = { instruction: "replace the football with a dog", temperature: 1 };
    const [all, few] = await counted([warm, { ...warm, topK: 100 }]);
    keeps(context, "a token drawn among all 8192", passesOf(all?.at ?? []), LIMITS.dispatches, LIMITS.drawn);
    keeps(context, "a token drawn among 100 (bytes: goal 864)", passesOf(few?.at ?? []), LIMITS.dispatches, LIMITS.drawn);
  });

  test("W5 aborted, the device is asked for at most one more pass", async (context) => {
    const workerUrl = on.worker("counting", PROBE);
    const page = await on.fresh();
    page.setDefaultTimeout(0);
    const later = await page.evaluate(async (workerUrl) => {
      const t = await import("/test/tools.js");
      const editor = await t.create({ workerUrl, backend: "webgpu" });
      const image = await t.scene(0);
      for (const at of [0, 2, 6]) {
        const running = new AbortController();
        const onToken = ({ index }) => index === at && running.abort();
        await editor.edit({ image, instruction: "replace the football with a dog", signal: running.signal, onToken }).catch(() => undefined);
      }
      await editor.edit({ image, instruction: "make the background pink" }); // the worker is done with those before
      const channel = new BroadcastChannel("counts");
      return new Promise((resolve) => {
        channel.onmessage = ({ data }) => resolve(data);
        channel.postMessage("stops");
      });
    }, workerUrl);
    await page.context().close();
    assert.equal(later.length, 3);
    const after = later.map((/** @type {{ from: Counts, to: Counts }} */ { from, to }) => steps([from, to])[0]);
    budget(context, "dispatches after an abort is heard", most(after.map(({ dispatches }) => dispatches)), LIMITS.dispatches);
    budget(context, "read-backs after an abort is heard", most(after.map(({ maps }) => maps)), 1);
  });
});
