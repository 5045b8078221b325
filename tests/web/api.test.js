// @ts-check
/** The API on the CPU: stop and go on, abort, region lock, candidates, maps, recipes, files, errors. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { bench } from "./helpers.js";
import { withMemory } from "./memory.js";
import { chunksOf, textOf } from "./png.js";

/** @type {import("./helpers.js").Bench} */
let on;
/** @type {import("playwright-core").Page} */
let page;
before(async () => {
  on = await bench();
  on.server.files.set("/test/slow-worker.js", Buffer.from('import "/test/slow.js";\nimport "/web/worker.js";'));
  on.server.files.set("/test/slow.js", Buffer.from(`const post = MessagePort.prototype.postMessage;
    MessagePort.prototype.postMessage = function (...message) { setTimeout(() => post.apply(this, message), 120); };`));
  page = await on.fresh();
  await ready();
});
after(() => on.close());

/** Puts tools, editors and edits where the tests' functions find them: `t`, `editor`, `slow` (it waits for the page after each token), `football` and `dog`. */
const ready = () => page.evaluate(async () => {
  const t = await import("/test/tools.js");
  Object.assign(globalThis, { t, editor: await t.create(), slow: await t.create({ workerUrl: "/test/slow-worker.js" }), football: { image: await t.scene(0), instruction: "remove the football" } });
  Object.assign(globalThis, { dog: { ...football, instruction: "replace the football with a dog" } });
});
/** The error of an edit. @param {string} options JavaScript of an object that is laid over the football's edit */
const fault = (options) => page.evaluate(`t.fault(() => editor.edit({ ...football, ...(${options}) }))`);

describe("stop, go on, abort", () => {
  /** Stops after some tokens; checkpoint and last event. @param {number} after */
  const stopAfter = (after) => page.evaluate(async (after) => {
    const events = [];
    const stream = slow.stream({ ...dog, onToken: ({ index }) => index + 1 === after && void stream.stop() });
    for await (const event of stream) events.push(event.type);
    const stopped = await stream.stop();
    const { data } = await stream.result;
    return { checkpoint: JSON.stringify(stopped), last: events.at(-1), same: [...data.data].filter((byte, at) => byte !== football.image.data[at]).length };
  }, after);
  const goOn = (/** @type {string} */ checkpoint) => page.evaluate(async (checkpoint) => {
    const seen = [];
    const result = await editor.edit({ image: football.image, resume: JSON.parse(checkpoint), onToken: (token) => seen.push(token.forced) });
    return { tokens: result.tokens, png: await t.hash(result.image), forced: seen.filter(Boolean).length };
  }, checkpoint);

  test("W4 an edit stopped at its first, middle and last token goes on to the same picture, also after a reload", async () => {
    const whole = await page.evaluate(async () => {
      const result = await editor.edit(dog);
      return { tokens: result.tokens, png: await t.hash(result.image) };
    });
    assert.ok(whole.tokens.length > 6, `${whole.tokens.length} tokens`);
    for (const after of [1, whole.tokens.length >> 1, whole.tokens.length - 1]) {
      const { checkpoint, last, same } = await stopAfter(after);
      const { tokens } = JSON.parse(checkpoint);
      assert.equal(last, "stopped");
      assert.deepEqual(tokens, whole.tokens.slice(0, tokens.length));
      assert.ok(tokens.length >= after && tokens.length <= after + 1, `stopped after ${tokens.length} of ${after}`);
      if (after === 1) assert.equal(same, 0, "nothing is decided, so the picture is the source");
      if (after > 1) {
        await page.reload();
        await ready();
      }
      const { forced, ...rest } = await goOn(checkpoint);
      assert.deepEqual(rest, whole);
      assert.ok(forced >= tokens.length, `${forced} forced`);
    }
  });

  test("W4 a checkpoint on another picture or a damaged one is E_RECIPE_MISMATCH", async () => {
    const { checkpoint } = await stopAfter(3);
    const found = await page.evaluate(async (checkpoint) => {
      const resume = JSON.parse(checkpoint);
      return [await t.fault(() => editor.edit({ image: t.noise(64, 64), resume })), await t.fault(() => editor.edit({ image: football.image, resume: { ...resume, tokens: "no" } })),
        await t.fault(() => editor.edit({ image: football.image, resume: { ...resume, tokens: [999999] } }))];
    }, checkpoint);
    assert.deepEqual(found.map(({ code }) => code), ["E_RECIPE_MISMATCH", "E_RECIPE_MISMATCH", "E_FORMAT"]);
  });

  test("W5 aborted before the start, in the queue and in decode: the reason comes back, nothing after it, the next edit works", async () => {
    const found = await page.evaluate(async () => {
      const reason = new Error("enough");
      const caught = async (promise) => promise.then(() => "done", (error) => (error === reason ? "reason" : String(error)));
      const before = await caught(editor.edit({ ...football, signal: AbortSignal.abort(reason) }));
      const queued = new AbortController();
      const first = editor.edit(football);
      let started = false;
      const second = caught(editor.edit({ ...football, signal: queued.signal, onToken: () => (started = true) }));
      queued.abort(reason);
      const inQueue = await second;
      await first;
      const running = new AbortController();
      let [aborted, late] = [false, 0];
      const third = await caught(editor.edit({ ...football, signal: running.signal, onToken: ({ index }) => {
        if (aborted) late++;
        if (index === 2) (running.abort(reason), (aborted = true));
      } }));
      const stats = editor.stats();
      const next = await editor.edit(football);
      return { before, inQueue, started, third, late, next: next.tokens.length, edits: editor.stats().edits - stats.edits };
    });
    assert.deepEqual({ ...found, next: 0 }, { before: "reason", inQueue: "reason", started: false, third: "reason", late: 0, next: 0, edits: 1 });
    assert.ok(found.next > 3);
  });

  test("W5 aborted in the download: rejects with the reason, and a new editor is made", async () => {
    const other = await on.fresh();
    on.server.spoil.set("chunks/", { delay: 1500 });
    const found = await other.evaluate(async () => {
      const t = await import("/test/tools.js");
      const reason = new Error("enough");
      const already = await t.create({ signal: AbortSignal.abort(reason) }).catch((error) => error === reason);
      const running = new AbortController();
      setTimeout(() => running.abort(reason), 300);
      return [already, await t.create({ signal: running.signal }).catch((error) => error === reason)];
    });
    on.server.spoil.clear();
    assert.deepEqual(found, [true, true]);
    assert.equal(await other.evaluate(async () => (await (await import("/test/tools.js")).create()).info.backend), "cpu");
    await other.context().close();
  });

  test("W41 a destroyed editor answers E_DESTROYED, also to those in the queue", async () => {
    const codes = await page.evaluate(async () => {
      const other = await t.create();
      const waiting = [other.edit(football), other.edit(football)].map((edit) => t.fault(() => edit));
      await other.destroy();
      return [...(await Promise.all(waiting)), await t.fault(() => other.edit(football))].map(({ code }) => code);
    });
    assert.deepEqual(codes, ["E_DESTROYED", "E_DESTROYED", "E_DESTROYED"]);
  });
});

describe("region", () => {
  test("W6 hard lock: 20 regions and masks, odd sizes, transparency: recounted in the page, nothing outside changed", async () => {
    const runs = await page.evaluate(async () => {
      const sizes = [[64, 64], [63, 41], [17, 90], [1, 1], [200, 133], [3, 2]];
      let state = 5;
      const next = (most) => ((state = (Math.imul(state, 1664525) + 1013904223) >>> 0) >>> 8) % most;
      const found = [];
      for (let at = 0; at < 20; at++) {
        const [width, height] = sizes[at % sizes.length];
        const image = at % 6 === 0 ? football.image : t.noise(width, height, at % 2 === 1);
        const rect = at === 1 ? { x: 0, y: 0, width, height } : { x: next(width), y: next(height), width: 1 + next(width), height: 1 + next(height) };
        const inside = new Uint8Array(width * height);
        let region = rect;
        if (at % 3 === 2) {
          region = new ImageData(width, height);
          for (let p = 0; p < inside.length; p++) region.data[p * 4 + 3] = (inside[p] = p === 0 || next(3) === 0 ? 1 : 0) ? 255 : 127;
        } else {
          for (let p = 0; p < inside.length; p++) {
            const [x, y] = [p % width, Math.floor(p / width)];
            inside[p] = x >= rect.x && y >= rect.y && x < rect.x + rect.width && y < rect.y + rect.height ? 1 : 0;
          }
        }
        const result = await editor.edit({ image, instruction: "make the background pink", region });
        const wasm = result.data; // and the file, decoded by the browser where it is opaque
        const file = await t.pixels(result.image);
        const count = (data) => inside.reduce((sum, is, p) => sum + (!is && [0, 1, 2, 3].some((c) => data.data[p * 4 + c] !== image.data[p * 4 + c]) ? 1 : 0), 0);
        const opaque = image.data.every((byte, p) => p % 4 !== 3 || byte === 255);
        const tampered = new Uint8ClampedArray(result.data.data);
        const outside = inside.indexOf(0);
        if (outside >= 0) tampered[outside * 4] ^= 1;
        const { countOutside } = await import("/source/web/compose.js");
        found.push({
          pixels: inside.filter((is) => !is).length, reported: result.outside, wasm: count(wasm), file: opaque ? count(file) : 0,
          size: [file.width, file.height].join() === [width, height].join(), tampered: countOutside(image.data, tampered, inside).changed,
          changedInside: result.data.data.some((byte, p) => byte !== image.data[p]), outside,
        });
      }
      return found;
    });
    for (const run of runs) {
      assert.deepEqual(run.reported, { pixels: run.pixels, changed: 0 });
      assert.deepEqual([run.wasm, run.file, run.size], [0, 0, true]);
      assert.equal(run.tampered, run.outside < 0 ? 0 : 1, "the count finds a pixel that was tampered with");
    }
    assert.ok(runs.filter(({ changedInside }) => changedInside).length >= 10, "the edits did something inside");
  });

  test("W6 without a region the boxes of the plan are the edit", async () => {
    const { outside, changed } = await page.evaluate(async () => {
      const result = await editor.edit(football);
      let changed = 0;
      for (let p = 0; p < 64 * 64; p++) {
        const [x, y] = [p % 64, Math.floor(p / 64)];
        if ((x < 40 || y < 40) && [0, 1, 2, 3].some((c) => result.data.data[p * 4 + c] !== football.image.data[p * 4 + c])) changed++;
      }
      return { outside: result.outside, changed };
    });
    assert.deepEqual([outside.changed, changed], [0, 0]);
    assert.ok(outside.pixels >= 64 * 64 - 40 * 40);
  });

  test("W7 soft fades inside the region only; none lets the model's own edit stand and counts it", async () => {
    const found = await page.evaluate(async () => {
      const region = { x: 0, y: 0, width: 40, height: 64 };
      const run = async (lock) => (await editor.edit({ image: football.image, instruction: "make the background pink", region, lock }));
      const [hard, soft, none] = [await run("hard"), await run("soft"), await run("none")];
      const at = (result, x, y) => [...result.data.data.slice((y * 64 + x) * 4, (y * 64 + x) * 4 + 3)];
      const source = { data: football.image };
      return {
        hard: hard.outside.changed, soft: soft.outside.changed, none: none.outside.changed, notes: hard.notes,
        border: [at(source, 39, 2), at(soft, 39, 2), at(hard, 39, 2)], inside: [at(soft, 4, 2), at(hard, 4, 2)], far: [at(source, 60, 30), at(none, 60, 30)],
      };
    });
    assert.deepEqual([found.hard, found.soft], [0, 0]);
    assert.ok(found.none > 1000, `${found.none} pixels outside changed without a lock`);
    const between = found.border.map(([red]) => red);
    assert.ok(between[0] < between[1] && between[1] < between[2], `the border fades: ${between}`);
    assert.deepEqual(found.inside[0], found.inside[1]);
    assert.notDeepEqual(found.far[0], found.far[1]);
    assert.match(found.notes.join(), /only inside the region/);
  });

  test("W6 a region draws to itself what is added, unless `steer` is false; the recipe gives the same file", async () => {
    const found = await page.evaluate(async () => {
      const region = { x: 0, y: 0, width: 32, height: 32 };
      const asked = { image: football.image, instruction: "add a cat" };
      const boxes = ({ plan }) => plan.filter(({ verb }) => verb === "draw").map(({ row, col, cells }) => [row, col, row + cells, col + cells]);
      const places = [];
      const free = await editor.edit(asked);
      for (const [x, y] of [[0, 0], [0, 32], [32, 32]]) { // the other quarter has no room
        const { plan, outside } = await editor.edit({ ...asked, region: { ...region, x, y } });
        const [[top, left, bottom, right]] = boxes({ plan });
        places.push([top >= y / 8 && left >= x / 8 && bottom <= y / 8 + 4 && right <= x / 8 + 4, outside.changed]);
      }
      const steered = await editor.edit({ ...asked, region: { ...region, x: 32, y: 32 } });
      const again = await editor.edit({ image: football.image, recipe: steered.recipe });
      const left = await editor.edit({ ...asked, region, steer: false });
      const old = await editor.edit({ image: football.image, recipe: { ...steered.recipe, steer: undefined } });
      return {
        places, same: await t.hash(steered.image) === await t.hash(again.image), recipe: [steered.recipe.steer, left.recipe.steer],
        left: [boxes(left), boxes(old)].map(String), free: String(boxes(free)),
      };
    });
    assert.deepEqual(found.places, Array(3).fill([true, 0]));
    assert.ok(found.same);
    assert.deepEqual(found.recipe, [true, undefined]);
    assert.deepEqual(found.left, [found.free, found.free]);
  });

  test("W9 `topK` draws among the likeliest alone; 1 is greedy; the recipe tells it", async () => {
    const found = await page.evaluate(async () => {
      const asked = { ...dog, instruction: "add a cat", temperature: 2, seed: 5 }; // a place is left open
      const run = async (more) => (await editor.edit({ ...asked, ...more }));
      const [greedy, one, free] = [await run({ temperature: 0 }), await run({ topK: 1 }), await run({})];
      const again = await editor.edit({ image: dog.image, recipe: one.recipe });
      const faults = [];
      for (const topK of [0, 1.5, -1, "3"]) faults.push((await t.fault(() => run({ topK }))).code);
      return { greedy: greedy.tokens, one: one.tokens, free: free.tokens, again: again.tokens, recipe: one.recipe.topK, faults };
    });
    assert.deepEqual(found.one, found.greedy);
    assert.notDeepEqual(found.free, found.greedy);
    assert.deepEqual([found.again, found.recipe], [found.one, 1]);
    assert.deepEqual(found.faults, Array(4).fill("E_OPTION"));
  });

  test("W7 regions outside the picture, empty masks and nonsense are E_REGION", async () => {
    for (const region of ["{ x: 64, y: 0, width: 5, height: 5 }", "{ x: -9, y: 0, width: 5, height: 5 }", "{ x: 0, y: 0, width: 0, height: 5 }", "{ x: NaN, y: 0, width: 5, height: 5 }",
      "[]", "new ImageData(64, 64)", "new ImageData(5, 5)"]) {
      assert.equal((await fault(`{ region: ${region} }`)).code, "E_REGION", region);
    }
  });
});

describe("what an edit tells", () => {
  test("W8 rows are painted in order before the end, and show the final codes", async () => {
    const found = await page.evaluate(async () => {
      const rows = [];
      const order = [];
      const stream = editor.stream({ ...football, instruction: "replace the football with a dog" });
      for await (const event of stream) {
        if (event.type === "paint") rows.push({ y: event.rect.y, x: event.rect.x, width: event.rect.width, pixels: await t.pixels(await t.file(await bitmapData(event.bitmap))) });
        order.push(event.type);
      }
      async function bitmapData(bitmap) {
        const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d");
        context.drawImage(bitmap, 0, 0);
        return context.getImageData(0, 0, bitmap.width, bitmap.height);
      }
      const result = await stream.result;
      const { edited, side } = result.canvas;
      const distance = rows.map(({ x, y, pixels }) => {
        let sum = 0;
        for (let p = 0; p < pixels.width * pixels.height; p++) {
          const to = ((y + Math.floor(p / pixels.width)) * side + x + (p % pixels.width)) * 4;
          for (let c = 0; c < 3; c++) sum += Math.abs(pixels.data[p * 4 + c] - edited[to + c]);
        }
        return sum / (pixels.width * pixels.height * 3);
      });
      return { ys: rows.map(({ y }) => y), order, distance };
    });
    const box = found.ys.slice(-3);
    assert.ok(found.ys.length >= 3, `${found.ys.length} rows`);
    assert.deepEqual(box, [...box].sort((a, b) => a - b), "the rows of a box come from top to bottom");
    assert.ok(found.order.lastIndexOf("paint") < found.order.indexOf("done"));
    assert.ok(found.order.filter((type) => type === "token").length > found.order.filter((type) => type === "paint").length);
    // A preview decodes the code; the final picture takes the source's own pixels where the code is the source's.
    assert.ok(Math.max(...found.distance) < 12, `mean differences ${found.distance}`);
    assert.deepEqual(found.order.slice(-3), ["plan", "candidate", "done"]);
  });

  test("W8 every token is told once, in order; `final` paints nothing", async () => {
    const { indices, paints, tokens } = await page.evaluate(async () => {
      const indices = [];
      const stream = editor.stream({ ...football, paint: "final", onToken: ({ index }) => indices.push(index) });
      let paints = 0;
      for await (const event of stream) paints += event.type === "paint" ? 1 : 0;
      return { indices, paints, tokens: (await stream.result).tokens.length };
    });
    assert.deepEqual(indices, Array.from({ length: tokens }, (_, at) => at));
    assert.equal(paints, 0);
  });

  test("W9 four candidates: each is a single run with its own seed, ordered by score", async () => {
    const found = await page.evaluate(async () => {
      const many = await editor.edit({ ...football, instruction: "add a cat", seed: 7, candidates: 4 });
      const single = [];
      for (let k = 0; k < 4; k++) single.push(await t.hash(new Blob([(await editor.edit({ ...football, instruction: "add a cat", seed: 7 + k, temperature: 0.7 })).data.data])));
      const hashes = await Promise.all(many.candidates.map(({ data }) => t.hash(new Blob([data.data]))));
      return { order: many.candidates.map(({ index, seed, score }) => ({ index, seed, score })), hashes, single, best: await t.hash(new Blob([many.data.data])) };
    });
    assert.deepEqual(found.order.map(({ index, seed }) => seed - index), [7, 7, 7, 7]);
    assert.deepEqual([...found.order].sort((a, b) => b.score - a.score || a.index - b.index), found.order);
    found.order.forEach(({ index }, at) => assert.equal(found.hashes[at], found.single[index], `candidate ${index}`));
    assert.equal(found.best, found.hashes[0]);
  });

  test("W3 codes read ahead or not, rows painted or not: the same tokens and the same file, with fewer passes", async () => {
    const runs = await page.evaluate(async () => {
      const runs = [];
      for (const options of [{ ahead: 0 }, { ahead: 1 }, { ahead: 32 }, { paint: "final" }, { paint: "row" }]) {
        const result = await editor.edit({ ...football, mode: "full", ...options });
        runs.push({ tokens: result.tokens.join(), png: await t.hash(result.image), forwards: result.stats.forwards, written: result.tokens.length });
      }
      return runs;
    });
    assert.deepEqual(new Set(runs.map(({ tokens, png }) => `${tokens} ${png}`)).size, 1, JSON.stringify(runs));
    const [none, one, many] = runs.map(({ forwards }) => forwards);
    assert.ok(none > one && one > many && many < none / 2, `${none}, ${one}, ${many} passes`);
    assert.equal(none, runs[0]?.written, "without a draft: two passes for picture and words, one for each code, none for the two tokens that leave no choice");
  });

  test("W3 a stopped edit counts its passes: codes that were read ahead cost none", async () => {
    const { whole, stopped } = await page.evaluate(async () => {
      const whole = await editor.edit({ ...football, mode: "full" });
      const last = whole.tokens.length - 2;
      const stream = editor.stream({ ...football, mode: "full", onToken: ({ index }) => index === last - 1 && void stream.stop() });
      const stopped = await stream.result;
      return { whole: whole.stats, stopped: stopped.stats };
    });
    assert.ok(stopped.tokens >= whole.tokens - 2 && stopped.forwards <= whole.forwards && stopped.forwards >= whole.forwards - 1, JSON.stringify({ whole, stopped }));
  });

  for (const mode of ["local", "full"]) test(`W11 maps fit the grid and agree with the tokens, mode ${mode}`, async () => {
    const { maps, tokens, vocabulary } = await page.evaluate(async (mode) => {
      const tokens = [];
      const { maps } = await editor.edit({ ...dog, mode, maps: true, onToken: (token) => tokens.push(token) });
      return { maps: { ...maps, entropy: [...maps.entropy], changed: [...maps.changed], accepted: [...maps.accepted], forced: [...maps.forced] }, tokens, vocabulary: 2 ** 16 };
    }, mode);
    assert.deepEqual([maps.rows, maps.cols, maps.entropy.length], [8, 8, 64]);
    const codes = tokens.filter(({ sourceId }) => sourceId !== null);
    assert.ok(codes.length > 0);
    assert.equal(codes.some(({ accepted }) => accepted), mode === "full", "codes are read ahead where the whole picture is written");
    assert.ok(codes.every(({ accepted, id, sourceId }) => !accepted || id === sourceId), "only the source's own codes are read ahead");
    assert.ok(tokens.every(({ entropy, logProb }) => entropy >= 0 && entropy <= Math.log(vocabulary) && logProb <= 0));
    const last = new Map(codes.map((token) => [token.row * 8 + token.col, token]));
    maps.entropy.forEach((entropy, at) => {
      const token = last.get(at);
      if (!token) return void assert.ok(Number.isNaN(entropy) && !maps.changed[at] && !maps.accepted[at]);
      assert.ok(Math.abs(entropy - token.entropy) < 1e-5);
      assert.deepEqual([maps.accepted[at], maps.changed[at], maps.forced[at]], [token.accepted ? 1 : 0, token.id === token.sourceId ? 0 : 1, token.forced ? 1 : 0]);
    });
  });
});

describe("recipes", () => {
  test("W12 a link opened in a fresh profile makes the same file, byte for byte", async () => {
    const made = await page.evaluate(async () => {
      const result = await editor.edit({ ...football, instruction: "replace the cat with a dog", seed: 11, temperature: 0.8, region: { x: 0, y: 20, width: 50, height: 44 } });
      return { link: t.api.toFragment(result.recipe), png: await t.hash(result.image), recipe: result.recipe };
    });
    assert.ok(!JSON.stringify(made.recipe).includes("data"), "no pixels");
    const other = await on.fresh();
    const again = await other.evaluate(async (link) => {
      const t = await import("/test/tools.js");
      const editor = await t.create();
      const recipe = t.api.fromFragment(`#${link}`);
      const same = await editor.edit({ image: await t.scene(0), recipe });
      const faults = [];
      for (const [image, change] of [[t.noise(64, 64), {}], [await t.scene(0), { model: "0".repeat(64) }]]) {
        faults.push((await t.fault(() => editor.edit({ image, recipe: { ...recipe, ...change } }))).message);
      }
      for (const text of ["r=%%%", "r=abc", `r=${btoa(JSON.stringify({ ...recipe, v: 2 })).replaceAll("=", "")}`, `r=${btoa(JSON.stringify({ v: 1 }))}`, `r=${"A".repeat(20_000)}`]) {
        faults.push((await t.fault(async () => t.api.fromFragment(text))).message);
      }
      return { png: await t.hash(same.image), faults, none: t.api.fromFragment("#top") };
    }, made.link);
    assert.equal(again.png, made.png);
    assert.equal(again.none, null);
    [/another picture/, /another model/, /damaged/, /damaged/, /version 2/, /names no model/, /damaged/].forEach((said, at) => assert.match(again.faults[at], said));
    await other.context().close();
  });

  test("W10, W12 a plan that is given is carried out, and its recipe makes the same file; the model's own plan given back changes nothing", async () => {
    const found = await page.evaluate(async () => {
      const bare = async (result) => t.hash(new Blob([t.api.withoutText(new Uint8Array(await result.image.arrayBuffer()))]));
      const own = await editor.edit(dog);
      const back = await editor.edit({ ...dog, plan: own.plan });
      const moved = own.plan.map((step) => (step.verb === "draw" ? { ...step, row: 0, col: 4 } : step));
      const other = await editor.edit({ ...dog, plan: moved });
      const again = await editor.edit({ image: football.image, recipe: t.api.fromFragment(t.api.toFragment(other.recipe)) });
      const damaged = { ...other.recipe, plan: [{ verb: "draw" }] };
      return {
        own: [own.tokens.join(), await bare(own)], back: [back.tokens.join(), await bare(back)], none: "plan" in own.recipe, moved,
        other: { plan: other.plan, png: await t.hash(other.image), bare: await bare(other), kept: other.outside.changed, recipe: other.recipe.plan },
        again: { plan: again.plan, png: await t.hash(again.image) }, fault: await t.fault(() => editor.edit({ image: football.image, recipe: damaged })),
      };
    });
    assert.deepEqual(found.back, found.own);
    assert.equal(found.none, false, "a plan of the model's own is no part of the recipe");
    assert.ok(found.moved.some(({ verb }) => verb === "draw"));
    assert.deepEqual([found.other.plan, found.other.recipe, found.again.plan], [found.moved, found.moved, found.moved]);
    assert.notEqual(found.other.bare, found.own[1]);
    assert.equal(found.other.kept, 0);
    assert.equal(found.again.png, found.other.png);
    assert.equal(found.fault.code, "E_RECIPE_MISMATCH");
  });

  test("W10 `reasoning: \"off\"` writes no plan: what mode `full` writes, with a region too; with a mode that plans, or a plan, it is E_OPTION", async () => {
    const found = await page.evaluate(async () => {
      const made = async (more) => {
        const { tokens, plan, recipe } = await editor.edit({ ...football, ...more });
        return { tokens: tokens.join(), plan: plan.length, mode: recipe.mode };
      };
      const region = { x: 32, y: 32, width: 32, height: 32 };
      const { plan } = await editor.edit(football);
      const faults = [];
      for (const more of [{ mode: "local" }, { mode: "think" }, { plan }, { plan, mode: "full" }]) faults.push(await t.fault(() => editor.edit({ ...football, ...more, reasoning: "off" })));
      return {
        off: await made({ reasoning: "off" }), full: await made({ mode: "full" }), both: await made({ mode: "full", reasoning: "off" }),
        within: await made({ reasoning: "off", region }), fullWithin: await made({ mode: "full", region }),
        auto: await made({ reasoning: "auto" }), own: await made({}), think: (await made({ mode: "think", reasoning: "auto" })).mode,
        faults, unknown: (await t.fault(() => editor.edit({ ...football, reasoning: "on" }))).message,
      };
    });
    assert.deepEqual([found.off, found.both, found.within], [found.full, found.full, found.fullWithin]);
    assert.deepEqual([found.off.plan, found.off.mode, found.within.mode], [0, "full", "full"]);
    assert.deepEqual([found.auto, found.own.mode, found.own.plan > 0, found.think], [found.own, "local", true, "think"]);
    assert.deepEqual(found.faults.map(({ code, hint }) => [code, hint.length > 10]), Array(4).fill(["E_OPTION", true]));
    assert.match(found.unknown, /none of auto, off/);
  });

  test("W13 the PNG holds the recipe; an independent reader finds it, and every checksum holds", async () => {
    const { bytes, recipe, read, bare } = await page.evaluate(async () => {
      const result = await editor.edit(football);
      const bytes = new Uint8Array(await result.image.arrayBuffer());
      return { bytes: [...bytes], recipe: result.recipe, read: t.api.fromPng(bytes), bare: [...t.api.withoutText(bytes)] };
    });
    const png = Buffer.from(bytes);
    const chunks = chunksOf(png);
    assert.ok(chunks.every(({ sound }) => sound), "checksums");
    assert.deepEqual(JSON.parse(textOf(chunks, "earl-recipe")), recipe);
    assert.deepEqual(read, recipe);
    const without = chunksOf(Buffer.from(bare));
    assert.ok(without.every(({ sound }) => sound) && without.every(({ type }) => type !== "iTXt"));
    assert.equal(without.length, chunks.length - 1);
  });
});

describe("input and errors", () => {
  test("W30 every kind of picture a page has gives the same edit", async () => {
    const found = await page.evaluate(async () => {
      const { image } = football;
      const png = await t.file(image);
      const canvas = Object.assign(document.createElement("canvas"), { width: 64, height: 64 });
      canvas.getContext("2d").putImageData(image, 0, 0);
      const offscreen = new OffscreenCanvas(64, 64);
      offscreen.getContext("2d").putImageData(image, 0, 0);
      const url = URL.createObjectURL(png);
      const element = Object.assign(new Image(), { src: url });
      const inputs = { image, png, canvas, offscreen, element, bitmap: await createImageBitmap(image), webp: null };
      delete inputs.webp;
      const hashes = {};
      for (const [name, input] of Object.entries(inputs)) hashes[name] = (await editor.edit({ ...football, image: input })).recipe.image;
      return hashes;
    });
    assert.equal(new Set(Object.values(found)).size, 1, JSON.stringify(found));
  });

  test("W30 GIF, JPEG and WebP are read; size and transparency are kept", async () => {
    const found = await page.evaluate(async () => {
      const sizes = {};
      for (const type of ["image/jpeg", "image/webp", "image/png"]) {
        const result = await editor.edit({ image: await t.file(t.noise(90, 30), type), instruction: "add a cat" });
        sizes[type] = [result.data.width, result.data.height, result.image.type].join();
      }
      const clear = await editor.edit({ image: t.noise(40, 40, true), instruction: "add a cat" });
      const source = t.noise(40, 40, true);
      return { sizes, alpha: clear.data.data.every((byte, at) => at % 4 !== 3 || byte === source.data[at]), notes: clear.notes };
    });
    assert.deepEqual(new Set(Object.values(found.sizes)), new Set(["90,30,image/png"]));
    assert.ok(found.alpha);
    assert.match(found.notes.join(), /transparent parts/);
  });

  test("W30, W41 what is refused: code, class, hint, and whether trying again helps", async () => {
    const png = (/** @type {number} */ side) => `new Blob([new Uint8Array([0x89,0x50,0x4e,0x47,13,10,26,10,0,0,0,13,0x49,0x48,0x44,0x52,0,0,${side >> 8},${side & 255},0,0,${side >> 8},${side & 255},8,2,0,0,0])])`;
    for (const [options, code, kind, retryable] of /** @type {const} */ ([
      ["{ image: new Blob([]) }", "E_IMAGE_DECODE", "EarlInputError", false],
      ['{ image: new Blob(["no picture"]) }', "E_IMAGE_DECODE", "EarlInputError", false],
      [`{ image: ${png(64)} }`, "E_IMAGE_DECODE", "EarlInputError", false],
      [`{ image: ${png(30000)} }`, "E_IMAGE_TOO_LARGE", "EarlInputError", false],
      ["{ image: 5 }", "E_OPTION", "EarlInputError", false],
      ["{ image: new Image() }", "E_IMAGE_DECODE", "EarlInputError", false],
      ['{ image: "/nowhere.png" }', "E_HTTP", "EarlNetworkError", false],
      ['{ instruction: "" }', "E_INSTRUCTION", "EarlInputError", false],
      ['{ instruction: "remove the cat ".repeat(700) }', "E_INSTRUCTION", "EarlInputError", false],
      ["{ instruction: undefined }", "E_INSTRUCTION", "EarlInputError", false],
      ['{ instruction: "entferne die Katze 猫" }', "E_NOT_UNDERSTOOD", "EarlInputError", false],
      ["{ seed: -1 }", "E_OPTION", "EarlInputError", false],
      ["{ seed: 1.5 }", "E_OPTION", "EarlInputError", false],
      ["{ temperature: 9 }", "E_OPTION", "EarlInputError", false],
      ["{ candidates: 17 }", "E_OPTION", "EarlInputError", false],
      ['{ lock: "firm" }', "E_OPTION", "EarlInputError", false],
      ["{ ahead: 65 }", "E_OPTION", "EarlInputError", false],
      ["{ ahead: 1.5 }", "E_OPTION", "EarlInputError", false],
      ['{ plan: "draw a cat" }', "E_OPTION", "EarlInputError", false],
      ['{ plan: [], mode: "full" }', "E_OPTION", "EarlInputError", false],
      ['{ plan: [{ verb: "paint", name: "cat", tint: null, row: 0, col: 0, cells: 3 }] }', "E_OPTION", "EarlInputError", false],
      ['{ plan: [{ verb: "draw", name: "cat", tint: null, row: -1, col: 0, cells: 3 }] }', "E_OPTION", "EarlInputError", false],
      ['{ plan: [{ verb: "draw", name: "cat", tint: null, row: 6, col: 0, cells: 3 }] }', "E_OPTION", "EarlInputError", false],
      ['{ plan: [{ verb: "draw", name: "zebra", tint: null, row: 0, col: 0, cells: 3 }] }', "E_OPTION", "EarlInputError", false],
      ["{ instuction: 1 }", "E_OPTION", "EarlInputError", false],
    ])) {
      const found = await fault(options);
      assert.deepEqual([found.code, found.name, found.retryable], [code, kind, retryable], options);
      assert.ok(found.hint.length > 10, options);
    }
    assert.match((await fault("{ instuction: 1 }")).hint, /`instruction`/);
    assert.equal(await page.evaluate(async () => (await editor.edit({ ...football, seed: 2n ** 64n - 1n })).recipe.seed), "18446744073709551615");
  });

  test("W30, W41 a canvas that shows another site's picture is E_TAINTED", async () => {
    // The site's policy lets no other site's picture in, so the browser's own refusal is put in its place.
    const { code } = await page.evaluate(async () => {
      const { prototype } = OffscreenCanvasRenderingContext2D;
      const original = prototype.getImageData;
      prototype.getImageData = () => { throw new DOMException("tainted", "SecurityError"); };
      const found = await t.fault(() => editor.edit({ ...football, image: document.createElement("canvas") }));
      prototype.getImageData = original;
      return found;
    });
    assert.equal(code, "E_TAINTED");
  });

  test("W29, W41 no memory for a picture is E_OUT_OF_MEMORY, a canvas that can't be drawn E_IMAGE_DECODE; the next edit works", async () => {
    const found = await page.evaluate(async () => {
      const { prototype } = OffscreenCanvasRenderingContext2D;
      const original = prototype.getImageData;
      const image = await createImageBitmap(football.image);
      const faults = [];
      for (const error of [new RangeError("Array buffer allocation failed"), new DOMException("gone", "InvalidStateError"), null]) {
        if (error) prototype.getImageData = () => { throw error; };
        faults.push(await t.fault(() => editor.edit({ ...football, image })));
        prototype.getImageData = original;
      }
      return faults.map(({ code, name, retryable }) => [code, name, retryable]);
    });
    assert.deepEqual(found, [["E_OUT_OF_MEMORY", "EarlMemoryError", true], ["E_IMAGE_DECODE", "EarlInputError", false], ["none", "", false]]);
  });

  test("W28 no adapter, no WebGPU: the CPU with the reason; WebGPU asked for is E_NO_BACKEND", async () => {
    const found = await page.evaluate(async () => {
      const auto = await t.create({ backend: "auto" });
      const facts = [auto.info.backend, auto.info.reason];
      await auto.destroy();
      return { facts, fault: await t.fault(() => t.create({ backend: "webgpu" })) };
    });
    assert.deepEqual(found.facts, ["cpu", "no WebGPU adapter"]);
    assert.equal(found.fault.code, "E_NO_BACKEND");
    const context = await on.browser.newContext();
    await context.addInitScript(() => Object.defineProperty(Navigator.prototype, "gpu", { value: undefined }));
    const other = await on.blank(context);
    const reason = await other.evaluate(async () => (await (await import("/test/tools.js")).create({ backend: "auto" })).info.reason);
    assert.equal(reason, "no WebGPU here");
    await context.close();
  });

  test("W29 a trap is E_WASM_TRAP; a new worker takes over without the network", async () => {
    const other = await on.fresh();
    // The module's edge is made to trap as Rust's panic does: an unreachable instruction.
    await other.context().route("**/wasm/earl_cpu.js", async (route) => {
      const text = await (await route.fetch()).text();
      const trap = `(new WebAssembly.Instance(new WebAssembly.Module(new Uint8Array([0,97,115,109,1,0,0,0,1,4,1,96,0,0,3,2,1,0,7,5,1,1,116,0,0,10,5,1,3,0,0,11])))).exports.t()`;
      const body = text.replace(/\bedit\(rgba[^)]*\)\s*\{/, (head) => `${head} if (self.trapped !== (self.trapped = true)) ${trap};`);
      assert.notEqual(body, text);
      await route.fulfill({ contentType: "text/javascript", body });
    });
    const found = await other.evaluate(async () => {
      const t = await import("/test/tools.js");
      const editor = await t.create();
      const states = [];
      editor.addEventListener("statechange", ({ detail }) => states.push(detail.state));
      const football = { image: await t.scene(0), instruction: "remove the football" };
      const first = await t.fault(() => editor.edit(football));
      await editor.selfTest(); // a new worker
      return { first, workers: editor.stats().workers, states, fromCache: editor.stats().bytesFromCache };
    });
    assert.deepEqual([found.first.code, found.first.name, found.first.retryable, found.workers], ["E_WASM_TRAP", "EarlDeviceError", true, 2]);
    assert.ok(found.states.includes("lost") && found.fromCache > 0);
    await other.context().close();
  });

  test("W29 a module that gets no more memory is E_OUT_OF_MEMORY; a new worker does the next edit", async () => {
    const other = await on.fresh();
    await other.context().route("**/wasm/earl_cpu_bg.wasm", async (route) => {
      const response = await route.fetch();
      await route.fulfill({ response, body: withMemory(await response.body(), 1600) });
    });
    const found = await other.evaluate(async () => {
      const t = await import("/test/tools.js");
      const editor = await t.create();
      const [image, canvas] = [await t.scene(0), new OffscreenCanvas(4000, 3000)];
      canvas.getContext("2d").drawImage(await createImageBitmap(image), 0, 0, 4000, 3000);
      const large = await t.fault(() => editor.edit({ image: canvas, instruction: "remove the football" }));
      const small = await t.fault(() => editor.edit({ image, instruction: "remove the football" }));
      return { large, small: small.code, workers: editor.stats().workers };
    });
    assert.deepEqual([found.large.code, found.large.name, found.large.retryable, found.small, found.workers], ["E_OUT_OF_MEMORY", "EarlMemoryError", true, "none", 2]);
    await other.context().close();
  });

  test("W29, W41 too little memory is E_MEMORY_LIMIT before any weights are fetched", async () => {
    const other = await on.fresh();
    const before = on.server.count("chunks/");
    const { code, name } = await other.evaluate(async () => {
      const t = await import("/test/tools.js");
      return t.fault(() => t.create({ maxMemoryBytes: 1_000_000 }));
    });
    assert.deepEqual([code, name, on.server.count("chunks/") - before], ["E_MEMORY_LIMIT", "EarlMemoryError", 0]);
    await other.context().close();
  });

  test("W41 a silent server is E_TIMEOUT, a busy one E_HTTP; both work when tried again", async () => {
    on.limits({ silenceMs: 400, waitMs: 10 });
    const other = await on.fresh();
    const attempt = () => other.evaluate(async () => {
      const t = await import("/test/tools.js");
      return t.fault(() => t.create());
    });
    on.server.spoil.set("chunks/", { stall: 1000 });
    const silent = await attempt();
    on.server.spoil.set("chunks/", { status: 503 });
    const busy = await attempt();
    on.server.spoil.clear();
    assert.deepEqual([silent.code, silent.retryable], ["E_TIMEOUT", true]);
    assert.deepEqual([busy.code, busy.retryable, busy.detail.status], ["E_HTTP", true, 503]);
    assert.equal((await attempt()).code, "none");
    await other.context().close();
  });

  test("W41 a missing worker is a typed error, not silence", async () => {
    const { code, hint } = await page.evaluate(() => t.fault(() => t.create({ workerUrl: "/nowhere.js" })));
    assert.equal(code, "E_WORKER");
    assert.ok(hint.length > 10);
  });

  test("W2 the self-test asks for the model's twelve known answers: the CPU gives their tokens, pixels and last bits", async () => {
    const found = await page.evaluate(() => editor.selfTest());
    assert.deepEqual(found.checks.filter(({ ok }) => !ok), []);
    const known = found.checks.filter(({ name }) => name.startsWith("known answer"));
    assert.equal(known.length, 12);
    assert.ok(known.every(({ detail }) => detail === "the same tokens, pixels, last bits"), JSON.stringify(known));
    assert.deepEqual([found.ok, found.backend, found.checks.length], [true, "cpu", 15]);
  });

  test("W2 one known answer that is told wrongly fails the self-test, and which one is said", async () => {
    const other = await on.fresh();
    await other.context().route("**/tiny/manifest.json", async (route) => {
      const manifest = await (await route.fetch()).json();
      manifest.kat[4].program[2]++;
      await route.fulfill({ json: manifest });
    });
    const found = await other.evaluate(async () => (await (await import("/test/tools.js")).create()).selfTest());
    assert.deepEqual(found.checks.filter(({ ok }) => !ok).map(({ name, detail }) => [name.slice(0, 14), detail]), [["known answer 5", "other tokens"]]);
    assert.equal(found.ok, false);
    await other.context().close();
  });
});
