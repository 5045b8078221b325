// @ts-check
/** The page of the element, which `element/define.js` registers: samples, a link to an edit, the self-test, what is stored. */
import { capabilities, createEditor, fromFragment, toFragment } from "./api.js";
import { isStored, treeName } from "./archive.js";
import { EarlEditor } from "./element/element.js";
import { installWorker, listenToStorage } from "./install.js";
import { samples } from "./samples.js";
import { Drawings, SIDE } from "./scene.js";
import { element } from "./view.js";

const MODEL = new URL("../models/tiny/", import.meta.url);
const editor = element("editor", EarlEditor);
const say = (/** @type {string} */ id, /** @type {string} */ text) => void (element(id, HTMLElement).textContent = text);
const on = (/** @type {string} */ id, /** @type {() => unknown} */ act) => element(id, HTMLElement).addEventListener("click", act);

/** Every sample's picture. @returns {Promise<{ title: string, data: ImageData }[]>} */
async function pictures() {
  const drawings = await Drawings.load(new URL("./assets/", import.meta.url));
  return samples(drawings.world).map(({ title, scene }) => {
    const context = new OffscreenCanvas(SIDE, SIDE).getContext("2d", { willReadFrequently: true });
    if (!context) throw new Error("no 2d canvas");
    drawings.paint(/** @type {any} */ (context), scene);
    return { title, data: context.getImageData(0, 0, SIDE, SIDE) };
  });
}

/** @param {ImageData} data */
async function hashOf(data) {
  const bytes = new Uint8Array(await new Blob([`${data.width},${data.height},`, data.data]).arrayBuffer());
  return Array.from(new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** @param {{ title: string, data: ImageData }[]} all */
function showSamples(all) {
  element("samples", HTMLDivElement).replaceChildren(...all.map(({ title, data }) => {
    const button = document.createElement("button");
    button.type = "button";
    button.title = title;
    button.setAttribute("aria-label", `Sample: ${title}`);
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = SIDE;
    canvas.getContext("2d")?.putImageData(data, 0, 0);
    button.append(canvas);
    button.addEventListener("click", () => (editor.image = data));
    return button;
  }));
}

/** Follows the link the page was opened with: finds the sample it was made from, and runs it. @param {{ data: ImageData }[]} all */
async function follow(all) {
  try {
    const recipe = fromFragment(location.hash);
    if (!recipe) return;
    for (const { data } of all) {
      if ((await hashOf(data)) !== recipe.image) continue;
      editor.image = data;
      await new Promise((resolve) => setTimeout(resolve));
    }
    editor.setRecipe(recipe);
    say("link", "This link was made from the picture shown, or from one of your own: open that one, then press Edit.");
  } catch (error) {
    say("link", error instanceof Error ? `${error.message}.` : String(error));
  }
}

function listen() {
  editor.addEventListener("earl-ready", (event) => {
    const { info } = /** @type {CustomEvent} */ (event).detail;
    say("status", `Ready on the ${info.backend === "webgpu" ? "WebGPU" : "CPU"} · model ${info.name} ${info.modelHash.slice(0, 8)}${info.reason ? ` · ${info.reason}` : ""}`);
    element("status", HTMLElement).classList.add("ready");
  });
  editor.addEventListener("earl-edit", () => (element("copy", HTMLButtonElement).disabled = false));
  on("copy", async () => {
    const recipe = editor.getRecipe();
    if (!recipe) return;
    const url = new URL(`#${toFragment(recipe)}`, location.href.split("#")[0]);
    history.replaceState(null, "", url);
    await navigator.clipboard?.writeText(url.href).then(() => say("link", "The link is copied."), () => say("link", "The link is in the address bar."));
  });
  on("maps", () => {
    editor.maps = !editor.maps;
    element("maps", HTMLElement).setAttribute("aria-pressed", String(editor.maps));
  });
  element("candidates", HTMLSelectElement).addEventListener("change", (event) => (editor.candidates = Number(/** @type {HTMLSelectElement} */ (event.currentTarget).value)));
  on("test", runTest);
  listenToStorage((keep) => (editor.history = keep ? "on" : "off"));
}

async function runTest() {
  const own = await createEditor({ model: MODEL });
  const { checks } = await own.selfTest();
  await own.destroy();
  const table = element("checks", HTMLTableElement);
  table.tBodies[0]?.replaceChildren(...checks.map(({ name, ok, detail }) => {
    const row = document.createElement("tr");
    for (const text of [name, `${ok ? "passed" : "failed"}: ${detail}`]) row.insertCell().textContent = text;
    return row;
  }));
  table.hidden = false;
}

listen();
installWorker();
if (await isStored(treeName(editor.id))) {
  element("keep", HTMLInputElement).checked = true; // as the visitor left it
  editor.history = "on";
}
const all = await pictures();
showSamples(all);
if (all[0]) editor.image = all[0].data;
await follow(all);
const { bytesTotal } = await capabilities({ model: MODEL });
if (bytesTotal) say("size", (bytesTotal / 1e6).toFixed(1));
