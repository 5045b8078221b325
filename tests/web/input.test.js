// @ts-check
/** What people hand the page: picture files of every kind, drags and taps, impatience. `EARL_SITE` is the site's folder. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { launch } from "./chromium.js";
import { site } from "./helpers.js";
import { serve } from "./server.js";
import { headerSize } from "../../web/header.js";

describe("picture headers", () => {
  const hex = (/** @type {string} */ text) => new Uint8Array(Buffer.from(text.replaceAll(" ", ""), "hex"));
  const png = hex("89504e470d0a1a0a 0000000d49484452 00007530 00000040");
  test("PNG", () => assert.deepEqual(headerSize(png), { width: 30_000, height: 64 }));
  test("JPEG, past other segments and fill bytes", () =>
    assert.deepEqual(headerSize(hex("ffd8 ffe0 0004 aaaa ff ffc2 0011 08 0102 0304 03")), { width: 0x304, height: 0x102 }));
  test("WebP: lossy, lossless, extended", () => {
    const head = (/** @type {string} */ kind) => `52494646 00000000 57454250 ${Buffer.from(kind).toString("hex")} 00000000`;
    assert.deepEqual(headerSize(hex(`${head("VP8 ")} 000000 9d012a 4000 2000`)), { width: 64, height: 32 });
    assert.deepEqual(headerSize(hex(`${head("VP8L")} 2f 3fc00700`)), { width: 64, height: 32 });
    assert.deepEqual(headerSize(hex(`${head("VP8X")} 00000000 3f0000 1f0000`)), { width: 64, height: 32 });
  });
  test("anything else, and every header cut short, is null and no error", () => {
    assert.equal(headerSize(hex("")), null);
    assert.equal(headerSize(hex("474946383961 0100 0100")), null);
    for (let end = 0; end < png.length; end++) assert.equal(headerSize(png.slice(0, end)), null);
  });
});

describe("input", () => {
  /** @type {Awaited<ReturnType<typeof serve>>} */ let server;
  /** @type {import("playwright-core").Browser} */ let browser;
  /** @type {import("playwright-core").Page} */ let page;
  /** @type {string[]} */ const noise = [];

  before(async () => {
    server = await serve(site);
    browser = await launch();
    page = await browser.newPage({ viewport: { width: 1280, height: 960 } });
    page.on("console", (message) => ["error", "warning"].includes(message.type()) && noise.push(message.text()));
    page.on("pageerror", (error) => noise.push(String(error)));
    await page.goto(`${server.url}?backend=cpu`);
    await page.waitForSelector("#status.ready", { timeout: 300_000 });
    // The service worker stores the page meanwhile; its requests are not an edit's.
    await page.evaluate(() => Promise.race([navigator.serviceWorker.ready.then(() => undefined), new Promise((resolve) => setTimeout(resolve, 30_000))]));
  });
  after(async () => {
    await browser.close();
    await server.close();
  });

  const notice = async () => (await page.textContent("#notice")) ?? "";
  /** RGBA of the canvas on top. @returns {Promise<number[]>} */
  const pixels = () => page.evaluate(() => {
    const canvas = /** @type {HTMLCanvasElement} */ (document.getElementById("after"));
    return [...(canvas.getContext("2d")?.getImageData(0, 0, 64, 64).data ?? [])];
  });
  /** @param {string} instruction */
  async function edit(instruction) {
    await page.fill("#instruction", instruction);
    await page.click("#run");
    await page.waitForSelector("#stop", { state: "hidden", timeout: 120_000 });
    return (await page.textContent("#result")) ?? "";
  }
  /** A picture made in the page: red above, blue below. @param {string} type @param {number} width @param {number} height */
  async function picture(type, width, height) {
    const bytes = await page.evaluate(async ({ type, width, height }) => {
      const canvas = new OffscreenCanvas(width, height);
      const context = /** @type {OffscreenCanvasRenderingContext2D} */ (canvas.getContext("2d"));
      context.fillStyle = "red";
      context.fillRect(0, 0, width, height);
      context.fillStyle = "blue";
      context.fillRect(0, height / 2, width, height);
      return [...new Uint8Array(await (await canvas.convertToBlob({ type })).arrayBuffer())];
    }, { type, width, height });
    return Buffer.from(bytes);
  }
  /** @param {string} name @param {Buffer} buffer */
  const open = (name, buffer) => page.setInputFiles("#file", { name, mimeType: "image/png", buffer });

  for (const type of ["png", "jpeg", "webp"]) {
    test(`W30 a ${type} of 300 × 200 is opened, fitted, and edited`, async () => {
      await page.click("#clear");
      await open(`photo.${type}`, await picture(`image/${type}`, 300, 200));
      await page.waitForFunction(() => document.getElementById("notice")?.textContent?.includes("300×200"));
      const shown = await pixels();
      const [top, bottom] = [20 * 64 + 32, 44 * 64 + 32].map((at) => shown.slice(at * 4, at * 4 + 3));
      assert.ok(top && top[0] > 240 && top[2] < 15 && bottom && bottom[2] > 240 && bottom[0] < 15, `${top} over ${bottom}`);
      assert.match(await edit("add a cat"), /tokens in/);
    });
  }

  test("W30 a PNG cut after its header is refused, and the page lives on", async () => {
    await page.click("#clear");
    const whole = await picture("image/png", 300, 200);
    await open("cut.png", whole.subarray(0, 40));
    await page.waitForFunction(() => document.getElementById("notice")?.textContent?.includes("can't be opened"));
    assert.match(await edit("make the background blue"), /background: blue/);
  });

  test("W30 refusals say why", async () => {
    const huge = Buffer.from("89504e470d0a1a0a0000000d49484452000075300000753008020000000000000000", "hex");
    for (const [name, bytes, why] of /** @type {const} */ ([
      ["empty.png", Buffer.alloc(0), /is empty/],
      ["notes.png", Buffer.from("no picture"), /is not a PNG, JPEG or WebP/],
      ["huge.png", huge, /30,000 × 30,000 pixels; at most 64 million/],
    ])) {
      await page.click("#clear");
      await open(name, bytes);
      await page.waitForSelector("#notice:not([hidden])");
      assert.match(await notice(), why);
    }
  });

  test("a drawing dragged onto the picture stands where it was dropped", async () => {
    await page.click("#clear");
    await page.fill("#search", "dog");
    const from = await page.locator('[aria-label="Add: dog"]').boundingBox();
    const to = await page.locator("#stage").boundingBox();
    assert.ok(from && to);
    await page.mouse.move(from.x + from.width / 2, from.y + from.height / 2);
    await page.mouse.down();
    await page.mouse.move(to.x + to.width * 0.2, to.y + to.height * 0.2, { steps: 8 });
    await page.mouse.up();
    const shown = await pixels();
    const white = [245, 245, 245];
    const changed = (/** @type {number} */ x, /** @type {number} */ y) => white.some((c, i) => c !== shown[(y * 64 + x) * 4 + i]);
    let [left, right] = [0, 0];
    for (let at = 0; at < 64 * 64; at++) if (changed(at % 64, Math.floor(at / 64))) at % 64 < 32 ? left++ : right++;
    assert.ok(left > 200 && right === 0, `${left} pixels left, ${right} right`);
  });

  test("stopping gives the picture back, fetches nothing, and the next edit works", async () => {
    await page.click("#clear");
    const start = await pixels();
    const requests = server.log.length;
    await page.evaluate(() => {
      /** @type {HTMLInputElement} */ (document.getElementById("instruction")).value = "add a cat";
      document.getElementById("run")?.click();
      document.getElementById("stop")?.click();
    });
    await page.waitForFunction(() => document.getElementById("notice")?.textContent?.includes("Stopped"));
    assert.deepEqual(await pixels(), start);
    assert.match(await edit("make the background blue"), /background: blue/);
    assert.equal(server.log.length, requests);
  });

  test("tokens are listed and leave with undo; Ctrl+Z and Ctrl+Y work outside the text", async () => {
    await page.click("#clear");
    await edit("make the background green");
    const tokens = await page.locator("#tokens span").allTextContents();
    assert.ok(tokens.includes("green") && tokens.length > 2, tokens.join(" "));
    const edited = await pixels();
    await page.focus("#save");
    await page.keyboard.press("Control+z");
    assert.equal(await page.locator("#tokens").isVisible(), false);
    assert.notDeepEqual(await pixels(), edited);
    await page.keyboard.press("Control+y");
    assert.deepEqual(await pixels(), edited);
  });

  test("the slider shows the picture before; the boxes can be hidden", async () => {
    await page.click("#clear");
    await edit("add a cat");
    await page.fill("#slider", "50");
    assert.match(await page.locator("#after").evaluate((canvas) => getComputedStyle(canvas).clipPath), /50%/);
    assert.ok(await page.locator("#boxes .box").count() > 0);
    await page.click("#plan");
    assert.equal(await page.locator("#boxes").isVisible(), false);
    await page.click("#plan");
  });

  test("a backend that is not there is refused, and the other one takes over", async () => {
    await page.click("summary:has-text('Settings')");
    await page.selectOption("#backend", "webgpu");
    await page.waitForFunction(() => document.getElementById("notice")?.textContent?.includes("no WebGPU adapter"));
    await page.selectOption("#backend", "cpu");
    await page.waitForSelector("#status.ready", { timeout: 60_000 });
    await page.click("#clear");
    assert.match(await edit("make the background blue"), /background: blue/);
  });

  test("on a phone a finger moves an object, and scrolls the page and the drawings elsewhere", async () => {
    const context = await browser.newContext({ viewport: { width: 390, height: 700 }, hasTouch: true, isMobile: true });
    const phone = await context.newPage();
    await phone.goto(`${server.url}?backend=cpu`);
    await phone.waitForSelector("#status.ready", { timeout: 300_000 });
    const touch = await context.newCDPSession(phone);
    /** @param {number} x @param {number} y @param {number} dx @param {number} dy */
    async function swipe(x, y, dx, dy) {
      await touch.send("Input.dispatchTouchEvent", { type: "touchStart", touchPoints: [{ x, y }] });
      for (let step = 1; step <= 10; step++) {
        await touch.send("Input.dispatchTouchEvent", { type: "touchMove", touchPoints: [{ x: x + (dx * step) / 10, y: y + (dy * step) / 10 }] });
      }
      await touch.send("Input.dispatchTouchEvent", { type: "touchEnd", touchPoints: [] });
      await phone.waitForTimeout(300);
    }
    const picture = () => phone.locator("#after").evaluate((canvas) => /** @type {HTMLCanvasElement} */ (canvas).toDataURL());
    const scroll = () => phone.evaluate(() => scrollY);
    const box = await phone.locator("#stage").boundingBox();
    assert.ok(box);
    const cell = box.width / 8;
    const start = await picture();
    await swipe(box.x + 6 * cell, box.y + 2 * cell, -2 * cell, 0); // the apple
    const moved = await picture();
    assert.notEqual(moved, start, "the apple moved");
    assert.equal(await scroll(), 0);
    await swipe(box.x + 7.5 * cell, box.y + 3.5 * cell, 0, -200); // bare background
    assert.equal(await picture(), moved, "nothing moved");
    assert.ok((await scroll()) > 50, "the page scrolled");
    await phone.locator("#palette").scrollIntoViewIfNeeded();
    const palette = await phone.locator("#palette").boundingBox();
    assert.ok(palette);
    await swipe(palette.x + 60, palette.y + 150, 0, -100);
    assert.ok((await phone.locator("#palette").evaluate((list) => list.scrollTop)) > 30, "the drawings scrolled");
    await context.close();
  });

  // Chromium itself says so where WebGPU is asked for in vain, as one of the tests above does.
  test("the console stays silent", () => assert.deepEqual(noise.filter((line) => line !== "No available adapters."), []));
});
