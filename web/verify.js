// @ts-check
/**
 * A WebGPU device edits once it has given a known answer of the model: drivers and browsers can compile a
 * shader wrongly, or not at all, without a word. How far its choices' margins were off then says how narrow
 * a choice must be to be made again by the CPU. Both are remembered beside the stored model, for this
 * adapter, browser and module.
 */
import { EarlError, failure } from "./errors.js";
import { openStore } from "./storage.js";
import { sha256 } from "./weights.js";

/** Longest waits for a known answer, from a device and where WebGPU is emulated: a broken one may never answer. */
export const LIMITS = { deviceMs: 60_000, emulatedMs: 900_000 };

/** A choice is close if its margin is less than so many times what the known answer was off by, and than this in logits. */
export const GUARD = { times: 4, least: 0.05 };

/** @typedef {{ model: string, adapter: string, software: boolean, module: string, storage: import("./types").Storage }} Device model and module by their hashes */

/** Where it is remembered that a device passed. @param {Device} device */
async function placeOf({ adapter, module, storage }) {
  const { store } = await openStore(storage, 0);
  return { store, name: `passed-${await sha256(new TextEncoder().encode(JSON.stringify([adapter, navigator.userAgent, module])))}` };
}

/** A device that failed later is to be tested again. @param {Device} device */
export async function forget(device) {
  const { store, name } = await placeOf(device);
  await store.delete(device.model, name).catch(() => undefined);
}

/**
 * The margin, in logits, below which a choice of the device is to be made again; 0 if the model tells no margins. Rejects with `E_SELF_TEST` if the worker's device does not give what the model's manifest says.
 * @param {import("./client.js").Client} client a worker with the model loaded
 * @param {Device} device
 * @param {AbortSignal | undefined} signal
 * @returns {Promise<number>}
 */
export async function verify(client, device, signal) {
  const { model, software } = device;
  const { store, name } = await placeOf(device);
  const known = await store.get(model, name).catch(() => null);
  const guard = known ? Number(new TextDecoder().decode(known)) : NaN;
  if (guard >= 0) return guard;
  const limit = software ? LIMITS.emulatedMs : LIMITS.deviceMs;
  const patience = AbortSignal.timeout(limit);
  const test = client.ask({ type: "test", brief: true }, { signal: signal ? AbortSignal.any([signal, patience]) : patience });
  /** @type {import("./types").SelfTest} */
  const { checks, offBy } = await test.answer.catch((cause) => {
    signal?.throwIfAborted();
    if (client.dead?.code === "E_DEVICE_LOST") throw client.dead;
    const why = patience.aborted ? `no known answer within ${limit / 1000} s` : cause instanceof EarlError ? cause.message : String(cause);
    throw failure("E_SELF_TEST", why, { cause });
  });
  const failed = checks.find(({ ok }) => !ok);
  if (failed) throw failure("E_SELF_TEST", `${failed.name}: ${failed.detail}`);
  const margin = offBy === null ? 0 : Math.max(GUARD.least, GUARD.times * offBy);
  await store.put(model, name, new TextEncoder().encode(String(margin))).catch(() => undefined);
  return margin;
}
