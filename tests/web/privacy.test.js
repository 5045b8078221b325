// @ts-check
/** What leaves the tab (nothing), what the policy stops, and life without a network. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { chromium } from "playwright-core";
import { CHROMIUM } from "./chromium.js";
import { bench, chunkCount, site, until, weightBytes } from "./helpers.js";
import { CSP, serve } from "./server.js";

/** @type {import("./helpers.js").Bench} */
let on;
before(async () => void (on = await bench()));
after(() => on.close());

/** Chromium's own remark where WebGPU is looked for in vain. */
const NO_GPU = "No available adapters.";

/** Opens the element's page, or another, in a fresh profile; every address the browser asks for is kept. @param {string} [url] */
async function open(url = `${on.server.url}element.html`) {
  const context = await on.browser.newContext();
  /** @type {string[]} */
  const asked = [];
  context.on("request", (request) => asked.push(request.url()));
  const page = await context.newPage();
  /** @type {string[]} */
  const noise = [];
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && message.text() !== NO_GPU && noise.push(message.text()));
  await page.addInitScript(() => document.addEventListener("securitypolicyviolation", (event) => console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`)));
  await page.goto(url);
  await page.waitForFunction(() => (customElements.get("earl-editor") || !document.querySelector("earl-editor")) && document.querySelectorAll("#samples button").length > 0);
  return { context, page, asked, noise };
}
/** @param {import("playwright-core").Page} page @param {string} instruction */
const edit = (page, instruction) => page.evaluate(async (instruction) => {
  const editor = document.getElementById("editor");
  editor.instruction = instruction;
  return (await editor.run()).tokens.length;
}, instruction);
const stored = (/** @type {import("playwright-core").Page} */ page) => page.evaluate(async () => void (await navigator.serviceWorker.ready));

describe("privacy", () => {
  test("W21 once stored, three edits, a save, a link and the self-test ask for nothing; no other host is ever named", async () => {
    const { context, page, asked, noise } = await open();
    await edit(page, "remove the football");
    await page.click("#test"); // the module of a second worker comes from the browser's store
    await page.waitForSelector("#checks tbody tr");
    await stored(page);
    await context.setOffline(true);
    const before = on.server.log.length;
    for (const sentence of ["remove the cat", "make the background pink", "add a dog"]) assert.ok((await edit(page, sentence)) > 2);
    const [download] = await Promise.all([page.waitForEvent("download"), page.evaluate(() => document.getElementById("editor").save())]);
    assert.equal(download.suggestedFilename(), "earl.png");
    await page.click("#copy");
    await page.waitForFunction(() => location.hash.startsWith("#r="));
    assert.deepEqual(on.server.log.slice(before).filter((path) => path !== "/sw.js"), [], "nothing was asked for");
    assert.ok(asked.every((url) => url.startsWith(on.server.url) || url.startsWith("blob:")), asked.filter((url) => !url.startsWith(on.server.url)).join());
    assert.deepEqual(noise.filter((line) => line.startsWith("policy")), []);
    await context.close();
  });

  test("W22 the policy stands on every answer; eval and other hosts fail, also in a worker; the whole way breaks nothing", async () => {
    for (const path of ["", "element.html", "web/worker.js", "web/wasm/earl_cpu_bg.wasm", "models/tiny/manifest.json"]) {
      assert.equal((await fetch(on.server.url + path)).headers.get("content-security-policy"), CSP, path);
    }
    const policy = /content="(default-src[^"]+)"/;
    for (const page of ["index.html", "element.html"]) assert.equal(policy.exec(readFileSync(join(site, page), "utf8"))?.[1], CSP, page);
    on.server.files.set("/test/probe.js", Buffer.from(`
      const tried = {};
      try { new Function("return 1")(); tried.eval = "ran"; } catch { tried.eval = "refused"; }
      tried.fetch = await fetch("https://example.com/").then(() => "ran", () => "refused");
      tried.own = await fetch("/web/worker.js").then((response) => response.status, String);
      postMessage(tried);`));
    const { context, page, noise } = await open();
    await edit(page, "remove the football");
    await page.fill("earl-editor input[type=text]", "remove the cat");
    assert.deepEqual(noise, []);
    const inWorker = await page.evaluate(() => new Promise((resolve) => (new Worker("/test/probe.js", { type: "module" }).onmessage = ({ data }) => resolve(data))));
    assert.deepEqual(inWorker, { eval: "refused", fetch: "refused", own: 200 });
    const inPage = await page.evaluate(async () => [
      await fetch("https://example.com/").then(() => "ran", () => "refused"),
      (() => { const script = document.createElement("script"); script.textContent = "globalThis.ran = true"; document.head.append(script); return globalThis.ran ?? "refused"; })(),
    ]);
    assert.deepEqual(inPage, ["refused", "refused"]);
    await context.close();
  });
});

describe("without a network", () => {
  test("W40 opened once, the page opens, edits and saves offline; the second visit asks for no weights", async () => {
    const { context, page, noise } = await open();
    await edit(page, "remove the football");
    await stored(page);
    const before = on.server.log.length;
    await context.setOffline(true);
    for (const path of ["element.html", "", "?backend=cpu"]) {
      await page.goto(on.server.url + path);
      await page.waitForFunction(() => document.querySelectorAll("#samples button").length > 0);
    }
    await page.waitForSelector("#status.ready", { timeout: 120_000 });
    await page.click("#run");
    await page.waitForFunction(() => /not|Instruction/.test(document.getElementById("notice")?.textContent ?? "") || document.querySelector("#result p"));
    await page.goto(`${on.server.url}element.html`);
    await page.waitForFunction(() => document.querySelectorAll("#samples button").length > 0);
    assert.ok((await edit(page, "remove the cat")) > 3);
    // The browser itself looks whether there is a newer worker, past the emulated loss of the network.
    assert.deepEqual(on.server.log.slice(before).filter((path) => path !== "/sw.js"), []);
    assert.deepEqual(noise, []);
    await context.setOffline(false);
    await page.reload();
    await page.waitForFunction(() => document.querySelectorAll("#samples button").length > 0);
    await edit(page, "remove the cat");
    assert.equal(on.server.log.slice(before).filter((path) => path.includes("chunks/")).length, 0, "no weights at the second visit");
    await context.close();
  });

  test("W40 a new version takes over whole, when the old one's pages are closed", async () => {
    const folder = mkdtempSync(join(tmpdir(), "earl-site-"));
    cpSync(site, folder, { recursive: true });
    const server = await serve(folder);
    try {
      const { context, page } = await open(`${server.url}element.html`);
      await stored(page);
      await page.reload();
      const title = () => page.evaluate(() => [document.title, document.querySelector("#samples")?.previousElementSibling?.textContent]);
      const old = await title();
      // A new version: another title in the page, another word in a script, another number in the worker.
      const read = (/** @type {string} */ name) => readFileSync(join(folder, name), "utf8");
      const hash = (/** @type {string} */ text) => createHash("sha256").update(text).digest("base64");
      const change = (/** @type {string} */ name, /** @type {(text: string) => string} */ act) => {
        const [old, text] = [read(name), act(read(name))];
        assert.notEqual(old, text, name);
        writeFileSync(join(folder, name), text);
        writeFileSync(join(folder, "sw.js"), read("sw.js").replace(hash(old), hash(text)));
      };
      change("element.html", (text) => text.replace("<title>EARL", "<title>NEW"));
      change("web/demo.js", (text) => text.replace("Sample: ", "New sample: "));
      change("sw.js", (text) => text.replace(/version: "[0-9a-f]{4}/, 'version: "0000'));
      const labels = () => page.evaluate(() => document.querySelector("#samples button")?.getAttribute("aria-label")?.split(":")[0]);
      await page.evaluate(async () => {
        const registration = await navigator.serviceWorker.getRegistration();
        await registration?.update();
        while (!registration?.waiting) await new Promise((resolve) => setTimeout(resolve, 20));
      });
      await page.reload();
      await page.waitForFunction(() => document.querySelectorAll("#samples button").length > 0);
      assert.deepEqual([await title(), await labels()], [old, "Sample"], "an open page keeps its version, whole");
      await page.goto("about:blank");
      await page.waitForTimeout(500);
      await page.goto(`${server.url}element.html`);
      await page.waitForFunction(() => document.querySelectorAll("#samples button").length > 0);
      assert.deepEqual([(await title())[0]?.slice(0, 3), await labels()], ["NEW", "New sample"]);
      const caches = await page.evaluate(async () => (await globalThis.caches.keys()).filter((name) => name.startsWith("earl-page-")));
      assert.equal(caches.length, 1, "the old version's files are gone");
      await context.close();
    } finally {
      await server.close();
      rmSync(folder, { recursive: true });
    }
  });

  test("W40 nothing keeps Chromium from installing the page, and every icon has the size it claims", async () => {
    const manifest = JSON.parse(readFileSync(join(site, "manifest.webmanifest"), "utf8"));
    const claims = manifest.icons.filter(({ type }) => type === "image/png").map(({ src, sizes, purpose }) => {
      const png = readFileSync(join(site, src)); // width and height stand at a fixed place
      assert.equal(sizes, `${png.readUInt32BE(16)}x${png.readUInt32BE(20)}`, src);
      return `${sizes} ${purpose}`;
    });
    assert.deepEqual(claims, ["192x192 any", "512x512 any", "512x512 maskable"]);
    const profile = mkdtempSync(join(tmpdir(), "earl-profile-")); // nothing can be installed from a private window
    const context = await chromium.launchPersistentContext(profile, { executablePath: CHROMIUM, args: ["--no-sandbox"] });
    const faults = async (/** @type {string} */ path) => {
      const page = await context.newPage();
      await page.goto(on.server.url + path);
      const { installabilityErrors } = await (await context.newCDPSession(page)).send("Page.getInstallabilityErrors");
      return installabilityErrors.map(({ errorId }) => errorId);
    };
    try {
      for (const path of ["?backend=cpu", "element.html"]) assert.deepEqual(await faults(path), [], path);
      on.server.files.set("/test/bare.webmanifest", Buffer.from(JSON.stringify({ ...manifest, icons: [] })));
      on.server.files.set("/test/bare.html", Buffer.from('<!doctype html><title>bare</title><link rel="manifest" href="bare.webmanifest">'));
      assert.notDeepEqual(await faults("test/bare.html"), [], "Chromium does tell what is missing");
    } finally {
      await context.close();
      rmSync(profile, { recursive: true });
    }
  });

  for (const path of ["element.html", "?backend=cpu"]) {
    test(`W40 removing everything leaves nothing in the browser and tells the bytes; the page goes on, the next load asks for page, manifest and weights (${path})`, async () => {
      const { context, page, noise } = await open(on.server.url + path);
      const run = async (/** @type {string} */ instruction) => {
        if (path === "element.html") return edit(page, instruction);
        await page.fill("#instruction", instruction);
        await page.click("#run");
        await page.waitForFunction((word) => document.querySelector("#stop[hidden]") && document.getElementById("result")?.textContent?.includes(word), instruction.split(" ").at(-1));
      };
      const again = async () => {
        await page.reload();
        await page.waitForFunction(() => document.querySelectorAll("#samples button").length > 0);
      };
      await stored(page);
      await again(); // only now it comes from the worker
      await page.check("#keep");
      await run("make the background pink");
      await page.evaluate(async () => (await (await import("/web/api.js")).createEditor({ model: "/models/tiny/", backend: "cpu", storage: "opfs" })).destroy());
      const left = () => page.evaluate(async () => {
        const files = [];
        for await (const folder of (await (await navigator.storage.getDirectory()).getDirectoryHandle("earl-weights-v1")).values()) files.push(folder.name);
        return { caches: await caches.keys(), databases: (await indexedDB.databases()).map(({ name }) => name), files, workers: (await navigator.serviceWorker.getRegistrations()).length, texts: localStorage.length };
      });
      await until(page, async () => (await indexedDB.databases()).length === 1);
      const full = await left();
      assert.deepEqual([full.caches.length, full.files.length > 0, full.workers, full.texts], [2, true, 1, 0]);
      const cached = await page.evaluate(async () => {
        let bytes = 0;
        for (const name of await caches.keys()) for (const response of await (await caches.open(name)).matchAll()) bytes += (await response.blob()).size;
        return bytes;
      });
      await page.click("#purge");
      await page.waitForFunction(() => document.getElementById("stored")?.textContent?.includes("were freed"));
      const told = Number.parseFloat((await page.textContent("#stored")) ?? "") * 1e6;
      assert.ok(Math.abs(told - cached - weightBytes) < 0.3e6, `${told} of ${cached} in caches and ${weightBytes} in files`);
      const nothing = { caches: [], databases: [], files: [], workers: 0, texts: 0 };
      assert.deepEqual(await left(), nothing);
      const removed = on.server.log.length;
      assert.equal(await page.isChecked("#keep"), false);
      await run("make the background green");
      await page.evaluate(async () => void (await fetch("web/api.js")));
      await page.waitForTimeout(1000); // Chromium keeps compiled code when it finds the time
      assert.deepEqual(await left(), nothing, `neither an edit nor what the page asks for is stored again; asked for since: ${on.server.log.slice(removed)}`);
      const before = on.server.log.length;
      await again();
      await run("make the background yellow");
      await stored(page);
      const asked = on.server.log.slice(before);
      for (const part of [path === "element.html" ? "/web/demo.js" : "/web/app.js", "/models/tiny/manifest.json", "/sw.js"]) assert.ok(asked.includes(part), part);
      assert.equal(asked.filter((path) => path.includes("chunks/")).length, chunkCount);
      await context.setOffline(true);
      await again();
      assert.deepEqual(noise, []);
      await context.close();
    });
  }

  test("W40 removed while another tab is open, the page is stored again by later loads", async () => {
    const { context, page } = await open();
    await stored(page);
    const tab = await context.newPage();
    const load = async (/** @type {import("playwright-core").Page} */ page) => {
      await page.goto(`${on.server.url}element.html`);
      await page.waitForFunction(() => document.querySelectorAll("#samples button").length > 0);
    };
    await load(tab);
    await page.click("#purge");
    await page.waitForFunction(() => document.getElementById("stored")?.textContent?.includes("were freed"));
    assert.ok(await tab.evaluate(async () => (await (await fetch("web/api.js")).text()).includes("createEditor")), "the other tab goes on");
    for (let loads = 0; loads < 2; loads++) {
      await load(page);
      await stored(page);
    }
    await until(page, async () => {
      const [name] = (await caches.keys()).filter((name) => name.startsWith("earl-page-"));
      return name && (await (await caches.open(name)).keys()).length > 40;
    });
    await context.setOffline(true);
    await load(page);
    await load(tab);
    await context.close();
  });

  test("W12 a copied link opens in another profile and gives the same picture", async () => {
    const first = await open();
    await edit(first.page, "replace the football with a dog");
    await first.page.click("#copy");
    await first.page.waitForFunction(() => location.hash.startsWith("#r="));
    const hash = (/** @type {import("playwright-core").Page} */ page) => page.evaluate(async () => {
      const bytes = await (await document.getElementById("editor").toBlob()).arrayBuffer();
      return [...new Uint8Array(await crypto.subtle.digest("SHA-256", bytes))].join();
    });
    const [link, picture] = [first.page.url(), await hash(first.page)];
    await first.context.close();
    const second = await open(link);
    await second.page.waitForFunction(() => document.getElementById("link")?.textContent?.startsWith("This link was made"));
    assert.ok((await second.page.evaluate(async () => (await document.getElementById("editor").run()).tokens.length)) > 6);
    assert.equal(await hash(second.page), picture);
    await second.context.close();
    const broken = await open(`${on.server.url}element.html#r=nonsense`);
    await broken.page.waitForFunction(() => /damaged/.test(document.getElementById("link")?.textContent ?? ""));
    await broken.context.close();
  });
});
