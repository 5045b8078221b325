// @ts-check
/**
 * Checks of the running module and model, computed when asked for. The manifest holds no known answers
 * yet, so these prove a working path and repeatability, not equality with another device.
 * @typedef {import("./types").Check} Check
 */

/**
 * @param {typeof import("./wasm/earl_cpu.js")} wasm @param {import("./wasm/earl_cpu.js").WebEditor} model
 * @returns {Promise<import("./types").SelfTest>}
 */
export async function selfTest(wasm, model) {
  const info = /** @type {import("./types").ModuleInfo} */ (model.info());
  /** @type {Check[]} */
  const checks = [];
  const check = async (/** @type {string} */ name, /** @type {() => Promise<[boolean, string]>} */ run) => {
    try {
      const [ok, detail] = await run();
      checks.push({ name, ok, detail });
    } catch (error) {
      checks.push({ name, ok: false, detail: error instanceof Error ? error.message : String(/** @type {any} */ (error)?.message ?? error) });
    }
  };
  const side = info.canvas;
  const picture = Uint8Array.from({ length: side * side * 4 }, (_, at) => (at % 4 === 3 ? 255 : (at * 7 + (at >> 8) * 13) % 256));
  await check("SHA-256 of the empty text", async () => {
    const hash = wasm.sha256(new Uint8Array());
    return [hash === "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", hash.slice(0, 16)];
  });
  await check("PNG round trip keeps every byte", async () => {
    const back = wasm.decode(wasm.encode(picture, side, side, undefined)).rgba;
    const differing = picture.reduce((sum, byte, at) => sum + (byte === back[at] ? 0 : 1), 0);
    return [differing === 0, `${differing} of ${picture.length} bytes differ`];
  });
  const colour = info.backgrounds[0] ?? "white";
  const once = async (/** @type {bigint} */ seed) => {
    /** @type {number[]} */
    const entropies = [];
    const settings = { instruction: `make the background ${colour}`, mode: "local", seed, temperature: 0, decided: [] };
    const made = await model.edit(picture, side, side, settings, (/** @type {import("./types").WasmToken} */ token) => void entropies.push(token.entropy));
    return { program: made.program.join(" "), entropies };
  };
  await check("an edit gives the same tokens twice, all numbers finite", async () => {
    const [first, second] = [await once(0n), await once(0n)];
    const finite = first.entropies.every(Number.isFinite);
    return [first.program === second.program && finite, `${first.entropies.length} tokens`];
  });
  return { ok: checks.every(({ ok }) => ok), backend: info.backend, checks };
}
