// @ts-check
/// <reference lib="webworker" />
/**
 * Watches the WebGPU devices a module asks for, in its worker. The module only logs what goes wrong on a
 * device, and waits for ever for one that is gone, so both are heard here, where the module gets its device.
 */

/** What devices complained of, such as a shader that does not compile. @type {string[]} */
export const complaints = [];

/** @param {(why: string) => void} onLost is told of each device that is lost */
export function watchDevices(onLost) {
  const { prototype } = /** @type {any} */ (globalThis).GPUAdapter;
  const request = prototype.requestDevice;
  prototype.requestDevice = async function (/** @type {unknown[]} */ ...how) {
    const device = await request.apply(this, how);
    device.addEventListener("uncapturederror", (/** @type {any} */ { error }) => complaints.push(error.message));
    device.lost.then((/** @type {any} */ { message, reason }) => onLost(message || reason));
    return device;
  };
}
