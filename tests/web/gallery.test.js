// @ts-check
/** The page's gallery: the model makes what is shown, and a link makes it again. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { edits, make } from "./gallery.js";
import { bench, site } from "./helpers.js";
import { chunksOf, textOf } from "./png.js";

const shown = (/** @type {string} */ name) => readFileSync(join(site, "web/gallery", name));

describe("the gallery", () => {
  /** @type {import("./helpers.js").Bench} */
  let on;
  before(async () => {
    on = await bench();
  });
  after(() => on.close());

  /** The page, with a model that is ready. @param {string} [fragment] */
  async function open(fragment = "") {
    const page = await (await on.browser.newContext()).newPage();
    page.on("console", (message) => ["error", "warning"].includes(message.type()) && on.noise.push(message.text()));
    page.on("pageerror", (error) => on.noise.push(String(error)));
    await page.goto(`${on.server.url}?backend=cpu${fragment}`);
    await page.waitForSelector("#status.ready", { timeout: 300_000 });
    return page;
  }

  /** What the page says of an edit of the gallery, when it is done. @param {import("playwright-core").Page} page */
  const verdict = async (page) => (await page.locator("#result p", { hasText: "in the gallery" }).textContent({ timeout: 60_000 })) ?? "";

  test("W2 the shipped model makes every edit as shown: the same tokens, the same file", async () => {
    const page = await on.fresh();
    const made = await make(page);
    assert.ok(made.length >= 8);
    for (const [at, { name, tokens, after, drawn, doubt }] of made.entries()) {
      assert.equal(doubt, "", name);
      assert.deepEqual(tokens, edits[at]?.tokens, `tokens of \`${name}\``);
      assert.deepEqual(Buffer.from(after, "base64"), shown(`${name}-after.png`), `file of \`${name}\`; \`tests/web/gallery.js\` makes it again`);
      const pixels = await page.evaluate(async (path) => {
        const tools = await import("/test/tools.js");
        return [...(await tools.pixels(await (await fetch(path)).blob())).data];
      }, `/web/gallery/${name}-before.png`);
      assert.ok(Buffer.from(pixels).equals(Buffer.from(drawn, "base64")), `picture before \`${name}\``);
    }
  });

  test("W12 the pictures hold their recipes; the page shows each pair with its sentence, and names the failure", async () => {
    const page = await (await on.browser.newContext({ javaScriptEnabled: false })).newPage();
    await page.goto(on.server.url);
    const items = await page.locator("#gallery > li").all();
    assert.equal(items.length, edits.length);
    for (const [at, { name, instruction }] of edits.entries()) {
      const recipe = JSON.parse(textOf(chunksOf(shown(`${name}-after.png`)), "earl-recipe"));
      assert.deepEqual([recipe.instruction, recipe.mode, recipe.seed, recipe.temperature], [instruction, "local", 0, 0]);
      const link = items[at]?.locator("a").first();
      assert.equal(await link?.locator("span").textContent(), instruction);
      assert.equal(await link?.getAttribute("href"), `#edit-${name}`);
      const sources = await Promise.all((await link?.locator("img").all() ?? []).map((image) => image.getAttribute("src")));
      assert.deepEqual(sources, [`web/gallery/${name}-before.png`, `web/gallery/${name}-after.png`]);
    }
    assert.match((await page.locator("#gallery .failure").textContent()) ?? "", /^A failure/);
    assert.equal(await page.locator("#gallery .failure a").getAttribute("href"), "models/tiny/CARD.md");
    await page.context().close();
  });

  test("W12 a pair's link makes its edit again, on the page and in a fresh profile, and the page compares it with what it shows", async () => {
    const page = await open();
    await page.click("summary:has-text(\"Settings\")");
    await page.fill("#seed", "7");
    await page.click('#gallery a[href="#edit-swap"]');
    assert.match(await verdict(page), /^As in the gallery: the same \d+ tokens, the same 16,384 bytes of picture$/);
    assert.equal(await page.inputValue("#instruction"), "swap the octopus and the whale");
    assert.equal(await page.inputValue("#seed"), "0", "the settings are those of the gallery");
    assert.equal(await page.locator("#suggestions li").count() > 3, true, "the scene can be edited on");
    const link = new URL(page.url()).hash;
    assert.equal(link, "#edit-swap");
    await page.context().close();
    const other = await open(link);
    assert.match(await verdict(other), /^As in the gallery/);
    await other.context().close();
  });

  test("W12 a picture that the model does not make is told apart", async () => {
    on.server.spoil.set("swap-after.png", () => shown("swap-before.png"));
    const page = await open("#edit-swap");
    assert.match(await verdict(page), /^Not as in the gallery: the same tokens, [\d,]{3,} other bytes of picture$/);
    on.server.spoil.clear();
    await page.context().close();
  });

  test("the console stays silent", () => assert.deepEqual(on.noise, []));
});
