// @ts-check
/** The tree of pictures: the way through it, what of it is stored, and where nothing can be. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { bench, html, until } from "./helpers.js";

/** @type {import("./helpers.js").Bench} */
let on;
before(async () => void (on = await bench()));
after(() => on.close());

const EDITOR = '<earl-editor alt="A scene" backend="cpu" model="/models/tiny/" reveal="manual" instruction="remove the football" history="on"></earl-editor>';
/** In the page: its editors with a sample each, and what the database holds. */
const SCRIPT = `
  import * as t from "/test/tools.js";
  import "/web/element/define.js";
  const editors = [...document.querySelectorAll("earl-editor")];
  const part = (name, at = 0) => [...editors[at].shadowRoot.querySelectorAll(name)];
  const row = (at = 0) => part("[part=history] button", at);
  Object.assign(globalThis, {
    t, editors, editor: editors[0], part, row, stored: t.stored,
    hash: async (at = 0) => t.hash(await editors[at].toBlob()),
    tree: async (at = 0) => ({ labels: row(at).map((one) => one.title), chosen: row(at).findIndex((one) => one.ariaPressed === "true"), hash: await hash(at), recipe: editors[at].getRecipe() }),
    edit: async (instruction, at = 0) => ((editors[at].instruction = instruction), (await editors[at].run()).tokens.length),
  });
  const scene = Number(new URLSearchParams(location.search).get("scene") ?? 0);
  for (const [at, editor] of editors.entries()) editor.image = await t.scene(scene + at);
  for (const editor of editors) while (!(await editor.toBlob())) await new Promise((resolve) => setTimeout(resolve, 5));
  globalThis.known = true;`;

/** A visit of the page with this body; noise is gathered. @param {import("playwright-core").BrowserContext} context @param {string} [body] @param {string} [query] */
async function visit(context, body = EDITOR, query = "") {
  on.server.files.set("/test/history.html", html(`${body}<script type="module" src="/test/history.js"></script>`));
  on.server.files.set("/test/history.js", Buffer.from(SCRIPT));
  const page = await on.blank(context);
  await page.goto(`${on.server.url}test/history.html${query}`);
  await page.waitForFunction(() => globalThis.known);
  return page;
}
/** Waits until so many pictures are stored. @param {import("playwright-core").Page} page @param {number} count */
const holds = (page, count) => until(page, async (count) => (await stored()).length === count, count);
/** @param {import("playwright-core").Page} page @param {string} instruction @param {number} [at] */
const edit = (page, instruction, at = 0) => page.evaluate(([instruction, at]) => globalThis.edit(instruction, at), /** @type {const} */ ([instruction, at]));
/** @param {import("playwright-core").Page} page @param {number} [at] */
const tree = (page, at = 0) => page.evaluate((at) => globalThis.tree(at), at);

describe("history", () => {
  test("W14 undo, redo, a branch, clear; with history off nothing is stored", async () => {
    const context = await on.browser.newContext();
    const page = await visit(context, EDITOR.replace('history="on"', 'history="off"'));
    const found = await page.evaluate(async () => {
      const source = await hash();
      await edit("remove the football");
      const first = await hash();
      await edit("make the background pink");
      const second = await hash();
      editor.undo();
      const undone = await hash();
      editor.redo();
      const redone = await hash();
      editor.undo();
      editor.undo();
      const bottom = await hash();
      await edit("make the background green"); // a branch from the source
      const branch = await hash();
      editor.undo();
      editor.redo();
      const again = await hash();
      const none = row().length;
      editor.reset();
      return { source, first, second, undone, redone, bottom, branch, again, none, cleared: await hash(), databases: await indexedDB.databases(), texts: localStorage.length, caches: await caches.keys() };
    });
    assert.equal(new Set([found.source, found.first, found.second, found.branch]).size, 4);
    assert.deepEqual([found.undone, found.redone, found.bottom, found.again, found.cleared], [found.first, found.second, found.source, found.branch, found.source]);
    assert.deepEqual([found.none, found.databases, found.texts, found.caches], [0, [], 0, ["earl-weights-v1"]]);
    await context.close();
  });

  test("W14 with history on the tree is there again after a reload and in another visit: pictures, labels, recipes, parents, the place", async () => {
    const context = await on.browser.newContext();
    let page = await visit(context);
    assert.deepEqual(await page.evaluate(() => indexedDB.databases()), [], "a picture alone is not stored");
    await edit(page, "remove the football");
    await edit(page, "make the background pink");
    const { hash: second } = await tree(page);
    await page.evaluate(() => (editor.undo(), editor.undo()));
    await edit(page, "make the background green");
    await page.evaluate(() => row()[1].click());
    const left = await tree(page);
    assert.deepEqual([left.labels, left.chosen], [["The picture as it was", "remove the football", "make the background pink", "make the background green"], 1]);
    await holds(page, 4);
    const isAt = (/** @type {string} */ label) => until(page, async (label) => (await stored()).find(({ here }) => here)?.label === label, label);
    await isAt("remove the football");
    assert.deepEqual(await page.evaluate(async () => (await stored()).map(({ parent }, _, all) => all.findIndex(({ id }) => id === parent))), [-1, 0, 1, 0]);
    for (const again of [() => page.reload(), async () => (await page.close(), (page = await visit(context)))]) {
      await again();
      await page.waitForFunction(() => globalThis.known);
      assert.deepEqual(await tree(page), left);
      const way = await page.evaluate(async () => {
        const compared = !part("[part=handle]")[0].hidden;
        editor.redo();
        const redone = await hash();
        editor.undo();
        editor.undo();
        return { compared, redone, top: await tree(), undo: part("button").find(({ textContent }) => textContent === "Undo").disabled };
      });
      assert.ok(way.compared, "the edit can be compared with what it was made from");
      assert.equal(way.redone, second);
      assert.deepEqual([way.top.chosen, way.top.recipe, way.undo], [0, null, true]);
      await isAt("The picture as it was");
      await page.evaluate(() => row()[1].click());
      await isAt("remove the football");
    }
    await edit(page, "make the background yellow");
    await holds(page, 5);
    await page.getByRole("button", { name: "Clear history" }).click();
    await holds(page, 0);
    page = await visit(context);
    assert.deepEqual((await tree(page)).labels, ["The picture as it was"]);
    await context.close();
  });

  test("W14 a page that comes with another picture shows that one, and the tree beside it; a picture that is there is not added again", async () => {
    const context = await on.browser.newContext();
    let page = await visit(context);
    await edit(page, "remove the football");
    const edited = await tree(page);
    await holds(page, 2);
    page = await visit(context, EDITOR, "?scene=1");
    await page.waitForFunction(() => row()[2]?.ariaPressed === "true");
    const other = await tree(page);
    assert.deepEqual([other.labels.length, other.recipe], [3, null]);
    assert.ok(other.hash !== edited.hash);
    const back = await page.evaluate(async () => {
      editor.image = await t.scene(0);
      while (row()[0].ariaPressed !== "true") await new Promise((resolve) => setTimeout(resolve, 5));
      row()[1].click();
      return tree();
    });
    assert.deepEqual([back.labels.length, back.hash, back.recipe], [3, edited.hash, edited.recipe]);
    await context.close();
  });

  test("W14 a chosen candidate is what is stored; where the limits hold no edit, it and what it was made from stay, and can be cleared", async () => {
    const context = await on.browser.newContext();
    const page = await visit(context);
    const chosen = await page.evaluate(async () => {
      editor.candidates = 3;
      await edit("replace the football with a dog");
      part("[part=candidates] button").find((one) => one.ariaPressed !== "true").click();
      return tree();
    });
    await until(page, async (seed) => (await stored()).some(({ recipe }) => recipe?.seed === seed), chosen.recipe.seed);
    await page.reload();
    await page.waitForFunction(() => globalThis.known);
    assert.deepEqual(await tree(page), chosen);
    on.limits({ nodes: 1 });
    await page.reload();
    await page.waitForFunction(() => globalThis.known);
    on.server.spoil.clear();
    await page.evaluate(() => edit("make the background pink"));
    await holds(page, 2);
    await page.reload();
    await page.waitForFunction(() => globalThis.known);
    assert.deepEqual((await tree(page)).labels, ["replace the football with a dog", "make the background pink"], "it stays where one was, though the page's picture is no more in the tree");
    await page.getByRole("button", { name: "Clear history" }).click();
    await holds(page, 0);
    assert.deepEqual([(await tree(page)).recipe, (await tree(page)).labels], [null, ["The picture as it was"]]);
    await edit(page, "remove the football");
    await holds(page, 2);
    await context.close();
  });

  test("W14 the limits hold in memory and in what is stored: 50 pictures, 64 MiB, the oldest leaf first; so they do for trees", async () => {
    const context = await on.browser.newContext();
    const page = await visit(context, "");
    const found = await page.evaluate(async () => {
      const { History } = await import("/source/web/element/history.js");
      const { Archive, LIMITS, identity } = await import("/source/web/archive.js");
      const told = async (holds) => {
        for (let tries = 0; !holds(await stored()); tries++) {
          if (tries > 1500) throw new Error(`it never came true: ${holds}`);
          await new Promise((resolve) => setTimeout(resolve, 20));
        }
      };
      const history = new History();
      await history.keep("limits", () => {});
      const picture = (label, side = 8) => ({ image: new Blob([label]), data: new ImageData(side, side), recipe: {}, result: null, label });
      for (let at = 0; at < 60; at++) history.add(picture(`${at}`));
      await told((all) => all.at(-1)?.label === "59");
      const line = [history.nodes.map(({ label }) => label), (await stored()).map(({ label }) => label)];
      history.go(history.nodes[10].id);
      for (let at = 60; at < 63; at++) history.add(picture(`${at}`));
      await told((all) => all.at(-1)?.label === "62");
      const branched = [history.nodes.map(({ label }) => label), (await stored()).map(({ label }) => label)];
      history.clear();
      await told((all) => all.length === 0);
      for (let at = 0; at < 4; at++) history.add(picture(`large ${at}`, 2300)); // 20.2 MiB each
      await told((all) => all.at(-1)?.label === "large 3");
      const large = [history.nodes.map(({ label }) => label), (await stored()).map(({ label }) => label)];
      history.clear();
      const tabs = [0, 1].map(() => {
        const archive = new Archive("two tabs");
        archive.close(); // on another page the name is free
        return archive;
      });
      const sets = ["first", "second"].map((label) => Array.from({ length: 40 }, () => ({ ...identity(), parent: null, bytes: 1, label })));
      tabs.forEach((archive, at) => archive.keep(sets[at], { at: sets[at][0].id }));
      await told((all) => all.filter(({ label }) => label === "second").length === 40);
      const union = (await stored()).map(({ label }) => label);
      tabs.forEach((archive) => archive.forget());
      for (let at = 0; at < 20; at++) {
        const archive = new Archive(`tree ${at}`);
        archive.keep([{ ...identity(), parent: null, bytes: 1 }], { at: null });
        await told((all) => all.some(({ tree }) => tree === `tree ${at}`));
      }
      return { line, branched, large, union, limits: LIMITS, trees: [...new Set((await stored()).map(({ tree }) => tree))] };
    });
    assert.deepEqual(found.limits, { nodes: 50, bytes: 64 * 2 ** 20 });
    const labels = (/** @type {number} */ from, /** @type {number} */ to) => Array.from({ length: to - from }, (_, at) => `${at + from}`);
    assert.deepEqual(found.line, [labels(10, 60), labels(10, 60)], "a single line loses its oldest");
    // 20 became the parent of 60 to 62; the only other leaf, 59, went first, then 58, then 57.
    assert.deepEqual(found.branched, Array(2).fill([...labels(10, 57), ...labels(60, 63)]));
    assert.deepEqual(found.large, Array(2).fill(["large 1", "large 2", "large 3"]));
    assert.deepEqual(found.union, [...Array(10).fill("first"), ...Array(40).fill("second")], "two tabs' pictures together");
    assert.deepEqual(found.trees, Array.from({ length: 16 }, (_, at) => `tree ${at + 4}`));
    await context.close();
  });

  test("W14 two elements on a page have a tree each; two tabs add to one tree and lose nothing; clear deletes its own alone", async () => {
    const context = await on.browser.newContext();
    const both = EDITOR.repeat(2);
    let page = await visit(context, both);
    await edit(page, "remove the football");
    await edit(page, "make the background pink", 1);
    await holds(page, 4);
    const trees = [await tree(page), await tree(page, 1)];
    const tab = await visit(context, both);
    assert.deepEqual([await tree(tab), await tree(tab, 1)], trees);
    await edit(page, "make the background green");
    await edit(tab, "remove the cat");
    await edit(page, "make the background yellow");
    await holds(page, 7);
    page = await visit(context, both);
    const all = await tree(page);
    assert.deepEqual(all.labels, ["The picture as it was", "remove the football", "make the background green", "remove the cat", "make the background yellow"]);
    assert.equal(all.chosen, 4);
    assert.deepEqual(await page.evaluate(async () => (row()[3].click(), editor.undo(), [row()[1].ariaPressed, await hash()])), ["true", trees[0]?.hash]);
    await page.evaluate(() => editors[1].reset());
    await holds(page, 5);
    assert.equal(await edit(tab, "make the background orange", 1) > 0, true, "a tab whose stored tree is gone goes on");
    await context.close();
  });

  test("W14 switched off, what was stored is deleted; purge deletes it, unless models alone are meant", async () => {
    const context = await on.browser.newContext();
    const page = await visit(context);
    await edit(page, "remove the football");
    await holds(page, 2);
    await page.evaluate(() => (editor.history = "off"));
    await holds(page, 0);
    assert.equal(await page.evaluate(() => row().length), 0);
    await page.evaluate(() => (editor.history = "on")); // what is in memory is stored again
    await holds(page, 2);
    await page.evaluate(() => ((editor.history = "off"), (editor.history = "on"), editor.undo()));
    await until(page, async () => (await stored()).map(({ here }) => here).join() === "true,false");
    assert.equal(await page.evaluate(() => row().length), 2);
    const freed = await page.evaluate(() => t.api.purge({ keep: [] }));
    await holds(page, 2);
    assert.ok(freed > 1e6);
    const size = await page.evaluate(async () => (await editor.toBlob()).size);
    assert.ok((await page.evaluate(() => t.api.purge())) > size, "the files' bytes are told");
    assert.deepEqual(await page.evaluate(() => indexedDB.databases()), []);
    await context.close();
  });

  test("W14, W33 a form's memory of an edit does not add it to its tree again", async () => {
    const context = await on.browser.newContext();
    const page = await visit(context, `<form action="/test/blank.html">${EDITOR.replace("<earl-editor", '<earl-editor name="picture"')}</form>`);
    await edit(page, "remove the football");
    const edited = await tree(page);
    await holds(page, 2);
    await page.goto(`${on.server.url}test/blank.html`);
    await page.goBack();
    await page.waitForFunction(() => globalThis.known);
    assert.deepEqual(await tree(page), edited);
    assert.equal(await page.evaluate(async () => t.hash(new FormData(document.querySelector("form")).get("picture"))), edited.hash);
    await context.close();
  });

  for (const [what, deny] of /** @type {[string, () => void][]} */ ([
    ["permission", () => Object.defineProperty(globalThis, "indexedDB", { get() { throw new DOMException("denied", "SecurityError"); } })],
    ["a database", () => Object.defineProperty(globalThis, "indexedDB", { value: undefined })],
    ["room", () => (IDBObjectStore.prototype.put = () => { throw new DOMException("full", "QuotaExceededError"); })],
    ["a database that opens", () => (IDBFactory.prototype.open = () => {
      const request = { onblocked: () => {} };
      setTimeout(() => request.onblocked());
      return request;
    })],
  ])) {
    test(`W14 without ${what} the history stays in memory, that is said, and nothing breaks`, async () => {
      const context = await on.browser.newContext();
      await context.addInitScript(deny);
      const page = await visit(context);
      await edit(page, "remove the football");
      await page.waitForFunction(() => part("[part=status]")[0].textContent.includes("lasts as long as this page"));
      const edited = await tree(page);
      const found = await page.evaluate(async () => {
        editor.undo();
        const undone = await tree();
        editor.redo();
        const redone = await tree();
        await edit("make the background pink");
        const count = row().length;
        editor.reset();
        return { undone, redone, count, left: row().length, state: editor.state };
      });
      assert.deepEqual([found.undone.chosen, found.redone], [0, edited]);
      assert.deepEqual([found.count, found.left, found.state], [3, 1, "ready"]);
      await context.close();
    });
  }

  test("W14 where the browser's quota is full the history stays in memory, and once there is room it is stored", async () => {
    const context = await on.browser.newContext();
    const page = await visit(context);
    const session = await context.newCDPSession(page);
    const origin = new URL(on.server.url).origin;
    await session.send("Storage.overrideQuotaForOrigin", { origin, quotaSize: 1 });
    await edit(page, "remove the football");
    await page.waitForFunction(() => part("[part=status]")[0].textContent.includes("lasts as long as this page"));
    assert.equal(await page.evaluate(() => row().length), 2);
    await session.send("Storage.overrideQuotaForOrigin", { origin });
    await page.reload();
    await page.waitForFunction(() => globalThis.known);
    assert.equal(await page.evaluate(() => row().length), 1);
    await edit(page, "make the background pink");
    await holds(page, 2);
    await context.close();
  });

  test("W14 the main page stores nothing unless the visitor says so; then its pictures are there again, until they say no", async () => {
    const context = await on.browser.newContext();
    const page = await context.newPage();
    await page.goto(`${on.server.url}?backend=cpu`);
    await page.waitForSelector("#status.ready");
    const pixels = () => page.evaluate(() => [...document.getElementById("after").getContext("2d").getImageData(0, 0, 64, 64).data].join());
    const change = async (/** @type {string} */ instruction) => {
      await page.fill("#instruction", instruction);
      await page.click("#run");
      await page.waitForFunction((text) => document.getElementById("result").textContent.includes(text), /(\w+)$/.exec(instruction)?.[1]);
      return pixels();
    };
    const databases = () => page.evaluate(() => indexedDB.databases());
    const source = await pixels();
    const pink = await change("make the background pink");
    assert.equal(await page.isChecked("#keep"), false);
    assert.deepEqual(await databases(), []);
    await page.check("#keep");
    const green = await change("make the background green");
    await page.click("#undo");
    await page.evaluate(async () => Object.assign(globalThis, await import("/test/tools.js")));
    await holds(page, 3);
    await until(page, async () => (await stored()).find(({ here }) => here)?.edit?.instruction === "make the background pink");
    await page.reload();
    await page.waitForSelector("#status.ready");
    assert.equal(await page.isChecked("#keep"), true);
    assert.equal(await pixels(), pink);
    assert.match(await page.textContent("#result") ?? "", /background: pink/);
    await page.click("#redo");
    assert.equal(await pixels(), green);
    await page.click("#undo");
    await page.click("#undo");
    assert.equal(await pixels(), source);
    await page.uncheck("#keep");
    await page.evaluate(async () => Object.assign(globalThis, await import("/test/tools.js")));
    await holds(page, 0);
    await page.reload();
    await page.waitForSelector("#status.ready");
    assert.deepEqual([await page.isChecked("#keep"), await page.isDisabled("#undo")], [false, true]);
    await context.close();
  });

  test("W14 the main page says where pictures can't be stored, and goes on", async () => {
    const context = await on.browser.newContext();
    await context.addInitScript(() => (IDBObjectStore.prototype.put = () => { throw new DOMException("full", "QuotaExceededError"); }));
    const page = await context.newPage();
    await page.goto(`${on.server.url}?backend=cpu`);
    await page.waitForFunction(() => document.querySelectorAll("#samples button").length > 0);
    await page.click("#keep");
    await page.waitForFunction(() => document.getElementById("notice").textContent.includes("lasts as long as this page"));
    assert.equal(await page.isChecked("#keep"), false);
    await page.click("#random");
    assert.equal(await page.isDisabled("#undo"), false);
    await context.close();
  });

  test("the console stays silent", () => {
    assert.deepEqual(on.noise.filter((line) => !/No available adapters/.test(line)), []);
  });
});
