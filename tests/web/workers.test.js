// @ts-check
/** Several workers for the candidates of one edit: what they make is what one makes, whatever happens to them. */
import assert from "node:assert/strict";
import { after, before, beforeEach, describe, test } from "node:test";
import { bench, chunkCount } from "./helpers.js";

/** @type {import("./helpers.js").Bench} */
let on;
/** @type {import("playwright-core").Page} */
let page;
before(async () => {
  on = await bench();
  on.worker("slow", SLOW);
  page = await fresh();
  Object.assign(alone, await page.evaluate(() => told({ workers: 1 })));
});
after(() => on.close());
beforeEach(() => on.server.spoil.clear());

/** Workers that wait for the page after each token, so that they write at the same time. */
const SLOW = `const post = MessagePort.prototype.postMessage;
  MessagePort.prototype.postMessage = function (...message) { setTimeout(() => post.apply(this, message), 15); };`;
/** What one worker makes of the edit. @type {Told} */
const alone = /** @type {any} */ ({});

/** @typedef {{ score: number, seed: number, tokens: string, png: string, recipe: string }} Made */
/** @typedef {{ made: Made[], best: string, maps: string, plans: number, paints: number, indices: number[], order: number[], tokens: Record<number, number[]>, workers: number }} Told */

/** A page with `t`, `edit` (five candidates) and `told`, which runs it and tells what was heard and made; `warm` runs it once before. */
async function fresh() {
  const page = await on.fresh();
  await page.evaluate(async () => {
    const t = await import("/test/tools.js");
    const edit = { image: await t.scene(0), instruction: "add a cat", seed: 7, candidates: 5, maps: true };
    const made = async ({ score, seed, tokens, image, recipe }) => ({ score, seed, tokens: tokens.join(), png: await t.hash(image), recipe: JSON.stringify(recipe) });
    const run = async (editor) => {
      const [tokens, order, indices, count] = [{}, [], [], { plan: 0, paint: 0 }];
      const stream = editor.stream(edit);
      for await (const event of stream) {
        if (event.type === "token") {
          order.push(event.token.candidate);
          (tokens[event.token.candidate] ??= []).push(event.token.index);
        } else if (event.type === "candidate") indices.push(event.candidate.index);
        else if (event.type in count) count[event.type]++;
      }
      const result = await stream.result;
      return {
        made: await Promise.all(result.candidates.map(made)), best: await t.hash(result.image), maps: String(result.maps.entropy),
        plans: count.plan, paints: count.paint, indices, order, tokens, workers: editor.stats().workers,
      };
    };
    const told = async ({ warm = false, ...options }) => {
      const editor = await t.create(options);
      if (warm) await editor.edit(edit);
      const found = await run(editor);
      await editor.destroy();
      return found;
    };
    /** Edits until three workers have begun a candidate before any has ended one: helpers load while others write. */
    const joined = async (editor) => {
      for (let tries = 0; tries < 20; tries++) {
        const begun = new Set();
        let ended = false;
        for await (const event of editor.stream(edit)) {
          ended ||= event.type === "candidate";
          if (event.type === "token" && !ended) begun.add(event.token.candidate);
        }
        if (begun.size === 3) return;
      }
      throw new Error("the helpers never joined");
    };
    Object.assign(globalThis, { t, edit, run, told, joined });
  });
  return page;
}

/** What may not depend on the workers. @param {Told} told */
const essence = ({ made, best, maps, plans, paints, indices, tokens }) => ({ made, best, maps, plans, paints, indices: [...indices].sort(), tokens });
/** How often the telling goes back to an earlier candidate. @param {number[]} order */
const returns = (order) => order.filter((candidate, at) => candidate < (order[at - 1] ?? 0)).length;

/** The address of workers of which that of this number runs a script first. @param {number} number from 0 @param {string} script */
function oneOf(number, script) {
  const url = on.worker("one", "");
  let workers = 0;
  on.server.spoil.set("/test/one.js", () => Buffer.from(`${SLOW}${workers++ === number ? script : ""}`));
  return url;
}

describe("the same edit", () => {
  test("W3 one worker and three write the same tokens, files, recipes and ranking, also while helpers still load", async () => {
    for (const options of [{ workers: 3 }, { workers: 3, warm: true, workerUrl: "/test/slow-worker.js" }, { workers: 3, storage: "memory" }]) {
      const many = await page.evaluate((options) => told(options), options);
      assert.deepEqual(essence(many), essence(alone), JSON.stringify(options));
      assert.equal(many.workers, 3);
      if (options.warm) assert.ok(returns(many.order) > 3, `candidates are written at the same time: ${many.order}`);
    }
    assert.deepEqual([alone.workers, returns(alone.order), alone.indices, alone.plans], [1, 0, [0, 1, 2, 3, 4], 1]);
    assert.equal(new Set(alone.made.map(({ png }) => png)).size, 5);
    for (const indices of Object.values(alone.tokens)) assert.deepEqual(indices, indices.map((_, at) => at));
  });

  test("W3 helpers start with the first edit that has several candidates, no more than it has, and stay", async () => {
    const counts = await page.evaluate(async () => {
      const editor = await t.create({ workers: 4 });
      const counts = [];
      for (const candidates of [1, 2, 2, 16, 3]) {
        await editor.edit({ ...edit, candidates });
        counts.push(editor.stats().workers);
      }
      await editor.destroy();
      return counts;
    });
    assert.deepEqual(counts, [1, 2, 2, 4, 4]);
    for (let tries = 0; tries < 100 && page.workers().length > 0; tries++) await page.waitForTimeout(20);
    assert.equal(page.workers().length, 0, "they end with the editor");
  });

  test("W3 unless told there is a worker a core but one, at most four", async () => {
    const counts = await page.evaluate(async () => {
      const counts = [];
      for (const cores of [1, 2, 3, 64]) {
        Object.defineProperty(Navigator.prototype, "hardwareConcurrency", { get: () => cores, configurable: true });
        counts.push((await told({})).workers);
      }
      return counts;
    });
    assert.deepEqual(counts, [1, 1, 2, 4]);
  });

  test("W3, W29 what memory allows bounds the workers, each counted with its model", async () => {
    const counts = await page.evaluate(async () => {
      const { memoryBytes } = await t.api.capabilities({ model: "/models/tiny/" });
      const counts = [];
      for (const share of [1, 1.99, 2, 3]) counts.push((await told({ workers: 3, maxMemoryBytes: memoryBytes * share })).workers);
      return counts;
    });
    assert.deepEqual(counts, [1, 1, 2, 3]);
  });

  test("W41 a number of workers that is none in 1..=4 is E_OPTION", async () => {
    for (const workers of [0, 5, 1.5, "2"]) {
      assert.equal(await page.evaluate(async (workers) => (await t.fault(() => t.create({ workers }))).code, workers), "E_OPTION", String(workers));
    }
  });
});

describe("an edit that is interrupted", () => {
  test("W3, W4 stopped in the middle all workers end; the first candidate that was stopped goes on to the same file", async () => {
    const found = await page.evaluate(async () => {
      const editor = await t.create({ workers: 3, workerUrl: "/test/slow-worker.js" });
      await joined(editor);
      const types = [];
      const stream = editor.stream({ ...edit, onToken: ({ candidate, index }) => candidate === 1 && index === 3 && void stream.stop() });
      for await (const event of stream) types.push(event.type);
      const { recipe, tokens } = await stream.stop();
      const { candidates } = await stream.result;
      const whole = await editor.edit({ image: edit.image, resume: { recipe, tokens } });
      await editor.destroy();
      return { last: types.at(-1), candidate: recipe.candidate, tokens: tokens.length, of: whole.tokens.length, png: await t.hash(whole.image), indices: candidates.map(({ index }) => index).sort() };
    });
    assert.equal(found.last, "stopped");
    assert.ok(found.tokens < found.of, `${found.tokens} of ${found.of} tokens`);
    assert.equal(found.png, alone.made.find(({ seed }) => seed === 7 + found.candidate)?.png);
    assert.deepEqual(found.indices, [0, 1, 2], "candidates that had not begun do not begin");
  });

  test("W3, W5 aborted in the middle: the reason comes back, nothing after it, the next edit is whole", async () => {
    const found = await page.evaluate(async () => {
      const reason = new Error("enough");
      const editor = await t.create({ workers: 3, workerUrl: "/test/slow-worker.js" });
      await joined(editor);
      const running = new AbortController();
      let late = 0;
      const caught = await editor.edit({ ...edit, signal: running.signal, onToken: ({ candidate, index }) => {
        if (running.signal.aborted) late++;
        if (candidate === 1 && index === 3) running.abort(reason);
      } }).catch((error) => error === reason);
      const next = await run(editor);
      await editor.destroy();
      return { caught, late, next };
    });
    assert.deepEqual([found.caught, found.late, found.next.workers], [true, 0, 3]);
    assert.deepEqual(essence(found.next), essence(alone));
  });

  test("W41 an editor that is destroyed in the middle answers E_DESTROYED and leaves no worker, loaded or loading", async () => {
    for (const warm of [true, false]) {
      const code = await page.evaluate(async (warm) => {
        const editor = await t.create({ workers: 3, workerUrl: "/test/slow-worker.js" });
        if (warm) await editor.edit(edit);
        const { code } = await t.fault(() => editor.edit({ ...edit, onToken: ({ index }) => index === 2 && void editor.destroy() }));
        return code;
      }, warm);
      assert.equal(code, "E_DESTROYED");
      for (let tries = 0; tries < 100 && page.workers().length > 0; tries++) await page.waitForTimeout(20);
      assert.equal(page.workers().length, 0);
    }
  });
});

describe("workers that fail", () => {
  /** A real trap: an unreachable instruction, after the third token of the second edit. */
  const TRAP = `let edits = 0;
    const send = self.postMessage.bind(self);
    self.postMessage = (message, ...rest) => {
      send(message, ...rest);
      if (message.type === "begin") edits++;
      if (edits > 1 && message.type === "token" && message.token.index === 2) setTimeout(() =>
        new WebAssembly.Instance(new WebAssembly.Module(new Uint8Array([0,97,115,109,1,0,0,0,1,4,1,96,0,0,3,2,1,0,7,5,1,1,116,0,0,10,5,1,3,0,0,11]))).exports.t());
    };`;

  test("W3, W29 a helper that traps: its candidate is written by another, each token is told once; it is not replaced", async () => {
    const workerUrl = oneOf(1, TRAP);
    const found = await page.evaluate(async (workerUrl) => {
      const editor = await t.create({ workers: 2, workerUrl });
      const runs = [await run(editor), await run(editor), await run(editor)];
      await editor.destroy();
      return runs;
    }, workerUrl);
    for (const run of found) assert.deepEqual([essence(run), run.workers], [essence(alone), 2]);
    assert.ok(returns(found[0].order) + returns(found[1].order) > 0, "the helper wrote");
    assert.equal(returns(found[2].order), 0, "the helper is gone");
  });

  test("W3, W29 the first worker traps: E_WASM_TRAP, and the next edit is whole in a new one", async () => {
    const workerUrl = oneOf(0, TRAP);
    const found = await page.evaluate(async (workerUrl) => {
      const editor = await t.create({ workers: 2, workerUrl });
      const { code, retryable } = await t.fault(() => editor.edit(edit));
      const next = await run(editor);
      await editor.destroy();
      return { code, retryable, next };
    }, workerUrl);
    assert.deepEqual([found.code, found.retryable, found.next.workers], ["E_WASM_TRAP", true, 3]);
    assert.deepEqual(essence(found.next), essence(alone));
  });

  test("W3 helpers that can't start, or have no weights, are done without: no edit waits for them, no weights are fetched", async () => {
    const other = await fresh();
    const before = on.server.count("chunks/");
    const found = await other.evaluate(async () => {
      const editor = await t.create({ workers: 2, workerUrl: "/test/slow-worker.js" });
      await caches.delete("earl-weights-v1");
      const runs = [await run(editor), await run(editor)];
      await editor.destroy();
      return runs;
    });
    for (const run of found) assert.deepEqual([essence(run), run.workers], [essence(alone), 1]);
    assert.equal(on.server.count("chunks/") - before, chunkCount);
    await other.context().close();
    for (const how of [{ status: 404 }, { stall: 0 }]) {
      await page.evaluate(async () => void (globalThis.late = await t.create({ workers: 2, workerUrl: "/test/slow-worker.js" })));
      on.server.spoil.set("/test/slow.js", how);
      const run = await page.evaluate(async () => run(late).finally(() => late.destroy()));
      on.server.spoil.clear();
      assert.deepEqual([essence(run), run.workers], [essence(alone), 2], JSON.stringify(how));
    }
  });

  test("the console stays silent, but for what the tests provoke", () => {
    assert.deepEqual(on.noise.filter((line) => !/404|Failed to load resource|No available adapters/.test(line)), []);
  });
});
