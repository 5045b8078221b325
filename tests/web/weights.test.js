// @ts-check
/** Weights on their way and in store: progress, sharing, cut and damaged downloads, full and denied storage. */
import assert from "node:assert/strict";
import { after, before, beforeEach, describe, test } from "node:test";
import { bench, chunkCount, chunkFile, manifest, weightBytes } from "./helpers.js";

/** @type {import("./helpers.js").Bench} */
let on;
before(async () => void (on = await bench()));
after(() => on.close());
beforeEach(() => on.server.spoil.clear());

/** @param {import("playwright-core").Page} page */
const close = (page) => page.context().close();
/** The first error's code of making an editor. @param {import("playwright-core").Page} page @param {object} [options] */
const fault = (page, options = {}) => page.evaluate(async (options) => {
  const { create, fault } = await import("/test/tools.js");
  return fault(() => create(options));
}, options);
/** Does an edit work? @param {import("playwright-core").Page} page @param {object} [options] */
const works = (page, options = {}) => page.evaluate(async (options) => {
  const { create, scene } = await import("/test/tools.js");
  const editor = await create(options);
  const result = await editor.edit({ image: await scene(0), instruction: "remove the football" });
  const { notices } = editor.info;
  await editor.destroy();
  return { type: result.image.type, tokens: result.tokens.length, notices, ...editor.stats() };
}, options);
const flip = (/** @type {Buffer} */ bytes) => {
  bytes[bytes.length >> 1] ^= 1;
  return bytes;
};
/** Changes the manifest. @param {(manifest: any) => void} change */
const manifestWith = (change) => () => {
  const copy = structuredClone(manifest);
  change(copy);
  return Buffer.from(JSON.stringify(copy));
};

describe("availability and progress", () => {
  test("W15 availability walks all four states and asks for no weights", async () => {
    const page = await on.fresh();
    const state = (options = {}) => page.evaluate(async (options) => (await import("/web/api.js")).availability({ model: "/models/tiny/", backend: "cpu", ...options }), options);
    const before = on.server.count("chunks/");
    assert.equal(await state({ model: "/nowhere/" }), "unavailable");
    assert.equal(await state(), "downloadable");
    assert.equal(on.server.count("chunks/"), before);
    on.server.spoil.set("chunks/", { delay: 2000 });
    const made = works(page);
    while (on.server.count("chunks/") === before) await page.waitForTimeout(20);
    const other = await on.blank(page.context());
    assert.equal(await other.evaluate(async () => (await import("/web/api.js")).availability({ model: "/models/tiny/" })), "downloading");
    await made;
    assert.equal(await state(), "available");
    const facts = await page.evaluate(async () => (await import("/web/api.js")).capabilities({ model: "/models/tiny/" }));
    assert.equal(facts.bytesTotal, weightBytes);
    assert.equal(facts.bytesCached, weightBytes);
    assert.deepEqual(facts.backends, ["cpu"]);
    assert.match(facts.reasons.join(), /no WebGPU/);
    assert.match(facts.modelHash, /^[0-9a-f]{64}$/);
    assert.ok(facts.memoryBytes > weightBytes && facts.tier === "tiny");
    await close(page);
  });

  test("W15 two tabs fetch each chunk once in total", async () => {
    const page = await on.fresh();
    const other = await on.blank(page.context());
    const before = on.server.count("chunks/");
    await Promise.all([works(page), works(other)]);
    assert.equal(on.server.count("chunks/") - before, chunkCount);
    await close(page);
  });

  /** @param {import("playwright-core").Page} page */
  const events = (page) => page.evaluate(async () => {
    const { watched } = await import("/test/tools.js");
    const { editor, events } = await watched();
    await editor.destroy();
    return events;
  });
  /** @param {any[]} list */
  function check(list) {
    assert.equal(list[0].loaded, 0);
    assert.equal(list.at(-1).loaded, 1);
    assert.ok(list.every(({ loaded, total }, at) => total === 1 && loaded <= 1 && (at === 0 || loaded >= list[at - 1].loaded)), "never decreases");
    assert.equal(list.at(-1).bytesLoaded, weightBytes);
    assert.ok(list.every((event) => event.bytesTotal === weightBytes && event.status === "progress_total" && event.files === chunkCount));
    return list.at(-1);
  }
  for (const gzip of [false, true]) {
    test(`W16 progress is whole and never decreases, ${gzip ? "with" : "without"} gzip, and when half is stored`, async () => {
      on.server.spoil.set("chunks/", { gzip });
      const page = await on.fresh();
      const first = await events(page);
      assert.ok(first.length > 4, `${first.length} events`);
      assert.equal(check(first).bytesFromCache, 0);
      assert.equal(check(await events(page)).bytesFromCache, weightBytes, "all from storage");
      const gone = manifest.chunks[0];
      await page.evaluate(async (sha) => {
        const cache = await caches.open("earl-weights-v1");
        for (const request of await cache.keys()) if (request.url.endsWith(sha)) await cache.delete(request);
      }, gone.sha256);
      assert.equal(check(await events(page)).bytesFromCache, weightBytes - gone.length);
      await close(page);
    });
  }
});

describe("cut and damaged", () => {
  test("W17 connections cut at ten places: what was whole is not fetched again", async () => {
    on.limits({ waitMs: 10 });
    const page = await on.fresh();
    const sizes = manifest.chunks.map((/** @type {any} */ chunk) => chunk.length);
    for (let at = 0; at < 10; at++) {
      await page.evaluate(async () => (await import("/web/api.js")).purge());
      // Every chunk but the first breaks at a place by chance, always.
      const cut = Math.floor(((at * 7919 + 131) % 997) / 997 * Math.min(...sizes));
      for (const { sha256 } of manifest.chunks.slice(1)) on.server.spoil.set(sha256, { cut });
      assert.equal((await fault(page)).code, "E_OFFLINE");
      on.server.spoil.clear();
      const before = on.server.log.length;
      assert.equal((await fault(page)).code, "none");
      const asked = on.server.log.slice(before).filter((path) => path.includes("chunks/"));
      assert.ok(asked.length <= 3 && asked.length < chunkCount, `${asked.length} chunks`);
      assert.ok(!asked.some((path) => path.includes(manifest.chunks[0].sha256)), "the whole chunk was kept");
    }
    await close(page);
  });

  test("W17 a page closed in the middle of a download goes on where it was", async () => {
    const page = await on.fresh();
    const context = page.context();
    for (const { sha256 } of manifest.chunks.slice(1)) on.server.spoil.set(sha256, { stall: 1000 });
    page.evaluate(async () => void (await import("/test/tools.js")).create()).catch(() => undefined);
    const next = await on.blank(context);
    const isStored = () => next.evaluate(async (sha) => (await (await caches.open("earl-weights-v1")).keys()).some(({ url }) => url.endsWith(sha)), manifest.chunks[0].sha256);
    while (!(await isStored())) await next.waitForTimeout(20);
    await page.close();
    on.server.spoil.clear();
    const before = on.server.count("chunks/");
    assert.equal((await fault(next)).code, "none");
    assert.equal(on.server.count("chunks/") - before, chunkCount - 1);
    await context.close();
  });

  const [first, second] = manifest.chunks;
  for (const [what, part, spoil, code] of /** @type {[string, string, any, string][]} */ ([
    ["one flipped bit", "chunks/", { change: flip }, "E_HASH_MISMATCH"],
    ["a shorter chunk", "chunks/", { change: (/** @type {Buffer} */ bytes) => bytes.subarray(0, bytes.length / 2) }, "E_SIZE_MISMATCH"],
    ["a longer chunk", "chunks/", { change: (/** @type {Buffer} */ bytes) => Buffer.concat([bytes, Buffer.from("x")]) }, "E_SIZE_MISMATCH"],
    ["a missing chunk", "chunks/", { status: 404 }, "E_HTTP"],
    ["a swapped chunk", first.sha256, { change: () => chunkFile(second.sha256) }, "E_HASH_MISMATCH"],
    ["a wrong length", "manifest.json", { change: manifestWith(({ chunks }) => chunks[0].length++) }, "E_FORMAT"],
    ["a name with a path", "manifest.json", { change: manifestWith(({ chunks }) => (chunks[0].sha256 = `../../${first.sha256}`)) }, "E_FORMAT"],
    ["a newer version", "manifest.json", { change: manifestWith((copy) => (copy.version = 2)) }, "E_VERSION"],
    ["no JSON", "manifest.json", { change: () => Buffer.from("<html>") }, "E_FORMAT"],
    ["a missing tensor", "manifest.json", { change: manifestWith(({ tensors }) => tensors.shift()) }, "E_TENSOR_MISSING"],
    ["a tensor outside the stream", "manifest.json", { change: manifestWith(({ tensors }) => (tensors[0].offset = 2 ** 40)) }, "E_FORMAT"],
  ])) {
    test(`W18 ${what} is ${code}; nothing bad is stored`, async () => {
      const page = await on.fresh();
      on.server.spoil.set(part, spoil);
      const before = on.server.count("chunks/");
      const { code: found, hint } = await fault(page);
      assert.equal(found, code);
      assert.ok(hint.length > 10, "a hint");
      assert.ok(!on.server.log.some((path) => path.includes("..")));
      if (code === "E_FORMAT" || code === "E_VERSION") assert.equal(on.server.count("chunks/"), before, "no chunk was asked for");
      const stored = await page.evaluate(async () => {
        const { hash } = await import("/test/tools.js");
        const cache = await caches.open("earl-weights-v1");
        const found = await Promise.all((await cache.keys()).map(async (request) => [request.url.split("/").pop(), await hash(await (await cache.match(request)).blob())]));
        return found.filter(([name]) => /^[0-9a-f]{64}$/.test(name ?? ""));
      });
      assert.ok(stored.every(([name, hash]) => name === hash), "only whole chunks are stored");
      on.server.spoil.clear();
      assert.equal((await fault(page)).code, "none", "works once the site is mended");
      await close(page);
    });
  }

  test("W18 a manifest that is not the pinned one is E_MANIFEST_MISMATCH", async () => {
    const page = await on.fresh();
    const hash = "0".repeat(64);
    assert.equal((await fault(page, { modelHash: hash })).code, "E_MANIFEST_MISMATCH");
    const right = await page.evaluate(async () => (await import("/web/api.js")).capabilities({ model: "/models/tiny/" }));
    assert.equal((await fault(page, { modelHash: right.modelHash })).code, "none");
    await close(page);
  });

  for (const storage of ["cache", "opfs"]) {
    test(`W19 a chunk damaged in ${storage} is found and fetched again; without a network it is E_OFFLINE`, async () => {
      on.limits({ waitMs: 10 });
      const page = await on.fresh();
      await works(page, { storage });
      const damage = () => page.evaluate(async ([storage, sha]) => {
        const spoilt = async (/** @type {Blob} */ blob) => {
          const bytes = new Uint8Array(await blob.arrayBuffer());
          bytes[100] ^= 1;
          return bytes;
        };
        if (storage === "cache") {
          const cache = await caches.open("earl-weights-v1");
          for (const request of await cache.keys()) {
            if (request.url.endsWith(sha)) await cache.put(request, new Response(await spoilt(await (await cache.match(request)).blob())));
          }
          return;
        }
        const root = await (await navigator.storage.getDirectory()).getDirectoryHandle("earl-weights-v1");
        for await (const folder of root.values()) {
          for await (const file of folder.values()) {
            if (file.name !== sha) continue;
            const bytes = await spoilt(await file.getFile());
            const writer = await file.createWritable();
            await writer.write(bytes);
            await writer.close();
          }
        }
      }, [storage, first.sha256]);
      await damage();
      const before = on.server.count("chunks/");
      assert.equal((await works(page, { storage })).type, "image/png");
      assert.equal(on.server.count("chunks/") - before, 1);
      await damage();
      await page.context().setOffline(true);
      const { code, hint, retryable } = await fault(page, { storage });
      assert.deepEqual([code, retryable], ["E_OFFLINE", true]);
      assert.match(hint, /connection/);
      await page.context().setOffline(false);
      assert.equal((await fault(page, { storage })).code, "none");
      await close(page);
    });
  }

  test("W20 without room or allowance the model runs from memory, and that is said", async () => {
    for (const [deny, said] of /** @type {[() => void, RegExp][]} */ ([
      [() => (navigator.storage.estimate = async () => ({ quota: 0, usage: 0 })), /no room/],
      [() => (Cache.prototype.put = async () => { throw new DOMException("full", "QuotaExceededError"); }), /no room/],
      [() => (CacheStorage.prototype.open = async () => { throw new DOMException("denied", "SecurityError"); }), /allows no storage/],
    ])) {
      const context = await on.browser.newContext();
      await context.addInitScript(deny);
      const page = await on.blank(context);
      const { type, notices } = await works(page);
      assert.equal(type, "image/png");
      assert.match(notices.join(), said);
      const before = on.server.count("chunks/");
      await works(page);
      assert.equal(on.server.count("chunks/"), before, "the page's second editor finds it in memory");
      await context.close();
    }
  });

  test("W20, W41 who insists on storage gets E_QUOTA where there is no room, before any download or in it, and the model once there is", async () => {
    for (const storage of ["cache", "opfs"]) {
      const page = await on.fresh();
      const before = on.server.count("chunks/");
      const found = await page.evaluate(async (storage) => {
        const { create, fault } = await import("/test/tools.js");
        const { estimate } = navigator.storage;
        navigator.storage.estimate = async () => ({ quota: 5e6, usage: 0 });
        const early = await fault(() => create({ storage }));
        navigator.storage.estimate = estimate;
        const [type, name] = storage === "cache" ? [Cache, "put"] : [FileSystemFileHandle, "createWritable"];
        const own = type.prototype[name];
        type.prototype[name] = async () => { throw new DOMException("full", "QuotaExceededError"); };
        const late = await fault(() => create({ storage }));
        type.prototype[name] = own;
        return { early, late, mended: await fault(() => create({ storage })) };
      }, storage);
      for (const { code, name, retryable, hint } of [found.early, found.late]) {
        assert.deepEqual([code, name, retryable], ["E_QUOTA", "EarlMemoryError", true], storage);
        assert.match(hint, /storage: "memory"/);
      }
      assert.match(found.early.message, /8\.\d MB/);
      assert.equal(found.mended.code, "none");
      assert.ok(on.server.count("chunks/") - before <= 2 * chunkCount, "without room nothing is asked for");
      await close(page);
    }
  });

  test("W15, W41 models that can't be removed are E_STATE; where storage is denied there are none", async () => {
    const page = await on.fresh();
    await works(page);
    const found = await page.evaluate(async () => {
      const { api, fault } = await import("/test/tools.js");
      const own = Cache.prototype.delete;
      const failing = async (name) => {
        Cache.prototype.delete = async () => { throw new DOMException("no", name); };
        const error = await fault(() => api.purge());
        Cache.prototype.delete = own;
        return error;
      };
      return [await failing("InvalidStateError"), await failing("SecurityError"), await fault(() => api.purge())];
    });
    assert.deepEqual(found.map(({ code, retryable }) => [code, retryable]), [["E_STATE", true], ["none", false], ["none", false]]);
    assert.match(found[0]?.hint ?? "", /tabs/);
    await close(page);
  });

  test("W15 purge frees what is stored, but what is to be kept", async () => {
    const page = await on.fresh();
    await works(page);
    const { kept, freed, state } = await page.evaluate(async () => {
      const { capabilities, purge, availability } = await import("/web/api.js");
      const { modelHash } = await capabilities({ model: "/models/tiny/" });
      return { kept: await purge({ keep: [modelHash, "manifests"] }), freed: await purge(), state: await availability({ model: "/models/tiny/" }) };
    });
    assert.equal(kept, 0);
    assert.ok(freed >= weightBytes);
    assert.equal(state, "downloadable");
    await close(page);
  });
});
