// @ts-check
/** The built page in headless Chromium, on both backends: edits, privacy, bad input. `EARL_SITE` is the site's folder. */
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { launch } from "./chromium.js";
import { GPU, artifacts, manifest, site, until, weightBytes } from "./helpers.js";
import { serve } from "./server.js";

/** @typedef {{ page: import("playwright-core").Page, noise: string[], server: Awaited<ReturnType<typeof serve>>, close: () => Promise<void> }} Opened */

/** Opens the page and waits until the model is ready. @param {string[]} flags @param {string} query @param {(server: Awaited<ReturnType<typeof serve>>) => void} [prepare] @returns {Promise<Opened>} */
async function open(flags, query, prepare) {
  const server = await serve(site);
  prepare?.(server);
  const browser = await launch(flags);
  const page = await browser.newPage({ viewport: { width: 1280, height: 960 } });
  /** @type {string[]} */
  const noise = [];
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && noise.push(message.text()));
  page.on("pageerror", (error) => noise.push(String(error)));
  await page.goto(server.url + query);
  return { page, noise, server, close: async () => { await browser.close(); await server.close(); } };
}

/** @param {Opened} opened */
async function ready({ page }) {
  await page.waitForSelector("#status.ready", { timeout: 300_000 });
  // The service worker stores the page meanwhile; its requests are not an edit's.
  await page.evaluate(() => Promise.race([navigator.serviceWorker.ready.then(() => undefined), new Promise((resolve) => setTimeout(resolve, 30_000))]));
}

/** Types an instruction and waits for the end. @param {Opened} opened @param {string} instruction */
async function edit({ page }, instruction) {
  await page.fill("#instruction", instruction);
  await page.click("#run");
  await page.waitForSelector("#stop", { state: "hidden", timeout: 400_000 });
  return { result: (await page.textContent("#result")) ?? "", notice: (await page.textContent("#notice")) ?? "" };
}

/** RGBA of the canvas on top. @param {Opened} opened @returns {Promise<number[]>} */
const pixels = ({ page }) =>
  page.evaluate(() => {
    const canvas = /** @type {HTMLCanvasElement} */ (document.getElementById("after"));
    return [...(canvas.getContext("2d")?.getImageData(0, 0, 64, 64).data ?? [])];
  });

/** Pixels that differ, by whether they lie in the box (cells). @param {number[]} a @param {number[]} b @param {{ row: number, col: number, cells: number }} box */
function changes(a, b, box) {
  const count = { inside: 0, outside: 0 };
  for (let at = 0; at < 64 * 64; at++) {
    const [x, y] = [at % 64, Math.floor(at / 64)];
    const inside = y >= box.row * 8 && y < (box.row + box.cells) * 8 && x >= box.col * 8 && x < (box.col + box.cells) * 8;
    if ([0, 1, 2].some((c) => a[at * 4 + c] !== b[at * 4 + c])) count[inside ? "inside" : "outside"]++;
  }
  return count;
}

/** Where the first sample's football stands, and its background. */
const FOOTBALL = { row: 5, col: 5, cells: 3 };
const BLUE = [110, 170, 235];

for (const [backend, flags] of /** @type {const} */ ([["cpu", []], ["webgpu", GPU]])) {
  describe(`page on ${backend}`, () => {
    /** @type {Opened} */
    let opened;
    before(async () => {
      opened = await open([...flags], `?backend=${backend}`);
      await ready(opened);
    });
    after(() => opened.close());

    test("W1 removes what the sentence names, and nothing else", async () => {
      assert.equal(await opened.page.getAttribute("#status", "data-backend"), backend);
      const source = await pixels(opened);
      const requests = opened.server.log.length;
      const { result, notice } = await edit(opened, "remove the football");
      assert.equal(notice, "");
      assert.match(result, /^0 of [\d,]+ pixels outside the edit changed/);
      const edited = await pixels(opened);
      const count = changes(source, edited, FOOTBALL);
      assert.equal(count.outside, 0);
      assert.ok(count.inside > 100, `${count.inside} pixels changed`);
      for (let at = 0; at < 64 * 64; at++) {
        const [x, y] = [at % 64, Math.floor(at / 64)];
        if (x >= 40 && y >= 40) assert.deepEqual(edited.slice(at * 4, at * 4 + 3), BLUE, `pixel ${x}, ${y} is background`);
      }
      // The browser itself looks for a newer service worker a second after the page has loaded.
      const asked = opened.server.log.slice(requests).filter((path) => path !== "/sw.js");
      assert.deepEqual(asked, [], "W21 an edit asks the network for nothing");
    });

    test("W43 refuses words it does not know, and says which", async () => {
      const source = await pixels(opened);
      const { notice } = await edit(opened, "remove the zebra");
      assert.match(notice, /Not understood: `zebra`/);
      assert.deepEqual(await pixels(opened), source);
    });

    if (backend === "cpu") {
      test("says when the picture does not show what the sentence names", async () => {
        const { result, notice } = await edit(opened, "remove the guitar");
        assert.match(notice, /does not seem to show: guitar; seen: .*cat/);
        assert.match(result, /erase the/);
        await opened.page.click("#undo");
      });
    }

    test("the console stays silent", () => assert.deepEqual(opened.noise, []));
  });
}

describe("page", () => {
  /** @type {Opened} */
  let opened;
  before(async () => {
    opened = await open([], "?backend=cpu");
    await ready(opened);
  });
  after(() => opened.close());

  test("an object put on the canvas can be edited, undone and done again", async () => {
    const { page } = opened;
    await page.click("#clear");
    await page.fill("#search", "cat");
    await page.click('[aria-label="Add: cat"]');
    const composed = await pixels(opened);
    const { result } = await edit(opened, "make the background pink");
    assert.match(result, /background: pink/);
    const edited = await pixels(opened);
    assert.deepEqual(edited.slice(0, 3), [250, 190, 205]);
    await page.click("#undo");
    assert.deepEqual(await pixels(opened), composed);
    await page.click("#redo");
    assert.deepEqual(await pixels(opened), edited);
  });

  test("a chosen object moves by keyboard", async () => {
    const { page } = opened;
    await page.click("#clear");
    await page.fill("#search", "cat");
    await page.click('[aria-label="Add: cat"]');
    const start = await pixels(opened);
    await page.focus("#stage");
    await page.keyboard.press("ArrowLeft");
    assert.notDeepEqual(await pixels(opened), start);
    await page.keyboard.press("ArrowRight");
    assert.deepEqual(await pixels(opened), start);
  });

  /** Where the plan's boxes stand, in cells, and what they are called. @returns {Promise<{ step: string, row: number, col: number, label: string }[]>} */
  const boxes = () => opened.page.evaluate(() => [...document.querySelectorAll("#boxes [role=button]")].map((box) => ({
    step: /** @type {HTMLElement} */ (box).dataset["step"] ?? "", row: (Number.parseFloat(/** @type {HTMLElement} */ (box).style.top) * 8) / 100,
    col: (Number.parseFloat(/** @type {HTMLElement} */ (box).style.left) * 8) / 100, label: box.getAttribute("aria-label") ?? "",
  })));
  const focused = () => opened.page.evaluate(() => /** @type {HTMLElement} */ (document.activeElement).dataset["step"] ?? document.activeElement?.id);
  /** Waits for an edit that began. */
  const edited = () => opened.page.waitForSelector("#stop", { state: "hidden", timeout: 400_000 });

  test("W10 a plan's box moves by keys, cell by cell and not out of the picture; Enter edits again with it, Escape puts it back", async () => {
    const { page } = opened;
    await page.click("#samples button");
    const { result } = await edit(opened, "replace the football with a dog");
    assert.match(result, /draw the medium dog at row 6, column 6/);
    const own = await pixels(opened);
    const [box] = await boxes();
    assert.match(box?.label ?? "", /^football → dog, 3 cells wide, row 6, column 6\./);
    await page.focus("#boxes [role=button]");
    await page.keyboard.press("Enter"); // the plan as it is
    await edited();
    assert.deepEqual(await pixels(opened), own, "the unedited plan makes the same picture");
    assert.equal(await focused(), box?.step, "the focus stays with the box");
    for (const key of ["ArrowDown", "ArrowRight"]) await page.keyboard.press(key);
    assert.deepEqual((await boxes()).map(({ row, col }) => [row, col]), [[5, 5]], "no way out of the picture");
    await page.keyboard.press("ArrowLeft");
    await page.keyboard.press("Escape");
    assert.deepEqual((await boxes()).map(({ row, col }) => [row, col]), [[5, 5]]);
    for (const key of ["ArrowLeft", "ArrowLeft", "ArrowUp"]) await page.keyboard.press(key);
    const [moved] = await boxes();
    assert.match(moved?.label ?? "", /row 5, column 4/);
    assert.deepEqual(await pixels(opened), own, "nothing is edited until Enter");
    await page.keyboard.press("Enter");
    await edited();
    const text = (await page.textContent("#result")) ?? "";
    assert.match(text, /erase the medium football at row 6, column 6/);
    assert.match(text, /draw the medium dog at row 5, column 4/);
    assert.match(text, /^0 of [\d,]+ pixels outside the edit changed/);
    assert.notDeepEqual(await pixels(opened), own);
    assert.equal(await focused(), box?.step);
    await page.click("#undo");
    assert.equal((await boxes()).length, 0);
  });

  test("W10 a plan's box moves by mouse, snapped to the cells; letting go edits again", async () => {
    const { page } = opened;
    await page.click("#samples button");
    await edit(opened, "replace the football with a dog");
    const place = await page.locator("#boxes [role=button]").boundingBox();
    assert.ok(place);
    const cell = place.width / 3;
    await page.mouse.move(place.x + place.width / 2, place.y + place.height / 2);
    await page.mouse.down();
    await page.mouse.move(place.x + place.width / 2 - 1.9 * cell, place.y + place.height / 2 - 0.7 * cell, { steps: 5 });
    assert.deepEqual((await boxes()).map(({ row, col }) => [row, col]), [[4, 3]]);
    await page.mouse.up();
    await edited();
    assert.match((await page.textContent("#result")) ?? "", /draw the medium dog at row 5, column 4/);
    assert.equal((await boxes()).filter(({ label }) => label.startsWith("draw dog, 3 cells wide, row 5, column 4")).length, 1);
  });

  test("W10 a plan's box changes its size by Shift and arrows and by its corner; the edit draws what the box says", async () => {
    const { page } = opened;
    await page.click("#samples button");
    await edit(opened, "replace the football with a dog");
    const sizes = async () => (await boxes()).map(({ label }) => label.replace(/\. Arrow.*/, ""));
    await page.focus("#boxes [role=button]");
    await page.keyboard.press("Shift+ArrowRight");
    assert.deepEqual(await sizes(), ["football → dog, 4 cells wide, row 5, column 5"], "it grows where there is room");
    assert.equal(await page.textContent("#spoken"), "football → dog, 4 cells wide, row 5, column 5.");
    await page.keyboard.press("Shift+ArrowDown");
    assert.match((await sizes())[0] ?? "", /4 cells wide/, "no larger than the model draws");
    await page.keyboard.press("Escape");
    await page.keyboard.press("Shift+ArrowUp");
    await page.keyboard.press("Shift+ArrowLeft");
    assert.deepEqual(await sizes(), ["football → dog, 2 cells wide, row 6, column 6"]);
    await page.keyboard.press("Enter");
    await edited();
    assert.match((await page.textContent("#result")) ?? "", /erase the medium football at row 6, column 6\s*draw the small dog at row 6, column 6/);
    assert.match((await page.textContent("#result")) ?? "", /^0 of [\d,]+ pixels outside the edit changed/);
    const box = page.locator("#boxes [role=button].draw");
    const corner = await box.locator(".corner").boundingBox();
    const frame = await box.boundingBox();
    assert.ok(corner && frame && corner.width >= 24);
    const [x, y, cell] = [corner.x + corner.width / 2, corner.y + corner.height / 2, frame.width / 2];
    await page.mouse.move(x, y);
    await page.mouse.down();
    await page.mouse.move(x + 0.9 * cell, y + 0.7 * cell, { steps: 4 });
    await page.mouse.up();
    await edited();
    assert.match((await page.textContent("#result")) ?? "", /draw the medium dog at row 6, column 6/);
    const finger = await page.context().newCDPSession(page);
    const touch = (/** @type {"touchStart" | "touchMove" | "touchEnd"} */ type, /** @type {number[][]} */ ...at) =>
      finger.send("Input.dispatchTouchEvent", { type, touchPoints: at.map(([x = 0, y = 0]) => ({ x, y })) });
    await touch("touchStart", [x + cell, y + cell]);
    await touch("touchMove", [x + 0.5 * cell, y + 0.5 * cell]);
    await touch("touchMove", [x, y]);
    await touch("touchEnd");
    await edited();
    assert.match((await page.textContent("#result")) ?? "", /draw the small dog at row 6, column 6/, "by finger too");
  });

  test("W34 axe finds nothing on the page with an edit's boxes, light and dark", async () => {
    const { page } = opened;
    await page.click("#samples button");
    await edit(opened, "replace the football with a dog");
    opened.server.files.set("/axe.js", readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js")));
    await page.addScriptTag({ url: "/axe.js" });
    for (const colorScheme of /** @type {const} */ (["light", "dark"])) {
      await page.emulateMedia({ colorScheme });
      const found = await page.evaluate(async () => (await /** @type {any} */ (globalThis).axe.run()).violations.map((/** @type {any} */ { id, nodes }) => `${id}: ${nodes.map((/** @type {any} */ { html }) => html.slice(0, 90)).join(" | ")}`));
      assert.deepEqual(found, [], colorScheme);
    }
  });

  test("W13 a downloaded PNG holds the recipe", async () => {
    const { page } = opened;
    await page.click("#clear");
    await edit(opened, "make the background green");
    const [download] = await Promise.all([page.waitForEvent("download"), page.click("#save")]);
    const stream = await download.createReadStream();
    const chunks = [];
    for await (const chunk of stream) chunks.push(chunk);
    const text = Buffer.concat(chunks).toString("latin1");
    assert.ok(text.startsWith("\x89PNG") && text.includes("earl-recipe") && text.includes("make the background green"));
  });

  const folder = mkdtempSync(join(tmpdir(), "earl-"));
  const file = (/** @type {string} */ name, /** @type {Buffer} */ bytes) => {
    writeFileSync(join(folder, name), bytes);
    return join(folder, name);
  };
  const header = (/** @type {number} */ side) => {
    const bytes = Buffer.from("89504e470d0a1a0a0000000d49484452000000000000000008020000000000000", "hex");
    bytes.writeUInt32BE(side, 16);
    bytes.writeUInt32BE(side, 20);
    return bytes;
  };
  for (const [what, path] of /** @type {const} */ ([
    ["an empty file", file("empty.png", Buffer.alloc(0))],
    ["a text file", file("text.png", Buffer.from("no picture"))],
    ["a 30,000 × 30,000 header", file("huge.png", header(30_000))],
    ["a 0 × 0 header", file("zero.png", header(0))],
  ])) {
    test(`W30 ${what} is refused and the page lives on`, async () => {
      const { page } = opened;
      await page.click("#clear");
      const source = await pixels(opened);
      await page.setInputFiles("#file", path);
      await page.waitForFunction(() => document.getElementById("notice")?.textContent?.includes("can't be opened"));
      assert.deepEqual(await pixels(opened), source);
    });
  }

  test("W30 empty and over-long instructions are refused", async () => {
    assert.match((await edit(opened, "   ")).notice, /Instruction/);
    await opened.page.evaluate(() => document.getElementById("instruction")?.removeAttribute("maxlength"));
    assert.match((await edit(opened, "remove the cat ".repeat(700))).notice, /Instruction/);
    assert.match((await edit(opened, "make the background blue")).result, /background: blue/);
  });

  test("W22 markup in an instruction stays text", async () => {
    const { notice } = await edit(opened, "<img src=x onerror=alert(1)>");
    assert.match(notice, /Not understood/);
    assert.equal(await opened.page.locator("#notice img").count(), 0);
  });

  test("the console stays silent", () => assert.deepEqual(opened.noise, []));
});

test("W16 the page tells the download's size before it comes, less what is stored; of a stored model it says nothing", async () => {
  const last = manifest.chunks.at(-1);
  const opened = await open([], "?backend=cpu", (server) => server.spoil.set("chunks/", { stall: 1000 }));
  const { page, server } = opened;
  try {
    /** Waits for the status to speak of a download. @param {number} bytes */
    const told = async (bytes) => {
      await until(page, () => document.getElementById("status")?.textContent?.startsWith("Downloading"));
      assert.equal(await page.textContent("#status"), `Downloading the model: 0.0 of ${(bytes / 1e6).toFixed(1)} MB`);
      const missing = await page.evaluate(async () => {
        const { bytesTotal, bytesCached } = await (await import(/** @type {any} */ ("/web/api.js"))).capabilities({ model: "/models/tiny/" });
        return bytesTotal - bytesCached;
      });
      assert.equal(missing, bytes);
    };
    await told(weightBytes);
    server.spoil.clear();
    server.spoil.set(last.sha256, { stall: 1000 });
    await page.reload();
    await until(page, async (bytes) => (await (await import(/** @type {any} */ ("/web/api.js"))).capabilities({ model: "/models/tiny/" })).bytesCached === bytes, weightBytes - last.length);
    await page.reload();
    await told(last.length);
    server.spoil.clear();
    await page.reload();
    await ready(opened);
    await page.addInitScript(() => {
      /** @type {any} */ (globalThis).said = [];
      new MutationObserver(() => /** @type {any} */ (globalThis).said.push(document.getElementById("status")?.textContent)).observe(document, { childList: true, subtree: true });
    });
    await page.reload();
    await ready(opened);
    const said = await page.evaluate(() => [...new Set(/** @type {any} */ (globalThis).said)].filter(Boolean));
    assert.deepEqual(said.map((text) => text.split(" ")[0]), ["Getting", "Ready"]);
  } finally {
    await opened.close();
  }
});

describe("damaged sites", () => {
  /** @param {string} part @param {(bytes: Buffer) => Buffer | null} change @param {RegExp} said */
  async function refused(part, change, said) {
    const opened = await open([], "?backend=cpu", (server) => server.spoil.set(part, change));
    try {
      await opened.page.waitForSelector("#notice:not([hidden])", { timeout: 60_000 });
      assert.match((await opened.page.textContent("#notice")) ?? "", said);
      assert.equal(await opened.page.locator("#status.ready").count(), 0);
    } finally {
      await opened.close();
    }
  }
  const flip = (/** @type {Buffer} */ bytes) => {
    bytes[Math.floor(bytes.length / 2)] ^= 1;
    return bytes;
  };
  test("W18 one flipped bit in a chunk", () => refused("chunks/", flip, /damaged|SHA-256/));
  test("W18 a truncated chunk", () => refused("chunks/", (bytes) => bytes.subarray(0, bytes.length / 2), /damaged|bytes|length/));
  test("W18 a missing chunk", () => refused("chunks/", () => null, /answered 404/));
  test("W41 after a damaged download the button tries again", async () => {
    const opened = await open([], "?backend=cpu", (server) => server.spoil.set("chunks/", flip));
    try {
      await opened.page.waitForSelector("#notice:not([hidden])", { timeout: 60_000 });
      opened.server.spoil.clear();
      const { result, notice } = await edit(opened, "remove the football");
      assert.equal(notice, "");
      assert.match(result, /^0 of [\d,]+ pixels outside the edit changed/);
    } finally {
      await opened.close();
    }
  });
  test("W18 a manifest of a newer version", () =>
    refused("manifest.json", (bytes) => Buffer.from(bytes.toString().replace('"version":1', '"version":2')), /version `2`/));
  test("W18 a manifest that is no JSON", () => refused("manifest.json", () => Buffer.from("<html>"), /manifest/));
  test("W18 a manifest that lies about lengths", () =>
    refused("manifest.json", (bytes) => Buffer.from(bytes.toString().replace(/"length":(\d+)/, '"length":999999999999')), /./));
});

describe("looks", () => {
  test("no part is wider than a phone; screenshots are kept", async () => {
    const opened = await open([], "?backend=cpu");
    try {
      await ready(opened);
      mkdirSync(artifacts, { recursive: true });
      await edit(opened, "replace the football with a dog");
      for (const [name, width, scheme] of /** @type {const} */ ([["desktop-light", 1280, "light"], ["desktop-dark", 1280, "dark"], ["phone-light", 390, "light"], ["phone-dark", 390, "dark"]])) {
        await opened.page.setViewportSize({ width, height: 900 });
        await opened.page.emulateMedia({ colorScheme: scheme });
        const wide = await opened.page.evaluate(() => document.documentElement.scrollWidth);
        assert.ok(wide <= width, `${name} is ${wide} pixels wide`);
        await opened.page.screenshot({ path: join(artifacts, `${name}.png`), fullPage: true });
      }
    } finally {
      await opened.close();
    }
  });

  test("W34 on a phone all that a finger presses takes 44 pixels; nothing jumps when the model is ready and an edit is done", async () => {
    const server = await serve(site);
    const browser = await launch();
    try {
      const page = await browser.newPage({ viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true });
      await page.addInitScript(() => {
        /** @type {any} */ (globalThis).jumps = 0;
        new PerformanceObserver((list) => {
          for (const entry of list.getEntries()) /** @type {any} */ (globalThis).jumps += /** @type {any} */ (entry).value;
        }).observe({ type: "layout-shift", buffered: true });
      });
      const opened = { page, server, noise: [], close: async () => undefined };
      await page.goto(`${server.url}?backend=cpu`);
      await ready(opened);
      const jumps = await page.evaluate(() => /** @type {any} */ (globalThis).jumps);
      assert.ok(jumps < 0.01, `layout shift ${jumps}`);
      const places = () => page.evaluate(() => ["stage", "form", "suggestions", "undo"].map((id) => document.getElementById(id)?.getBoundingClientRect().top));
      const before = await places();
      await edit(opened, "replace the football with a dog");
      assert.deepEqual(await places(), before);
      await page.click("summary:has-text('Settings')");
      const small = await page.evaluate(() => {
        const hit = (/** @type {Element} */ input) => {
          const control = input.closest("label.choice") ?? input;
          control.scrollIntoView({ block: "center", inline: "center" });
          const { x, y, width, height } = control.getBoundingClientRect();
          return [[0, 21], [0, -21], [21, 0], [-21, 0]].every(([right = 0, down = 0]) =>
            control.contains(document.elementFromPoint(x + width / 2 + right, y + height / 2 + down)));
        };
        const controls = [...document.querySelectorAll("button, summary, select, footer a, #gallery a, input:not([type=range])")];
        return controls.filter((control) => control.checkVisibility() && !hit(control)).map((control) => control.outerHTML.slice(0, 80));
      });
      assert.deepEqual(small, []);
    } finally {
      await browser.close();
      await server.close();
    }
  });
});
