// The CPU module's known answers, timed: for each line on stdin all of them once, and the milliseconds on stdout.
// node known.mjs FOLDER_OF_MODULES FOLDER_OF_MODEL
import { readFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const [modules, folder] = process.argv.slice(2);
const wasm = await import(pathToFileURL(`${modules}/earl_cpu.js`).href);
await wasm.default({ module_or_path: await readFile(`${modules}/earl_cpu_bg.wasm`) });
const manifest = await readFile(`${folder}/manifest.json`);
const chunks = JSON.parse(manifest.toString()).chunks.map(({ sha256 }) => readFile(`${folder}/chunks/${sha256}.bin`));
const model = await wasm.load(new Uint8Array(manifest), (await Promise.all(chunks)).map((chunk) => new Uint8Array(chunk)));
const count = model.known().length;
for await (const _ of createInterface({ input: process.stdin })) {
  const start = performance.now();
  for (let at = 0; at < count; at++) {
    const { exact } = await model.check_known(at);
    if (!exact) throw new Error(`known answer ${at + 1} came out otherwise`);
  }
  console.log(performance.now() - start);
}
