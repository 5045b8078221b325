// @ts-check
/** Runs in the page under test: pictures, and short forms for what tests ask. Served as `/test/tools.js`. */
import * as api from "/web/api.js";
import { samples } from "/source/web/samples.js";
import { Drawings } from "/source/web/scene.js";

/** A sample scene as the page draws it. @param {number} at */
export async function scene(at) {
  const drawings = await Drawings.load(new URL("/web/assets/", location.href));
  const context = new OffscreenCanvas(64, 64).getContext("2d", { willReadFrequently: true });
  drawings.paint(context, samples(drawings.world)[at].scene);
  return context.getImageData(0, 0, 64, 64);
}

/** A picture of any size by chance numbers, with transparent parts if asked. @param {number} width @param {number} height @param {boolean} [alpha] */
export function noise(width, height, alpha = false) {
  let state = width * 7919 + height;
  const next = () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) >>> 24;
  const data = new Uint8ClampedArray(width * height * 4);
  for (let at = 0; at < data.length; at++) data[at] = at % 4 === 3 && !alpha ? 255 : next();
  return new ImageData(data, width, height);
}

/** @param {ImageData | OffscreenCanvas} picture @param {string} [type] */
export async function file(picture, type = "image/png") {
  const canvas = new OffscreenCanvas(picture.width, picture.height);
  canvas.getContext("2d").putImageData(picture, 0, 0);
  return canvas.convertToBlob({ type });
}

/** RGBA of a PNG as the browser decodes it. @param {Blob} blob */
export async function pixels(blob) {
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  return context.getImageData(0, 0, bitmap.width, bitmap.height);
}

/** SHA-256, hex. @param {Blob | ArrayBuffer} what */
export async function hash(what) {
  const bytes = what instanceof Blob ? await what.arrayBuffer() : what;
  return Array.from(new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The code an act fails with, and the rest of the error. @param {() => Promise<unknown>} act */
export async function fault(act) {
  try {
    await act();
    return { code: "none", name: "", hint: "", retryable: false, message: "", detail: {} };
  } catch (error) {
    const { name, code, hint, retryable, message, detail } = error;
    return { code: code ?? name, name, hint: hint ?? "", retryable, message, detail: JSON.parse(JSON.stringify(detail ?? {})) };
  }
}

/** Pictures that histories have stored, oldest first, without their files; `here` are those one is at. */
export async function stored() {
  if ((await indexedDB.databases()).length === 0) return [];
  const database = await new Promise((resolve) => (indexedDB.open("earl-history-v1").onsuccess = ({ target }) => resolve(target.result)));
  const all = (name) => new Promise((resolve) => (database.transaction(name).objectStore(name).getAll().onsuccess = ({ target }) => resolve(target.result)));
  const [pictures, places] = [await all("pictures"), await all("places")];
  database.close();
  return pictures.sort((a, b) => a.made - b.made).map(({ image, ...rest }) => ({ ...rest, here: places.some(({ at }) => at === rest.id) }));
}

/** The page's editor on the CPU. @param {object} [options] */
export const create = (options = {}) => api.createEditor({ model: "/models/tiny/", backend: "cpu", ...options });

/** Has WebGPU's module of this hash pass for tested on an adapter that passes for a real one. @param {string} module */
export async function pretendPassed(module) {
  const { modelHash } = await api.capabilities({ model: "/models/tiny/" });
  const name = `passed-${await hash(new Blob([JSON.stringify(["test,test,,", navigator.userAgent, module])]))}`;
  await (await caches.open("earl-weights-v1")).put(`/.earl/${modelHash}/${name}`, new Response("1"));
}

/** How often a device is remembered to have passed. */
export async function passes() {
  const stored = await (await caches.open("earl-weights-v1")).keys();
  return stored.filter(({ url }) => url.includes("/passed-")).length;
}

/** An editor, its download's events, and what it said in the end. @param {object} [options] */
export async function watched(options = {}) {
  const events = [];
  const monitor = (target) => target.addEventListener("downloadprogress", (event) => events.push({ loaded: event.loaded, total: event.total, ...event.detail }));
  const editor = await create({ monitor, ...options });
  return { editor, events };
}

export { api };
