// @ts-check
/** The npm README's snippets, taken out of it and run: HTML as it stands, React and Vue as their own tools build them. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
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

/** Frameworks and snippets, and what is served: the package as `/earl` with its models beside it. */
const work = mkdtempSync(join(tmpdir(), "earl-snippets-"));
const www = join(work, "www");
/** @type {import("./helpers.js").Bench} */
let on;
/** @type {Awaited<ReturnType<typeof serve>>} */
let server;
before(async () => {
  pack(site, join(work, "package"));
  mkdirSync(www);
  symlinkSync(join(work, "package/dist"), join(www, "earl"));
  symlinkSync(join(work, "package/models"), join(www, "models"));
  on = await bench();
  server = await serve(www);
  const page = await on.fresh();
  const cat = await page.evaluate(async () => {
    const t = await import("/test/tools.js");
    return [...new Uint8Array(await (await t.file(await t.scene(0))).arrayBuffer())];
  });
  server.files.set("/cat.png", Buffer.from(cat));
  for (const name of ["/favicon.ico", "/test/page.css"]) server.files.set(name, Buffer.from(""));
});
after(async () => {
  await on.close();
  await server.close();
  rmSync(work, { recursive: true, force: true });
});

/** Serves a body, waits for the element's picture, edits; size and change of what came out. @param {string} body */
async function run(body) {
  server.files.set("/index.html", html(body));
  const page = await (await on.browser.newContext()).newPage();
  page.setDefaultTimeout(120_000);
  /** @type {string[]} */
  const errors = [];
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  await page.goto(server.url);
  await page.waitForFunction(() => customElements.get("earl-editor") && document.querySelector("earl-editor"));
  const found = await page.evaluate(async () => {
    const editor = /** @type {any} */ (document.querySelector("earl-editor"));
    const { data, recipe } = await editor.run();
    return { size: [data.width, data.height], recipe, seed: editor.seed, image: /** @type {any} */ (globalThis).image?.type ?? null };
  });
  assert.deepEqual(errors, []);
  await page.context().close();
  return found;
}

test("W42 the HTML snippet edits a picture", async () => {
  const { size, recipe } = await run(snippet("html"));
  assert.deepEqual([size, recipe.instruction, recipe.region], [[64, 64], "make the hat red", [{ x: 10, y: 20, width: 40, height: 32 }]]);
});

describe("frameworks", () => {
  before(() => {
    for (const name of ["package.json", "package-lock.json"]) cpSync(join(here, "frameworks", name), join(work, name));
    execFileSync("npm", ["ci", "--prefer-offline", "--no-audit", "--no-fund", "--ignore-scripts"], { cwd: work, stdio: "pipe" });
  });

  /** Bundles a page's script; the package itself is served as it is. @param {string} entry @param {string} script */
  async function bundle(entry, script) {
    writeFileSync(join(work, entry), script);
    const { build } = createRequire(join(work, "package.json"))("esbuild");
    const served = { name: "served", setup: (/** @type {any} */ on) => on.onResolve({ filter: /^earl-editor\/define$/ }, () => ({ path: "/earl/element/define.js", external: true })) };
    const { outputFiles } = await build({
      absWorkingDir: work, entryPoints: [entry], bundle: true, write: false, format: "esm", jsx: "automatic", plugins: [served],
      define: { "process.env.NODE_ENV": '"production"', __VUE_OPTIONS_API__: "false", __VUE_PROD_DEVTOOLS__: "false", __VUE_PROD_HYDRATION_MISMATCH_DETAILS__: "false" },
    });
    server.files.set("/main.js", Buffer.from(outputFiles[0].contents));
    return run('<div id="root"></div><script type="module" src="/main.js"></script>');
  }

  test("W42 the React snippet edits a picture and hands it over", async () => {
    writeFileSync(join(work, "Picture.tsx"), snippet("tsx"));
    const found = await bundle("main.tsx", `
      import { createRoot } from "react-dom/client";
      import { Picture } from "./Picture.tsx";
      createRoot(document.getElementById("root")!).render(<Picture url="/cat.png" onImage={(image) => Object.assign(globalThis, { image })} />);`);
    assert.deepEqual([found.size, found.recipe.instruction, found.seed, found.image], [[64, 64], "remove the cat", 7, "image/png"]);
  });

  test("W42 the Vue snippet edits a picture and hands it over", async () => {
    const { parse, compileScript } = createRequire(join(work, "package.json"))("vue/compiler-sfc");
    const { descriptor, errors } = parse(snippet("vue"), { filename: "Picture.vue" });
    assert.deepEqual(errors, []);
    const isCustomElement = (/** @type {string} */ tag) => tag === "earl-editor";
    const { content } = compileScript(descriptor, { id: "picture", inlineTemplate: true, templateOptions: { compilerOptions: { isCustomElement } } });
    writeFileSync(join(work, "Picture.js"), content);
    const found = await bundle("main.js", `
      import { createApp } from "vue";
      import Picture from "./Picture.js";
      createApp(Picture, { url: "/cat.png", onImage: (image) => Object.assign(globalThis, { image }) }).mount("#root");`);
    assert.deepEqual([found.size, found.recipe.instruction, found.seed, found.image], [[64, 64], "remove the cat", 7, "image/png"]);
  });
});
