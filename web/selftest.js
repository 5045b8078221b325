// @ts-check
/**
 * Checks of the running module and model, computed when asked for: files, repeatability, and the known
 * answers of the model's manifest. The CPU must give those to the last bit; a device, whose last bits
 * are its own, must give the same tokens and pixels where the model leaves no doubt, and nearly the same
 * margins, since sure choices can outlive a wrong constant.
 * @typedef {import("./types").Check} Check
 * @typedef {import("./wasm/earl_cpu.js").WebEditor} Model
 * @typedef {(name: string, run: () => Promise<[boolean, string]>) => Promise<void>} Ask
 */
import { complaints } from "./gpu.js";

/** Known answers a device is asked for: one before it is used, two in the whole test; and most that its margins may be off by, in logits. */
const ON_DEVICE = { brief: 1, whole: 2, offBy: 1 };

/**
 * @param {typeof import("./wasm/earl_cpu.js")} wasm @param {Model} model @param {boolean} brief one known answer alone
 * @returns {Promise<import("./types").SelfTest>}
 */
export async function selfTest(wasm, model, brief) {
  const info = /** @type {import("./types").ModuleInfo} */ (model.info());
  /** @type {Check[]} */
  const checks = [];
  /** @type {Ask} */
  const check = async (name, run) => {
    try {
      const [ok, detail] = await run();
      checks.push({ name, ok, detail });
    } catch (error) {
      checks.push({ name, ok: false, detail: error instanceof Error ? error.message : String(/** @type {any} */ (error)?.message ?? error) });
    }
  };
  if (!brief) await checkModule(wasm, model, info, check);
  const offBy = await checkKnown(model, info.backend, brief, check);
  if (info.backend === "webgpu") await check("the device does not complain", async () => [complaints.length === 0, complaints[0] ?? "no errors"]);
  return { ok: checks.every(({ ok }) => ok), backend: info.backend, checks, offBy };
}

/** How far the margins of choices are off, null if unknown. @param {Model} model @param {"cpu" | "webgpu"} backend @param {boolean} brief @param {Ask} check @returns {Promise<number | null>} */
async function checkKnown(model, backend, brief, check) {
  /** @type {number[]} */
  const differences = [];
  const all = /** @type {import("./types").WasmKnown[]} */ (model.known()).map((known, at) => ({ ...known, at }));
  const short = all.filter(({ sure, mode }) => sure && mode === "local").slice(0, brief ? ON_DEVICE.brief : ON_DEVICE.whole);
  for (const { at, instruction } of backend === "cpu" && !brief ? all : short) {
    await check(`known answer ${at + 1}, “${instruction}”`, async () => {
      const { tokens, pixels, exact, offBy } = /** @type {import("./types").WasmAgrees} */ (await model.check_known(at));
      if (offBy !== undefined) differences.push(offBy);
      const facts = Object.entries({ tokens, pixels, ...(backend === "cpu" ? { "last bits": exact } : { margins: (offBy ?? 0) <= ON_DEVICE.offBy }) });
      const other = facts.filter(([, same]) => !same).map(([name]) => name);
      return [other.length === 0, other.length === 0 ? `the same ${facts.map(([name]) => name).join(", ")}` : `other ${other.join(", ")}`];
    });
  }
  return differences.length > 0 ? Math.max(...differences) : null;
}

/** @param {typeof import("./wasm/earl_cpu.js")} wasm @param {Model} model @param {import("./types").ModuleInfo} info @param {Ask} check */
async function checkModule(wasm, model, info, check) {
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
}
