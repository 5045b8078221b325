// @ts-check
/// <reference lib="webworker" />
/**
 * The reference beside a WebGPU device: where the device's choice is a close one, the CPU module makes it
 * again, from the same weights, and its choice stands. So the tokens are the CPU's own unless a device is
 * off by more than its known answers showed. Module and model are made ready at the first doubt.
 * @typedef {import("./wasm/earl_cpu.js").WebEditor} Model
 * @typedef {import("./types").Pixels} Pixels
 */

export class Referee {
  /** @type {Promise<Model> | null} */ #model = null;

  /** @param {Uint8Array} manifest @param {Uint8Array[]} chunks the model the device has */
  constructor(manifest, chunks) {
    this.manifest = manifest;
    this.chunks = chunks;
  }

  /** @returns {Promise<Model>} */
  async #load() {
    const cpu = await import("./wasm/earl_cpu.js");
    await cpu.default();
    return cpu.load(this.manifest, this.chunks);
  }

  /**
   * The token the CPU writes after those that are decided.
   * @param {Pixels} picture @param {object} settings of the edit @param {number[]} decided
   * @returns {Promise<number>}
   */
  async token({ rgba, width, height }, settings, decided) {
    const model = await (this.#model ??= this.#load());
    let found = -1;
    const onToken = (/** @type {import("./types").WasmToken} */ { index, id }) => {
      if (index === decided.length) found = id;
      return index < decided.length;
    };
    await model.edit(new Uint8Array(rgba), width, height, { ...settings, decided }, onToken).catch((error) => {
      if (error?.code !== "E_STOPPED") throw error;
    });
    return found;
  }
}
