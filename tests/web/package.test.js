// @ts-check
/** The npm package: contents, types, manifest of the element, sizes, and an edit from the packed files. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { after, before, describe, test } from "node:test";
import { brotliCompressSync, constants } from "node:zlib";
import { launch } from "./chromium.js";
import { budget, html, site } from "./helpers.js";
import { ENTRIES, pack, withImports } from "./pack.js";
import { serve } from "./server.js";

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, "../..");
const work = mkdtempSync(join(tmpdir(), "earl-package-"));
const out = join(work, "node_modules/earl-editor");
before(() => {
  mkdirSync(dirname(out), { recursive: true });
  pack(site, out);
});
after(() => rmSync(work, { recursive: true, force: true }));

/** Bytes: scripts of the page and the element, of the worker, and the modules, brotli; WebGPU's module and the weights as they are. */
const LIMITS = { page: 40_000, worker: 25_000, cpu: 600_000, gpu: 1_500_000, gpuRaw: 8_000_000, weights: 9_999_999 };

const read = (/** @type {string} */ path) => readFileSync(join(root, path), "utf8");
/** Every file below a folder. @param {string} folder @returns {string[]} */
const below = (folder) => readdirSync(folder, { withFileTypes: true }).flatMap((entry) => (entry.isDirectory() ? below(join(folder, entry.name)) : [join(folder, entry.name)]));
const brotli = (/** @type {string[]} */ files, quality = 11) =>
  files.reduce((sum, file) => sum + brotliCompressSync(readFileSync(file), { params: { [constants.BROTLI_PARAM_QUALITY]: quality } }).length, 0);
const sha = (/** @type {string} */ file) => createHash("sha256").update(readFileSync(file)).digest("hex");

test("W35 the element's manifest lists what the code has, and nothing else", () => {
  const [{ declarations: [element] }] = JSON.parse(read("web/element/custom-elements.json")).modules;
  const names = (/** @type {{ name: string }[]} */ list) => list.map(({ name }) => name).sort();
  const source = readdirSync(join(root, "web/element")).filter((name) => name.endsWith(".js")).map((name) => read(`web/element/${name}`)).join("\n");
  const all = (/** @type {RegExp} */ pattern) => [...new Set([...source.matchAll(pattern)].flatMap((found) => (found[1] ?? "").split(" ")))].sort();
  const attributes = /ATTRIBUTES = .*\(\{([^}]*)\}/.exec(source)?.[1] ?? "";
  assert.deepEqual(names(element.attributes), [...attributes.matchAll(/"?([\w-]+)"?: "/g)].map((found) => found[1]).sort());
  assert.deepEqual(names(element.events), all(/#tell\("([\w-]+)"/g).map((name) => `earl-${name}`));
  assert.deepEqual(names(element.slots), ["", ...all(/\bslot\("(\w+)"/g)].sort());
  assert.deepEqual(names(element.cssParts), [...new Set([...all(/part: "([\w -]+)"/g), ...all(/thumbnail\("(candidate)"/g)])].sort());
  assert.deepEqual(names(element.cssProperties), all(/var\((--earl-[\w-]+)/g));
  assert.deepEqual(names(element.cssStates), all(/^\/\*\* @typedef \{("idle".*)\} State/gm).filter((word) => word !== "|").map((word) => word.replaceAll('"', "")).sort());
  const methods = element.members.filter((/** @type {any} */ { kind }) => kind === "method").map((/** @type {any} */ { name }) => name);
  for (const name of methods) assert.match(source, new RegExp(`^  (async )?${name}\\(`, "m"), name);
});

describe("package", () => {
  test("W36 publint finds nothing; no dependencies; importing on a server does not throw", async () => {
    const { publint } = await import("publint");
    const { messages } = await publint({ pkgDir: out, level: "warning" });
    assert.deepEqual(messages.map(({ code, path }) => `${code} ${path.join(".")}`), []);
    assert.deepEqual(JSON.parse(readFileSync(join(out, "package.json"), "utf8")).dependencies, {});
    writeFileSync(join(work, "server.mjs"), `
      const found = await Promise.all(["earl-editor", "earl-editor/element", "earl-editor/define", "earl-editor/jsx"].map((name) => import(name)));
      console.log(found.map((module) => Object.keys(module).length).join());`);
    const counts = execFileSync(process.execPath, ["server.mjs"], { cwd: work, encoding: "utf8" }).trim().split(",").map(Number);
    assert.ok((counts[0] ?? 0) > 12 && counts[1] === 1 && counts[2] === 1, counts.join());
  });

  test("W36 attw finds nothing in the tarball: types resolve as Node and as bundlers do it", () => {
    const tarball = execFileSync("npm", ["pack", out, "--silent"], { cwd: work, encoding: "utf8" }).trim();
    // There is no CommonJS form, and WebAssembly has no types.
    const binary = Object.keys(JSON.parse(readFileSync(join(out, "package.json"), "utf8")).exports).filter((name) => name.endsWith(".wasm")).map((name) => name.slice(2));
    const flags = ["--profile", "esm-only", "--no-definitely-typed", "--format", "ascii", "--exclude-entrypoints", ...binary];
    try {
      execFileSync(join(here, "node_modules/.bin/attw"), [tarball, ...flags], { cwd: work, encoding: "utf8", stdio: "pipe" });
    } catch (error) {
      assert.fail(/** @type {any} */ (error).stdout);
    }
  });

  test("W36 the packed files edit a picture on a plain page, from any folder", async () => {
    const server = await serve(join(work, "node_modules"));
    server.files.set("/index.html", html('<script type="module" src="/earl-editor/dist/element/define.js"></script><earl-editor alt="x" backend="cpu" instruction="make the background pink"></earl-editor>'));
    const browser = await launch();
    try {
      const page = await browser.newPage();
      page.setDefaultTimeout(60_000);
      await page.goto(server.url);
      await page.waitForFunction(() => customElements.get("earl-editor") !== undefined);
      const size = await page.evaluate(async () => {
        const editor = /** @type {any} */ (document.querySelector("earl-editor"));
        editor.image = new ImageData(new Uint8ClampedArray(64 * 48 * 4).fill(255), 64, 48);
        while (!(await editor.toBlob())) await new Promise((resolve) => setTimeout(resolve, 5));
        const { data } = await editor.run();
        return [data.width, data.height, data.data.some((/** @type {number} */ byte) => byte !== 255)];
      });
      assert.deepEqual(size, [64, 48, true]);
    } finally {
      await browser.close();
      await server.close();
    }
  });

  test("W37 documented calls compile, misuse does not", () => {
    writeFileSync(join(work, "use.ts"), `
      import { createEditor, availability, purge, EarlError, EarlNetworkError, toFragment } from "earl-editor";
      import { EarlEditor } from "earl-editor/define";
      import type {} from "earl-editor/jsx";
      const editor = await createEditor({ model: new URL("x:/"), backend: "cpu", monitor: (m) => m.addEventListener("downloadprogress", () => {}) });
      const result = await editor.edit({ image: new Blob(), instruction: "remove the cat", region: { x: 0, y: 0, width: 1, height: 1 }, seed: 7n, candidates: 4, rank: "likelihood" });
      const changed: number = result.outside.changed;
      const stream = editor.stream({ image: "cat.png", instruction: "x", paint: "row", onToken: (token) => token.entropy.toFixed() });
      for await (const event of stream) if (event.type === "paint") event.bitmap.close(); else if (event.type === "code") event.done.toFixed();
      const checkpoint = await stream.stop();
      await editor.edit({ image: new Blob(), resume: checkpoint });
      await editor.edit({ image: new Blob(), recipe: result.recipe });
      await editor.edit({ image: new Blob(), instruction: "x", plan: result.plan.map((step) => ({ ...step, row: 0 })), ahead: 0 });
      await editor.edit({ image: new Blob(), instruction: "x", reasoning: "off" });
      const state: "unavailable" | "downloadable" | "downloading" | "available" = await availability();
      const freed: number = await purge({ keep: [] });
      try { await editor.destroy(); } catch (error) { if (error instanceof EarlNetworkError && error.retryable) console.log(error.code, error.hint, error instanceof EarlError); }
      const element: EarlEditor = document.querySelector("earl-editor") as EarlEditor;
      element.seed = 3; element.region = "0,0,1,1"; await element.run(); toFragment(element.getRecipe()!);
      // @ts-expect-error an unknown option
      await createEditor({ modle: "x" });
      // @ts-expect-error an unknown lock
      await editor.edit({ image: new Blob(), instruction: "x", lock: "firm" });
      // @ts-expect-error reasoning is left to the model, or off
      await editor.edit({ image: new Blob(), instruction: "x", reasoning: "on" });
      // @ts-expect-error no picture
      await editor.edit({ instruction: "x" });
      // @ts-expect-error a number is no picture
      await editor.edit({ image: 5, instruction: "x" });
      // @ts-expect-error the result is read by its names
      result.imge;
      // @ts-expect-error a seed is a number
      element.seed = "many";
      void [changed, state, freed];`);
    const flags = ["--noEmit", "--strict", "--target", "es2022", "--module", "esnext", "--moduleResolution", "bundler", "--lib", "es2023,dom,dom.iterable,dom.asynciterable,esnext.asynciterable", "--skipLibCheck"];
    try {
      execFileSync(process.execPath, [join(here, "node_modules/typescript/bin/tsc"), ...flags, "use.ts"], { cwd: work, encoding: "utf8" });
    } catch (error) {
      assert.fail(/** @type {any} */ (error).stdout);
    }
  });

  test("W37 every field that Rust sends or takes stands in the typings", () => {
    const rust = read("crates/web/src/messages.rs");
    const types = read("web/types.d.ts");
    const camel = (/** @type {string} */ name) => name.replace(/_(\w)/g, (_, letter) => letter.toUpperCase());
    let count = 0;
    for (const [, name, , body] of rust.matchAll(/struct (\w+)(<'a>)? \{([^}]*)\}/g)) {
      const target = { Options: "RunOptions", Info: "ModuleInfo", Token: "WasmToken", Edited: "WasmEdited", FullEdited: "WasmFullEdited", Outside: "Outside", Known: "WasmKnown", Agrees: "WasmAgrees" }[name ?? ""];
      assert.ok(target, `struct ${name} has an interface`);
      const block = new RegExp(`interface ${target} \\{([\\s\\S]*?)\\}`).exec(types)?.[1] ?? "";
      for (const [, field] of (body ?? "").matchAll(/^\s+(?:pub\(crate\) )?(\w+): /gm)) {
        count++;
        assert.match(block, new RegExp(`\\b${camel(field ?? "")}\\??:`), `${target}.${field}`);
      }
    }
    assert.ok(count > 25, `${count} fields`);
  });

  test("W38 sizes stay within their limits, and package and site ship the same modules", (context) => {
    const dist = join(out, "dist");
    const worker = ["worker.js", "wasm/earl_cpu.js"].map((name) => join(dist, name));
    const page = [...withImports(dist, ENTRIES.filter((name) => name !== "worker.js"))].map((name) => join(dist, name));
    const [cpu, gpu] = ["earl_cpu_bg", "earl_gpu_bg"].map((name) => join(dist, `wasm/${name}.wasm`));
    const sizes = { page: brotli(page), worker: brotli(worker), cpu: brotli([cpu]), gpu: brotli([gpu]), gpuRaw: statSync(gpu).size, weights: below(join(out, "models")).filter((file) => !file.endsWith(".md")).reduce((sum, file) => sum + statSync(file).size, 0) };
    context.diagnostic(JSON.stringify(sizes));
    for (const [name, bytes] of Object.entries(sizes)) budget(context, `bytes, ${name}`, bytes, LIMITS[/** @type {keyof typeof LIMITS} */ (name)]);
    for (const name of readdirSync(join(site, "web/wasm")).filter((name) => name.endsWith(".wasm"))) {
      assert.equal(sha(join(site, "web/wasm", name)), sha(join(dist, "wasm", name)), name);
    }
  });
});
