// @ts-check
/** Draws the icons of the installed page from `web/assets/icon.svg`: `node tests/web/icons.js`. */
import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { launch } from "./chromium.js";

const assets = join(dirname(fileURLToPath(import.meta.url)), "../../web/assets");
const svg = readFileSync(join(assets, "icon.svg"), "utf8");
const ground = /fill="(#\w+)"/.exec(svg)?.[1];

const browser = await launch();
/** A maskable icon fills its square, since the system cuts it; the drawing keeps to the circle that always shows. */
for (const [name, side, maskable] of /** @type {const} */ ([["icon-192", 192, false], ["icon-512", 512, false], ["icon-maskable", 512, true]])) {
  const page = await browser.newPage({ viewport: { width: side, height: side } });
  await page.setContent(`<style>body { margin: 0; ${maskable ? `background: ${ground};` : ""} } svg { display: block; ${maskable ? "scale: .85;" : ""} }</style>${svg}`);
  writeFileSync(join(assets, `${name}.png`), await page.screenshot({ omitBackground: true }));
}
await browser.close();
