// @ts-check
/// <reference lib="webworker" />
/**
 * Module worker: fetches a bundle, checks it in WebAssembly, edits. One message in, several out.
 * Tensors and files stay here; see `types.d.ts` for the messages.
 * @typedef {import("./types").ToWorker} ToWorker
 * @typedef {import("./types").FromWorker} FromWorker
 * @typedef {import("./types").Problem} Problem
 */

/** @type {import("./wasm/earl_cpu.js").WebEditor | null} */
let editor = null;

/** Edits that nobody waits for any more. @type {Set<number>} */
const stopped = new Set();

/** @param {FromWorker} message @param {Transferable[]} [transfer] */
const post = (message, transfer = []) => self.postMessage(message, { transfer });

/** An error with a code and a hint. @param {string} code @param {string} message @param {string} hint */
const problem = (code, message, hint) => ({ code, message, hint });

self.addEventListener("message", async (/** @type {MessageEvent<ToWorker>} */ event) => {
  const message = event.data;
  try {
    if (message.type === "load") await load(message);
    else if (message.type === "edit") await edit(message);
    else stopped.add(message.id);
  } catch (error) {
    post({ type: "error", id: message.id, problem: readable(error) });
  }
});

/** @param {unknown} error @returns {Problem} */
function readable(error) {
  if (error && typeof error === "object" && "code" in error && typeof error.code === "string") {
    return /** @type {Problem} */ (error);
  }
  if (error instanceof WebAssembly.RuntimeError) {
    return problem("E_WASM_TRAP", `the module stopped: ${error.message}`, "run the edit again; a new worker is started");
  }
  return problem("E_UNKNOWN", error instanceof Error ? error.message : String(error), "reload the page and try again");
}

/** @param {Extract<ToWorker, { type: "load" }>} message */
async function load({ id, model, backend }) {
  const { use, reason } = await choose(backend);
  const manifest = await bytesOf(new URL("manifest.json", model));
  const { chunks, size } = parse(manifest);
  let loaded = 0;
  post({ type: "progress", id, loaded, total: size, what: "model" });
  const parts = [];
  for (const chunk of chunks) {
    if (!/^[0-9a-f]{64}$/.test(chunk.sha256)) {
      throw problem("E_FORMAT", "the manifest names a chunk that is no SHA-256", "export the model again");
    }
    parts.push(await bytesOf(new URL(`chunks/${chunk.sha256}.bin`, model)));
    loaded += chunk.length;
    post({ type: "progress", id, loaded, total: size, what: "model" });
  }
  const started = await start(use, reason, manifest, parts, backend);
  editor = started.editor;
  post({ type: "ready", id, info: { ...started.editor.info(), reason: started.reason } });
}

/** Which module to run, and why not WebGPU. @param {import("./types").Backend} asked */
async function choose(asked) {
  if (asked === "cpu") return { use: "cpu", reason: null };
  const gpu = /** @type {any} */ (navigator).gpu;
  const adapter = gpu ? await gpu.requestAdapter().catch(() => null) : null;
  if (!adapter) {
    if (asked === "webgpu") {
      throw problem("E_NO_BACKEND", "this browser offers no WebGPU adapter", "choose the CPU under Settings");
    }
    return { use: "cpu", reason: "no WebGPU here" };
  }
  const software = adapter.info?.isFallbackAdapter || adapter.info?.architecture === "swiftshader";
  if (asked === "auto" && software) return { use: "cpu", reason: "WebGPU is emulated here" };
  return { use: "webgpu", reason: null };
}

/**
 * Starts a module and loads the model into it; `auto` falls back to the CPU if WebGPU fails.
 * @param {string} use @param {string | null} reason @param {Uint8Array} manifest
 * @param {Uint8Array[]} parts @param {string} asked
 */
async function start(use, reason, manifest, parts, asked) {
  if (use === "webgpu") {
    try {
      const gpu = await import("./wasm/earl_gpu.js");
      await gpu.default();
      return { editor: await gpu.load(manifest, parts), reason: null };
    } catch (error) {
      if (asked !== "auto") throw error;
      reason = `WebGPU failed: ${readable(error).message}`;
    }
  }
  const cpu = await import("./wasm/earl_cpu.js");
  await cpu.default();
  return { editor: await cpu.load(manifest, parts), reason };
}

/** @param {Uint8Array} manifest @returns {{ chunks: { sha256: string, length: number }[], size: number }} */
function parse(manifest) {
  try {
    const { chunks, size } = JSON.parse(new TextDecoder().decode(manifest));
    if (Array.isArray(chunks) && typeof size === "number") return { chunks, size };
  } catch {
    // Falls through: what is no JSON is no manifest either.
  }
  throw problem("E_FORMAT", "`manifest.json` is no manifest of a model", "export the model again with `trainer export`");
}

/** @param {URL} url */
async function bytesOf(url) {
  const response = await fetch(url).catch(() => {
    throw problem("E_OFFLINE", `${url.pathname} can't be fetched`, "check the connection and reload");
  });
  if (!response.ok) {
    throw problem("E_HTTP", `${url.pathname} answered ${response.status}`, "check that the site was copied whole");
  }
  return new Uint8Array(await response.arrayBuffer());
}

/** @param {Extract<ToWorker, { type: "edit" }>} message */
async function edit({ id, file, options }) {
  if (!editor) throw problem("E_STATE", "no model is loaded", "wait until the model is ready");
  const settings = { ...options, seed: BigInt(Math.trunc(options.seed)) };
  const result = await editor.edit(file, settings, (/** @type {import("./types").Token} */ token) => {
    post({ type: "token", id, token });
    return !stopped.has(id);
  });
  stopped.delete(id);
  post({ type: "done", id, result }, [result.png.buffer, result.source.buffer, result.edited.buffer]);
}
