// @ts-check
/** `<earl-editor>` on the CPU: attributes, life in the document, form, keyboard, access. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { artifacts, bench, chunkCount, html } from "./helpers.js";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"));

/** @type {import("./helpers.js").Bench} */
let on;
before(async () => {
  on = await bench();
  on.server.files.set("/test/axe.js", axe);
  mkdirSync(artifacts, { recursive: true });
});
after(() => on.close());

/** A fresh profile's page with this body; `run` in the page is told when the element is known. @param {string} body @param {import("playwright-core").BrowserContextOptions} [options] */
async function open(body, options = {}) {
  const context = await on.browser.newContext(options);
  on.server.files.set("/test/page.html", html(`${body}<script type="module" src="/test/page.js"></script>`));
  on.server.files.set("/test/page.js", Buffer.from(`
    import * as t from "/test/tools.js";
    import { EarlEditor } from "/web/element/define.js";
    Object.assign(globalThis, { t, EarlEditor, editor: document.querySelector("earl-editor"), heard: [] });
    for (const name of ["before-download", "before-save", "ready", "progress", "plan", "token", "paint", "candidate", "edit", "stop", "error", "statechange"])
      document.addEventListener("earl-" + name, (event) => heard.push({ name, bubbles: event.bubbles, composed: event.composed, cancelable: event.cancelable, detail: name === "statechange" ? event.detail.state : name === "error" ? event.detail.code : undefined }));
    globalThis.known = true;`));
  const page = await context.newPage();
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && on.noise.push(message.text()));
  page.on("pageerror", (error) => on.noise.push(String(error)));
  await page.goto(`${on.server.url}test/page.html`);
  await page.waitForFunction(() => globalThis.known);
  return page;
}
const EDITOR = '<earl-editor alt="A scene" backend="cpu" model="/models/tiny/" reveal="manual" instruction="remove the football"></earl-editor>';
/** Puts the first sample on the stage. @param {import("playwright-core").Page} page */
const place = (page) => page.evaluate(async () => {
  editor.image = await t.scene(0);
  while (!(await editor.toBlob())) await new Promise((resolve) => setTimeout(resolve, 5));
});
const run = (/** @type {import("playwright-core").Page} */ page) => page.evaluate(async () => (await editor.run()).tokens.length);

describe("element", () => {
  test("W31 every attribute is a property and back; properties set before the upgrade count", async () => {
    const page = await open('<div id="early"></div>');
    const found = await page.evaluate(async () => {
      const { ATTRIBUTES, propertyOf } = await import("/source/web/element/attributes.js");
      const element = document.createElement("earl-editor");
      const values = { text: "ab", seed: 7, number: 3, flag: true };
      const wrong = [];
      for (const [name, kind] of Object.entries(ATTRIBUTES)) {
        if (["src", "poster", "recipe"].includes(name)) values.text = ""; else values.text = "ab";
        const [property, value] = [propertyOf(name), values[kind]];
        element[property] = value;
        if (element.getAttribute(name) !== (kind === "flag" ? "" : String(value))) wrong.push(`${property} → ${name}`);
        element.removeAttribute(name);
        element.setAttribute(name, kind === "flag" ? "" : String(value));
        if (element[property] !== value) wrong.push(`${name} → ${property}: ${element[property]}`);
        element.removeAttribute(name);
      }
      element.seed = 2n ** 64n - 1n;
      return { wrong, big: String(element.seed), count: Object.keys(ATTRIBUTES).length };
    });
    assert.deepEqual(found.wrong, []);
    assert.deepEqual([found.big, found.count], ["18446744073709551615", 20]);
    await page.context().close();
  });

  test("W31 a whole edit: events in order, picture, recipe, states, and a move in the document in between", async () => {
    const page = await open(`${EDITOR}<p id="elsewhere"></p>`);
    await place(page);
    const states = await page.evaluate(async () => {
      const edit = editor.run();
      await new Promise((resolve) => document.addEventListener("earl-token", resolve, { once: true }));
      document.getElementById("elsewhere").append(editor); // moved in the middle of it
      await edit;
      return { matches: ["idle", "downloading", "ready", "running", "stopped", "error"].filter((state) => editor.matches(`:state(${state})`)), recipe: editor.getRecipe().instruction, state: editor.state };
    });
    assert.deepEqual(states, { matches: ["ready"], recipe: "remove the football", state: "ready" });
    const heard = await page.evaluate(() => heard);
    const names = heard.map(({ name }) => name);
    assert.ok(heard.every(({ bubbles, composed, name, cancelable }) => bubbles && composed && cancelable === name.startsWith("before-")));
    assert.deepEqual(heard.filter(({ name }) => name === "statechange").map(({ detail }) => detail), ["downloading", "ready", "running", "ready"]);
    for (const [first, second] of [["before-download", "progress"], ["progress", "ready"], ["ready", "token"], ["token", "plan"], ["plan", "candidate"], ["candidate", "edit"]]) {
      assert.ok(names.indexOf(first) >= 0 && names.indexOf(first) < names.lastIndexOf(second), `${first} before ${second}`);
    }
    await page.context().close();
  });

  test("W31 taken out in the middle of an edit it aborts and frees its worker; put back it works", async () => {
    const page = await open(EDITOR);
    await place(page);
    const workers = () => page.workers().length;
    const outcome = await page.evaluate(async () => {
      const edit = editor.run().then(() => "done", (error) => error.code);
      await new Promise((resolve) => document.addEventListener("earl-token", resolve, { once: true }));
      editor.remove();
      return edit;
    });
    assert.equal(outcome, "E_DESTROYED");
    while (workers() > 0) await page.waitForTimeout(20);
    const tokens = await page.evaluate(async () => {
      document.body.append(editor);
      return (await editor.run()).tokens.length;
    });
    assert.ok(tokens > 3);
    assert.equal(workers(), 1);
    await page.context().close();
  });

  /** Several elements, the first sample on each stage; `elements` in the page. @param {string} body */
  const several = async (body) => {
    const page = await open(body);
    await page.evaluate(async () => {
      globalThis.elements = [...document.querySelectorAll("earl-editor")];
      globalThis.outcome = (edit) => edit.then(({ tokens }) => tokens.join(), (error) => error.code);
      for (const element of elements) {
        element.image = await t.scene(0);
        while (!(await element.toBlob())) await new Promise((resolve) => setTimeout(resolve, 5));
      }
    });
    return page;
  };
  const workersOf = async (/** @type {import("playwright-core").Page} */ page, /** @type {number} */ wanted) => {
    for (let tries = 0; tries < 100 && page.workers().length !== wanted; tries++) await page.waitForTimeout(20);
    return page.workers().length;
  };

  test("W31 three elements on a page share one download and one worker; one that comes late hears of the progress, too", async () => {
    const page = await several(EDITOR.repeat(3));
    const before = on.server.count("chunks/");
    on.server.spoil.set("chunks/", { delay: 400 });
    const found = await page.evaluate(async () => {
      const steps = elements.map((element) => {
        const steps = [];
        element.addEventListener("earl-progress", ({ detail }) => steps.push(detail.done / detail.total));
        return steps;
      });
      const late = new Promise((resolve) => elements[0].addEventListener("earl-progress", () => resolve(outcome(elements[2].run())), { once: true }));
      const tokens = await Promise.all([outcome(elements[0].run()), outcome(elements[1].run()), late]);
      return { tokens, steps, asked: heard.filter(({ name }) => name === "before-download").length };
    });
    on.server.spoil.clear();
    assert.equal(new Set(found.tokens).size, 1);
    assert.match(found.tokens[0], /^\d+(,\d+){3,}$/);
    assert.deepEqual([on.server.count("chunks/") - before, await workersOf(page, 1), found.asked], [chunkCount, 1, 1]);
    for (const steps of found.steps) {
      assert.deepEqual([steps[0], steps.at(-1)], [0, 1]);
      assert.deepEqual(steps, [...steps].sort((a, b) => a - b));
    }
    await page.context().close();
  });

  test("W31 of elements that share a worker one that is taken out ends its own edit alone, in the download and in the edit; the last ends the worker", async () => {
    const page = await several(EDITOR.repeat(4));
    const codes = await page.evaluate(async () => {
      elements[0].addEventListener("earl-progress", () => elements[0].remove(), { once: true });
      elements[1].addEventListener("earl-token", () => elements[1].remove(), { once: true });
      return Promise.all(elements.map((element) => outcome(element.run())));
    });
    assert.deepEqual(codes.slice(0, 2), ["E_DESTROYED", "E_DESTROYED"]);
    assert.match(codes[2], /^\d+(,\d+){3,}$/);
    assert.deepEqual([codes[3], await workersOf(page, 1)], [codes[2], 1]);
    await page.evaluate(() => (elements[2].remove(), elements[3].undo()));
    assert.equal(await page.evaluate(() => outcome(elements[3].run())), codes[2]);
    await page.evaluate(() => elements[3].remove());
    assert.equal(await workersOf(page, 0), 0);
    await page.context().close();
  });

  test("W31 elements with other options have a worker of their own; a changed option ends the edit it was made with", async () => {
    const page = await several(EDITOR.repeat(2));
    const run = (/** @type {number} */ at) => page.evaluate((at) => outcome(elements[at].run()), at);
    const tokens = [await run(0), await run(1)];
    assert.deepEqual([tokens[0] === tokens[1], await workersOf(page, 1)], [true, 1]);
    await page.evaluate(async () => {
      globalThis.hash = await t.hash(await (await fetch("/models/tiny/manifest.json")).arrayBuffer());
      elements.forEach((element) => element.undo());
      elements[1].modelHash = hash; // the same model, but more is asked for
    });
    assert.deepEqual([await run(1), await workersOf(page, 2)], [tokens[1], 2]);
    const code = await page.evaluate(() => {
      elements[0].addEventListener("earl-token", () => (elements[0].modelHash = hash), { once: true });
      return outcome(elements[0].run());
    });
    assert.deepEqual([code, await workersOf(page, 1)], ["E_DESTROYED", 1]);
    assert.deepEqual([await run(0), await workersOf(page, 1)], [tokens[0], 1]);
    await page.context().close();
  });

  test("W31, W32 elements that share are asked in turn until one allows the download; after a failed one they load anew", async () => {
    const page = await several(EDITOR.repeat(3));
    const before = on.server.count("chunks/");
    const all = () => page.evaluate(() => Promise.all(elements.map((element) => outcome(element.run()))));
    on.server.spoil.set("chunks/", { status: 404 });
    assert.deepEqual(await all(), ["E_HTTP", "E_HTTP", "E_HTTP"]);
    on.server.spoil.clear();
    await page.evaluate(() => {
      heard.length = 0;
      elements[0].addEventListener("earl-before-download", (event) => event.preventDefault(), { once: true });
    });
    const failed = on.server.count("chunks/") - before;
    const [first, second, third] = await all();
    assert.deepEqual([first, second === third, await page.evaluate(() => elements[0].state)], ["E_DOWNLOAD_DECLINED", true, "error"]);
    assert.match(second, /^\d+(,\d+){3,}$/);
    assert.equal(await page.evaluate(() => heard.filter(({ name }) => name === "before-download").length), 2, "the third is not asked");
    assert.deepEqual([await page.evaluate(() => outcome(elements[0].run())), await workersOf(page, 1)], [second, 1], "what is loaded is shared with one who declined");
    assert.equal(on.server.count("chunks/") - before - failed, chunkCount);
    await page.context().close();
  });

  test("W32 a declined download fetches nothing; `interaction` waits for a hand; a declined save saves nothing", async () => {
    const page = await open(EDITOR.replace("manual", "interaction"));
    await place(page);
    await page.waitForTimeout(300);
    const before = on.server.count("chunks/");
    assert.equal(await page.evaluate(() => heard.filter(({ name }) => name === "before-download").length), 0, "nothing until asked");
    const code = await page.evaluate(async () => {
      document.addEventListener("earl-before-download", (event) => event.preventDefault(), { once: true });
      return (await t.fault(() => editor.run())).code;
    });
    assert.equal(code, "E_DOWNLOAD_DECLINED");
    assert.equal(on.server.count("chunks/"), before);
    await page.locator("earl-editor").locator("input[type=text]").focus();
    await page.waitForFunction(() => editor.matches(':state(ready)'));
    assert.equal(on.server.count("chunks/") - before, chunkCount);
    let downloads = 0;
    page.on("download", () => downloads++);
    const saved = await page.evaluate(async () => {
      document.addEventListener("earl-before-save", (event) => event.preventDefault(), { once: true });
      return editor.save();
    });
    assert.equal(saved, null);
    const [download] = await Promise.all([page.waitForEvent("download"), page.evaluate(() => editor.save())]);
    assert.equal(download.suggestedFilename(), "earl.png");
    assert.equal(downloads, 1);
    await page.context().close();
  });

  test("W33 a form gets the PNG; required, reset, disabled", async () => {
    const page = await open(`<form id="form"><fieldset id="set">${EDITOR.replace("<earl-editor", '<earl-editor name="picture" required')}</fieldset></form>`);
    await place(page);
    const empty = await page.evaluate(() => [document.getElementById("form").checkValidity(), editor.validity.valueMissing, editor.form.id, new FormData(document.getElementById("form")).get("picture")]);
    assert.deepEqual(empty, [false, true, "form", null]);
    await run(page);
    const full = await page.evaluate(async () => {
      const file = new FormData(document.getElementById("form")).get("picture");
      return [document.getElementById("form").checkValidity(), file.type, file.name, (await t.pixels(file)).width, await t.hash(file) === await t.hash(await editor.toBlob())];
    });
    assert.deepEqual(full, [true, "image/png", "picture.png", 64, true]);
    const reset = await page.evaluate(async () => {
      document.getElementById("form").reset();
      const after = [new FormData(document.getElementById("form")).get("picture"), editor.getRecipe(), (await editor.toBlob()) !== null];
      document.getElementById("set").disabled = true;
      return [...after, editor.matches(":disabled"), (await t.fault(() => editor.run())).code, editor.shadowRoot.querySelector("[part=run]").disabled];
    });
    assert.deepEqual(reset, [null, null, true, true, "E_STATE", true]);
    await page.context().close();
  });

  test("W33 the edit is back after going away and back in history", async () => {
    const page = await open(`<form action="/test/blank.html">${EDITOR.replace("<earl-editor", '<earl-editor name="picture"')}</form>`);
    await place(page);
    await run(page);
    const hash = await page.evaluate(async () => t.hash(await editor.toBlob()));
    await page.goto(`${on.server.url}test/blank.html`);
    await page.goBack();
    await page.waitForFunction(() => globalThis.known);
    const back = await page.evaluate(async () => {
      for (let tries = 0; tries < 100 && !editor.getRecipe(); tries++) await new Promise((resolve) => setTimeout(resolve, 20));
      const file = new FormData(document.querySelector("form")).get("picture");
      return file && t.hash(file);
    });
    assert.equal(back, hash);
    await page.context().close();
  });

  test("W4, W13 stop shows what is decided, Continue ends the same; a dropped PNG brings its recipe", async () => {
    const page = await open(EDITOR.replace("remove the football", "replace the football with a dog"));
    await place(page);
    const found = await page.evaluate(async () => {
      // A whole picture: the few tokens of a local edit are written before a page can say stop.
      editor.setAttribute("mode", "full");
      await editor.run();
      const whole = await t.hash(await editor.toBlob());
      const file = new File([await editor.toBlob()], "edit.png", { type: "image/png" });
      editor.undo();
      document.addEventListener("earl-token", () => editor.stop(), { once: true });
      const stopped = await editor.run();
      const states = [editor.state, stopped.tokens.length];
      await editor.continue();
      const same = (await t.hash(await editor.toBlob())) === whole;
      editor.instruction = "";
      const data = new DataTransfer();
      data.items.add(file);
      editor.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
      for (let tries = 0; tries < 100 && !editor.instruction; tries++) await new Promise((resolve) => setTimeout(resolve, 20));
      return { states, same, restored: editor.instruction, said: editor.shadowRoot.querySelector("[part=status]").textContent };
    });
    assert.equal(found.states[0], "stopped");
    assert.ok(found.states[1] >= 1 && found.states[1] < 66, `${found.states[1]} tokens`);
    assert.ok(found.same, "Continue gives the uninterrupted picture");
    assert.equal(found.restored, "replace the football with a dog");
    assert.match(found.said, /holds a recipe/);
    await page.context().close();
  });

  test("W10 the element's boxes move by keys; the edit with the moved box stands in the recipe, the unedited plan makes the same file", async () => {
    const page = await open(EDITOR.replace("remove the football", "replace the football with a dog"));
    await place(page);
    const found = await page.evaluate(async () => {
      const bare = async () => t.hash(new Blob([t.api.withoutText(new Uint8Array(await (await editor.toBlob()).arrayBuffer()))]));
      const box = () => editor.shadowRoot.querySelector('[part="plan-box"]:last-child');
      const press = async (...keys) => {
        const edited = new Promise((resolve) => editor.addEventListener("earl-edit", resolve, { once: true }));
        for (const key of keys) editor.shadowRoot.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, composed: true, cancelable: true }));
        await edited;
        while (editor.shadowRoot.activeElement !== box()) await new Promise((resolve) => setTimeout(resolve, 5)); // the focus comes back
      };
      await editor.run();
      const [own, plan] = [await bare(), editor.result.plan];
      box().focus();
      await press("Enter");
      const same = [(await bare()) === own, JSON.stringify(editor.result.plan) === JSON.stringify(plan)];
      await press("ArrowUp", "ArrowLeft", "Enter");
      const moved = [editor.result.plan, editor.getRecipe().plan];
      const other = (await bare()) !== own;
      // Up and left by two cells, and a size larger.
      box().dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", shiftKey: true, bubbles: true, composed: true, cancelable: true }));
      const said = editor.shadowRoot.querySelector("[part=status]").textContent;
      await press("Enter");
      const sized = editor.result.plan;
      editor.undo();
      return { same, plan, moved, other, said, sized, none: editor.shadowRoot.querySelectorAll('[part="plan-box"]').length };
    });
    assert.deepEqual(found.same, [true, true]);
    const wanted = found.plan.map((step) => (step.verb === "draw" ? { ...step, row: step.row - 1, col: step.col - 1 } : step));
    assert.deepEqual(found.moved, [wanted, wanted]);
    const grown = wanted.map((step) => (step.verb === "draw" ? { ...step, cells: step.cells + 1 } : step));
    assert.deepEqual(found.sized, grown);
    assert.equal(found.said, "draw dog: 4 cells wide, row 5, column 5.");
    assert.deepEqual([found.other, found.none], [true, 0]);
    await page.context().close();
  });

  test("W10 boxes lie on the picture where the model's canvas lies, whatever the picture's shape", async () => {
    const page = await open(EDITOR.replace("remove the football", "add a cat"));
    const off = await page.evaluate(async () => {
      editor.image = t.noise(128, 64);
      while (!(await editor.toBlob())) await new Promise((resolve) => setTimeout(resolve, 5));
      const { plan } = await editor.run();
      const picture = editor.shadowRoot.querySelector("[part~=after]").getBoundingClientRect();
      const box = editor.shadowRoot.querySelector("[part=plan-box]").getBoundingClientRect();
      const step = plan.find(({ verb }) => verb === "draw");
      // 128 × 64 lies on the canvas of 64 × 64 as 64 × 32, 16 from the top.
      const scale = picture.width / 64;
      return [box.left - picture.left - step.col * 8 * scale, box.top - picture.top - (step.row * 8 - 16) * scale, box.width - step.cells * 8 * scale].map(Math.abs);
    });
    assert.ok(Math.max(...off) < 1.5, `off by ${off} pixels`);
    await page.context().close();
  });

  test("W23 a picture of millions of pixels is shown smaller, without seams; a painted row lies where it belongs; other sizes are shown as they are", async () => {
    const page = await open("");
    const found = await page.evaluate(async () => {
      const shown = (root) => {
        const { width, height } = root.querySelector("[part~=after]");
        return root.querySelector("[part~=after]").getContext("2d").getImageData(0, 0, width, height);
      };
      const opened = async (image) => {
        const element = Object.assign(document.createElement("earl-editor"), { reveal: "manual", image });
        document.body.append(element);
        while (!(await element.toBlob())) await new Promise((resolve) => setTimeout(resolve, 5));
        return shown(element.shadowRoot);
      };
      const large = t.noise(2400, 2000);
      const all = [];
      for (const image of [large, await t.file(large)]) {
        const small = await opened(image);
        let off = 0; // from the mean of four pixels
        for (let at = 0; at < small.data.length; at++) {
          const [p, c] = [at >> 2, at & 3];
          const from = ((p % small.width) * 2 + Math.floor(p / small.width) * 2 * 2400) * 4 + c;
          const mean = [0, 4, 9600, 9604].reduce((sum, next) => sum + large.data[from + next], 0) / 4;
          off = Math.max(off, Math.abs(mean - small.data[at]));
        }
        all.push([small.width, small.height, off < 2]);
      }
      const odd = await opened(t.noise(3001, 1101));
      const usual = t.noise(1600, 1300);
      const [{ View }, { TEXTS }, { prepare, thumbnailOf }] = await Promise.all(["view", "texts", "shown"].map((name) => import(`/source/web/element/${name}.js`)));
      const root = document.body.appendChild(document.createElement("div")).attachShadow({ mode: "open" });
      const view = new View(root, TEXTS);
      await prepare(large);
      view.show(large, null, "");
      view.paint({ x: 600, y: 400, width: 1200, height: 200 }, await createImageBitmap(new ImageData(new Uint8ClampedArray(8).fill(255), 2, 1)));
      await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
      const white = shown(root).data.reduce((sum, byte, at) => sum + (at % 4 === 0 && byte === 255 ? 1 : 0), 0);
      const [corner, end] = [[300, 200], [899, 299]].map(([x, y]) => [...shown(root).data.slice((y * 1200 + x) * 4, (y * 1200 + x) * 4 + 4)]);
      const small = thumbnailOf(large);
      return {
        all, odd: [odd.width, odd.height], usual: (await opened(usual)).data.every((byte, at) => byte === usual.data[at]),
        white, corner, end, small: [small.width, small.height, [5, 70].every((x) => small.data[(3 * small.width + x) * 4] === large.data[(30 * 2400 + x * 10) * 4])],
      };
    });
    assert.deepEqual(found.all, Array(2).fill([1200, 1000, true]));
    assert.deepEqual([found.odd, found.usual], [[1501, 551], true]);
    assert.ok(found.white >= 600 * 100 && found.white < 600 * 100 * 1.01, `${found.white} pixels are white`);
    assert.deepEqual([found.corner, found.end], [[255, 255, 255, 255], [255, 255, 255, 255]]);
    assert.deepEqual(found.small, [240, 200, true]);
    await page.context().close();
  });

  test("W22 a user's words stay text everywhere in the element", async () => {
    const page = await open(EDITOR);
    await place(page);
    const images = await page.evaluate(async () => {
      editor.instruction = "<img src=x onerror=alert(1)>";
      await t.fault(() => editor.run());
      const { shadowRoot } = editor;
      return [shadowRoot.querySelectorAll("[role=alert] *").length, shadowRoot.querySelector("[role=alert]").textContent.includes("<"), editor.state];
    });
    assert.deepEqual([images[0], images[2]], [0, "error"]);
    await page.context().close();
  });
});

describe("access", () => {
  test("W34 the whole way by keyboard: instruction, region by arrows and numbers, edit, compare, undo, save", async () => {
    const page = await open(EDITOR.replace('instruction="remove the football"', ""));
    await place(page);
    await page.keyboard.press("Tab");
    const focused = () => page.evaluate(() => {
      const at = editor.shadowRoot.activeElement;
      return at?.getAttribute("part") ?? at?.textContent ?? at?.tagName ?? "";
    });
    const until = async (/** @type {RegExp} */ wanted) => {
      for (let tabs = 0; tabs < 25; tabs++) {
        if (wanted.test(await focused())) return;
        await page.keyboard.press("Tab");
      }
      assert.fail(`no way by Tab to ${wanted}; at ${await focused()}`);
    };
    await page.keyboard.type("make the background pink");
    await until(/^Region$/);
    await page.keyboard.press("Enter");
    await page.evaluate(() => editor.shadowRoot.querySelector("[part=region]").focus());
    for (const key of ["ArrowLeft", "Shift+ArrowUp", "Alt+ArrowRight", "Alt+Shift+ArrowDown"]) await page.keyboard.press(key);
    assert.equal(await page.evaluate(() => editor.region), "15,6,33,42");
    await page.keyboard.press("Tab"); // past the region to the sentence
    await page.evaluate(() => editor.shadowRoot.querySelector("form input").focus());
    await page.keyboard.press("Enter");
    await page.waitForFunction(() => heard.some(({ name }) => name === "edit"));
    assert.equal(await page.evaluate(() => editor.result.outside.changed), 0);
    await page.evaluate(() => editor.shadowRoot.querySelector("[part=handle]").focus());
    await page.keyboard.press("ArrowRight");
    assert.equal(await page.evaluate(() => editor.shadowRoot.querySelector("[part~=before]").hidden), false);
    await until(/^Undo$/);
    await page.keyboard.press("Enter");
    assert.equal(await page.evaluate(() => editor.getRecipe()), null);
    const [download] = await Promise.all([page.waitForEvent("download"), (async () => (await until(/^save$/), page.keyboard.press("Enter")))()]);
    assert.equal(download.suggestedFilename(), "earl.png");
    await page.context().close();
  });

  test("W34 axe finds nothing in any state, light, dark and forced colours; the live region speaks at most eight times an edit", async () => {
    const page = await open(`<main><h1>Test</h1>${EDITOR.replace("<earl-editor", '<earl-editor history="on" region="8,8,40,40"')}</main><script src="/test/axe.js"></script>`);
    const check = async (/** @type {string} */ state) => {
      const found = await page.evaluate(async () => (await axe.run()).violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 90)).join(" | ")}`));
      assert.deepEqual(found, [], state);
      assert.ok(await page.evaluate((state) => editor.matches(`:state(${state.split(" ")[0]})`), state), state);
    };
    await check("idle");
    await place(page);
    await page.evaluate(() => {
      globalThis.spoken = 0;
      new MutationObserver((list) => (spoken += list.length > 0 ? 1 : 0)).observe(editor.shadowRoot.querySelector("[part=status]"), { childList: true, characterData: true, subtree: true });
    });
    on.server.spoil.set("chunks/", { delay: 2500 });
    const edit = run(page);
    await page.waitForFunction(() => editor.matches(':state(downloading)'));
    await check("downloading");
    on.server.spoil.clear();
    await edit;
    assert.ok((await page.evaluate(() => spoken)) <= 8, `${await page.evaluate(() => spoken)} times`);
    for (const [name, media] of /** @type {const} */ ([["light", { colorScheme: "light" }], ["dark", { colorScheme: "dark" }], ["forced", { forcedColors: "active" }]])) {
      await page.emulateMedia(media);
      await check(`ready in ${name}`);
      await page.screenshot({ path: join(artifacts, `element-${name}.png`), fullPage: true });
    }
    await page.emulateMedia({ forcedColors: "none", colorScheme: "light" });
    await page.evaluate(() => editor.stop());
    await page.evaluate(async () => {
      document.addEventListener("earl-token", () => editor.stop(), { once: true });
      await editor.run();
    });
    await check("stopped");
    await page.evaluate(() => ((editor.instruction = "remove the zebra"), t.fault(() => editor.run())));
    await check("error");
    await page.context().close();
  });

  test("W34 reduced motion stops transitions; at 400 % nothing is lost; targets are 24 pixels at least", async () => {
    const page = await open(EDITOR, { viewport: { width: 320, height: 256 }, reducedMotion: "reduce" });
    await place(page);
    await run(page);
    const found = await page.evaluate(() => {
      const buttons = [...editor.shadowRoot.querySelectorAll("button, input")].filter((one) => one.checkVisibility());
      return {
        wide: document.documentElement.scrollWidth, moving: buttons.filter((one) => getComputedStyle(one).transitionDuration !== "0s").length,
        small: buttons.filter((one) => Math.min(one.getBoundingClientRect().width, one.getBoundingClientRect().height) < 24).map((one) => one.outerHTML.slice(0, 60)),
        cut: buttons.filter((one) => one.getBoundingClientRect().right > innerWidth + 1).length,
      };
    });
    assert.deepEqual(found, { wide: 320, moving: 0, small: [], cut: 0 });
    await page.context().close();
  });

  test("the console stays silent, but for what the tests provoke", () => {
    assert.deepEqual(on.noise.filter((line) => !/404|503|Failed to load resource/.test(line)), []);
  });
});
