// @ts-check
/** Which of the two modules to run, and why not the other. */
import { failure } from "./errors.js";

/** Whether WebAssembly is there at all. */
export const hasWasm = () => typeof WebAssembly === "object" && typeof WebAssembly.instantiate === "function";

/** Why WebGPU can't be used, `""` if it can; `software` if it is emulated. */
export async function webgpu() {
  const gpu = /** @type {any} */ (navigator).gpu;
  if (!gpu) return { reason: "no WebGPU here", software: false };
  const adapter = await Promise.resolve(gpu.requestAdapter()).catch(() => null);
  if (!adapter) return { reason: "no WebGPU adapter", software: false };
  const software = adapter.info?.isFallbackAdapter === true || adapter.info?.architecture === "swiftshader";
  return { reason: "", software };
}

/** @param {import("./types").Backend} asked @returns {Promise<{ use: "cpu" | "webgpu", reason: string | null }>} */
export async function choose(asked) {
  if (!hasWasm()) throw failure("E_NO_BACKEND", "this browser has no WebAssembly", { hint: "use a browser of 2023 or later" });
  if (asked === "cpu") return { use: "cpu", reason: null };
  const { reason, software } = await webgpu();
  if (asked === "webgpu") {
    if (reason) throw failure("E_NO_BACKEND", "this browser offers no WebGPU adapter");
    return { use: "webgpu", reason: null };
  }
  if (reason) return { use: "cpu", reason };
  return software ? { use: "cpu", reason: "WebGPU is emulated here" } : { use: "webgpu", reason: null };
}
