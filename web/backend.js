// @ts-check
/** Which of the two modules to run, and why not the other. */
import { failure } from "./errors.js";

/** Whether WebAssembly is there at all. */
export const hasWasm = () => typeof WebAssembly === "object" && typeof WebAssembly.instantiate === "function";

/** Why WebGPU can't be used, `""` if it can; `software` if it is emulated; what the adapter says of itself. */
export async function webgpu() {
  const gpu = /** @type {any} */ (navigator).gpu;
  if (!gpu) return { reason: "no WebGPU here", software: false, adapter: "" };
  const adapter = await Promise.resolve(gpu.requestAdapter()).catch(() => null);
  if (!adapter) return { reason: "no WebGPU adapter", software: false, adapter: "" };
  const { vendor, architecture, device, description, isFallbackAdapter } = adapter.info ?? {};
  return { reason: "", software: isFallbackAdapter === true || architecture === "swiftshader", adapter: [vendor, architecture, device, description].join() };
}

/** @typedef {{ use: "cpu" | "webgpu", reason: string | null, adapter: string, software: boolean }} Choice */

/** @param {string | null} reason why not WebGPU @returns {Choice} */
export const onCpu = (reason) => ({ use: "cpu", reason, adapter: "", software: false });

/** @param {import("./types").Backend} asked @returns {Promise<Choice>} */
export async function choose(asked) {
  if (!hasWasm()) throw failure("E_NO_BACKEND", "this browser has no WebAssembly", { hint: "use a browser of 2023 or later" });
  if (asked === "cpu") return onCpu(null);
  const { reason, software, adapter } = await webgpu();
  if (asked === "webgpu") {
    if (reason) throw failure("E_NO_BACKEND", "this browser offers no WebGPU adapter");
    return { use: "webgpu", reason: null, adapter, software };
  }
  const against = reason || (software ? "WebGPU is emulated here" : null);
  return { use: against ? "cpu" : "webgpu", reason: against, adapter, software };
}
