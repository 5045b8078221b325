// @ts-check
/** Writes the npm package into a folder: `node tests/web/pack.js SITE OUT`. The site's scripts but the pages', declarations beside them. */
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const root = resolve(here, "../..");
/** What a page of one's own imports, or has loaded for it. */
export const ENTRIES = ["api.js", "worker.js", "element/element.js", "element/define.js"];

/** Scripts and all they import, from the folder `dist`. @param {string} dist @param {string[]} scripts @param {Set<string>} [all] */
export function withImports(dist, scripts, all = new Set()) {
  for (const script of scripts.filter((script) => !all.has(script))) {
    all.add(script);
    const imports = readFileSync(join(dist, script), "utf8").matchAll(/\b(?:from|import)"(\.[^"]+)"/g);
    withImports(dist, Array.from(imports, ([, path]) => join(dirname(script), path ?? "")), all);
  }
  return all;
}

/** @param {string} site @param {string} out */
export function pack(site, out) {
  rmSync(out, { recursive: true, force: true });
  mkdirSync(join(out, "dist"), { recursive: true });
  for (const name of [...withImports(join(site, "web"), ENTRIES), "wasm"]) cpSync(join(site, "web", name), join(out, "dist", name), { recursive: true });
  for (const name of ["jsx.js", "jsx.d.ts"]) cpSync(join(root, "web/npm", name), join(out, "dist", name));
  cpSync(join(root, "web/types.d.ts"), join(out, "dist/types.d.ts"));
  for (const name of ["package.json", "README.md"]) cpSync(join(root, "web/npm", name), join(out, name));
  for (const name of ["LICENSE-MIT", "LICENSE-APACHE"]) cpSync(join(root, name), join(out, name));
  cpSync(join(root, "web/element/custom-elements.json"), join(out, "custom-elements.json"));
  cpSync(join(site, "models"), join(out, "models"), { recursive: true });
  declare(out);
}

/** Declarations from the JSDoc types; what they import has its extension, which Node's resolution asks for. @param {string} out */
function declare(out) {
  const config = join(out, "tsconfig.json");
  writeFileSync(config, JSON.stringify({
    extends: join(here, "tsconfig.json"),
    compilerOptions: { noEmit: false, declaration: true, emitDeclarationOnly: true, stripInternal: true, rootDir: join(root, "web"), outDir: join(out, "dist") },
    include: [], files: ENTRIES.map((name) => join(root, "web", name)),
  }));
  execFileSync(process.execPath, [join(here, "node_modules/typescript/bin/tsc"), "-p", config], { stdio: "inherit" });
  rmSync(config);
  for (const name of readdirSync(join(out, "dist"), { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".d.ts"))) {
    const file = join(out, "dist", name);
    writeFileSync(file, readFileSync(file, "utf8").replace(/"(\.\.?\/(?:[\w-]+\/)*types)"/g, '"$1.js"'));
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) pack(resolve(process.argv[2] ?? ""), resolve(process.argv[3] ?? ""));
