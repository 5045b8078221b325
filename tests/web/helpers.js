// @ts-check
/** What all browser tests share: the site served, Chromium, a blank page with the tools of `tools.js`. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { launch } from "./chromium.js";
import { serve } from "./server.js";

const here = dirname(fileURLToPath(import.meta.url));
export const site = process.env["EARL_SITE"] ?? join(here, "../../dist");
export const artifacts = join(here, "artifacts");
export const GPU = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"];

export const manifest = JSON.parse(readFileSync(join(site, "models/tiny/manifest.json"), "utf8"));
/** Bytes of distinct chunks. */
export const weightBytes = [...new Map(manifest.chunks.map((/** @type {any} */ chunk) => [chunk.sha256, chunk.length])).values()].reduce((a, b) => a + b, 0);
export const chunkCount = new Set(manifest.chunks.map((/** @type {any} */ chunk) => chunk.sha256)).size;

/** @param {string} sha */
export const chunkFile = (sha) => readFileSync(join(site, `models/tiny/chunks/${sha}.bin`));

/** @typedef {import("./server.js").Server} Server */
/** @typedef {{ server: Server, browser: import("playwright-core").Browser, blank: (context?: import("playwright-core").BrowserContext) => Promise<import("playwright-core").Page>,
 *   fresh: () => Promise<import("playwright-core").Page>, worker: (name: string, script: string) => string,
 *   limits: (limits: Record<string, number>) => void, noise: string[], close: () => Promise<void> }} Bench */

/** A page with a body of its own under the site's policy. @param {string} body */
export const html = (body) => Buffer.from(`<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark"><link rel="stylesheet" href="/test/page.css"><title>test</title><body>${body}</body></html>`);

/** `worker` gives the address of a worker whose script runs before the worker's own; `limits` changes numbers of the scripts that pages load from then on. @param {string[]} [flags] @returns {Promise<Bench>} */
export async function bench(flags = []) {
  const server = await serve(site);
  server.files.set("/test/tools.js", readFileSync(join(here, "tools.js")));
  server.files.set("/test/blank.html", html(""));
  server.files.set("/test/page.css", Buffer.from("body { background: Canvas; color: CanvasText; }"));
  server.files.set("/favicon.ico", Buffer.from(""));
  const browser = await launch(flags);
  /** @type {string[]} */
  const noise = [];
  const blank = async (context = browser.contexts()[0]) => {
    const page = await (context ?? (await browser.newContext())).newPage();
    page.on("console", (message) => ["error", "warning"].includes(message.type()) && noise.push(message.text()));
    page.on("pageerror", (error) => noise.push(String(error)));
    await page.goto(`${server.url}test/blank.html`);
    return page;
  };
  const worker = (/** @type {string} */ name, /** @type {string} */ script) => {
    server.files.set(`/test/${name}.js`, Buffer.from(script));
    server.files.set(`/test/${name}-worker.js`, Buffer.from(`import "/test/${name}.js";\nimport "/web/worker.js";`));
    return `/test/${name}-worker.js`;
  };
  const limits = (/** @type {Record<string, number>} */ numbers) => void server.spoil.set(".js", (bytes) => Buffer.from(
    Object.entries(numbers).reduce((text, [name, number]) => text.replace(new RegExp(`\\b${name}:[\\d.e]+`), `${name}:${number}`), bytes.toString())));
  return {
    server, browser, blank, noise, worker, limits,
    fresh: async () => blank(await browser.newContext()),
    close: async () => {
      await browser.close();
      await server.close();
    },
  };
}

/**
 * Waits until something holds in the page; unlike `waitForFunction` it waits for promises too.
 * @template T @param {import("playwright-core").Page} page @param {(value: T) => unknown} holds @param {T} [value]
 */
export async function until(page, holds, value) {
  const end = Date.now() + 60_000;
  while (!(await page.evaluate(/** @type {any} */ (holds), value))) {
    if (Date.now() > end) throw new Error(`it never came true: ${holds}`);
    await page.waitForTimeout(50);
  }
}

/**
 * Tells a measured quantity beside its limit and holds it to that: one line of the specification's budgets.
 * @param {{ diagnostic: (text: string) => void }} context @param {string} name @param {number} value @param {number} limit
 */
export function budget(context, name, value, limit) {
  const told = Number.isInteger(value) ? value : value.toFixed(3);
  context.diagnostic(`budget: ${name}: ${told} (limit ${limit})`);
  assert.ok(value <= limit, `${name}: ${told}, limit ${limit}`);
}
