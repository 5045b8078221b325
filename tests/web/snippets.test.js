// @ts-check
/**
 * The npm README's snippets, taken out of it and run: HTML as it stands, React and Vue in blank Vite projects
 * (`frameworks`) that install the packed tarball, build and edit. What a bundler leaves out is told there too.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { after, before, describe, test } from "node:test";
import { bench, html, site } from "./helpers.js";
import { pack } from "./pack.js";
import { serve } from "./server.js";

const here = dirname(fileURLToPath(import.meta.url));
const readme = readFileSync(join(here, "../../web/npm/README.md"), "utf8");
/** The one snippet in this language. @param {string} language */
function snippet(language) {
  const found = [...readme.matchAll(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\`$`, "gm"))];
  assert.equal(found.length, 1, `snippets in ${language}`);
  return found[0]?.[1] ?? "";
}

/** The projects, with the package installed from its tarball. */
const work = mkdtempSync(join(tmpdir(), "earl-snippets-"));
const installed = join(work, "node_modules/earl-editor");
/** @param {string} program @param {string[]} what */
const run = (program, ...what) => execFileSync(program, what, { cwd: work, encoding: "utf8", stdio: "pipe" });
/** @type {import("./helpers.js").Bench} */
let on;
/** @type {Buffer} */
let cat;
before(async () => {
  cpSync(join(here, "frameworks"), work, { recursive: true });
  pack(site, join(work, "package"));
  const tarball = run("npm", "pack", "./package", "--silent").trim();
  const quietly = ["--prefer-offline", "--no-audit", "--no-fund", "--ignore-scripts"];
  run("npm", "ci", ...quietly);
  run("npm", "install", "--no-save", ...quietly, `./${tarball}`);
  on = await bench();
  const page = await on.fresh();
  cat = Buffer.from(await page.evaluate(async () => {
    const t = await import("/test/tools.js");
    return [...new Uint8Array(await (await t.file(await t.scene(0))).arrayBuffer())];
  }));
});
after(async () => {
  await on.close();
  rmSync(work, { recursive: true, force: true });
});

/** Serves a folder, waits for the element's picture, edits; size and change of what came out. @param {string} folder @param {Buffer} [index] in place of the folder's own page */
async function edit(folder, index) {
  const server = await serve(folder);
  server.files.set("/cat.png", cat);
  for (const name of ["/favicon.ico", "/test/page.css"]) server.files.set(name, Buffer.from(""));
  if (index) server.files.set("/index.html", index);
  const page = await (await on.browser.newContext()).newPage();
  page.setDefaultTimeout(120_000);
  /** @type {string[]} */
  const errors = [];
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  try {
    await page.goto(server.url);
    await page.waitForFunction(() => customElements.get("earl-editor") && document.querySelector("earl-editor"));
    const found = await page.evaluate(async () => {
      const editor = /** @type {any} */ (document.querySelector("earl-editor"));
      const { data, recipe } = await editor.run();
      return { size: [data.width, data.height], recipe, seed: editor.seed, image: /** @type {any} */ (globalThis).image?.type ?? null };
    });
    assert.deepEqual(errors, []);
    return found;
  } finally {
    await page.context().close();
    await server.close();
  }
}

test("W42 the HTML snippet edits a picture", async () => {
  const www = join(work, "www");
  mkdirSync(www);
  symlinkSync(join(installed, "dist"), join(www, "earl"));
  symlinkSync(join(installed, "models"), join(www, "models"));
  const { size, recipe } = await edit(www, html(snippet("html")));
  assert.deepEqual([size, recipe.instruction, recipe.region], [[64, 64], "make the hat red", [{ x: 10, y: 20, width: 40, height: 32 }]]);
});

describe("Vite", () => {
  /** Builds a project into its folder `dist`. @param {string} project */
  const build = (project) => run(join(work, "node_modules/.bin/vite"), "build", project, "--logLevel", "warn");

  for (const [project, language, name] of /** @type {const} */ ([["react", "tsx", "Picture.tsx"], ["vue", "vue", "Picture.vue"]])) {
    test(`W36, W42 the ${project} snippet, built from the installed package, edits a picture and hands it over`, async () => {
      writeFileSync(join(work, project, name), snippet(language));
      mkdirSync(join(work, project, "public"));
      cpSync(join(installed, "models"), join(work, project, "public/models"), { recursive: true });
      build(project);
      const found = await edit(join(work, project, "dist"));
      assert.deepEqual([found.size, found.recipe.instruction, found.seed, found.image], [[64, 64], "remove the cat", 7, "image/png"]);
    });
  }

  test("W36 who uses the API alone gets no element, even if it is imported and left unused", () => {
    /** The scripts of a page's bundle. @param {string} script */
    const bundled = (script) => {
      const project = mkdtempSync(join(work, "bundle-"));
      writeFileSync(join(project, "index.html"), '<!doctype html><script type="module" src="./main.js"></script>');
      writeFileSync(join(project, "main.js"), script);
      build(project);
      const assets = join(project, "dist/assets");
      return readdirSync(assets).filter((name) => name.endsWith(".js")).map((name) => readFileSync(join(assets, name), "utf8")).join("\n");
    };
    const api = 'import { createEditor } from "earl-editor"; globalThis.createEditor = createEditor;';
    const without = bundled(`import { EarlEditor } from "earl-editor/element"; ${api}`);
    const registered = bundled(`import "earl-editor/define"; ${api}`);
    const has = (/** @type {string} */ code) => ({ api: code.includes("E_DOWNLOAD_DECLINED"), element: code.includes("attachShadow"), registers: code.includes("customElements.define") });
    assert.deepEqual(has(without), { api: true, element: false, registers: false });
    assert.deepEqual(has(registered), { api: true, element: true, registers: true });
  });
});
