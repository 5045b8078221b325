// @ts-check
/// <reference lib="webworker" />
/**
 * Watches the WebGPU devices a module asks for, in its worker. The module only logs what goes wrong on a
 * device, and waits for ever for one that is gone, so both are heard here, where the module gets its device.
 * What it asks of devices is counted here too.
 * @typedef {import("./types").DeviceWork} DeviceWork
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

/** @type {Readonly<DeviceWork>} */
const NONE = { dispatches: 0, submits: 0, readBacks: 0, bytesReadBack: 0 };
/** What was asked of devices so far. */
const work = { ...NONE };

/** Counts from now on. */
export function countWork() {
  const { GPUComputePassEncoder, GPUQueue, GPUBuffer, GPUCommandEncoder, GPUBufferUsage } = /** @type {any} */ (globalThis);
  const heard = (/** @type {any} */ type, /** @type {string} */ name, /** @type {(...what: any[]) => void} */ note) => {
    const own = type.prototype[name];
    type.prototype[name] = function (/** @type {unknown[]} */ ...what) {
      note(...what);
      return own.apply(this, what);
    };
  };
  for (const name of ["dispatchWorkgroups", "dispatchWorkgroupsIndirect"]) heard(GPUComputePassEncoder, name, () => work.dispatches++);
  heard(GPUQueue, "submit", () => work.submits++);
  heard(GPUBuffer, "mapAsync", () => work.readBacks++);
  // Of both forms: (from, to, size) and (from, offset, to, offset, size).
  heard(GPUCommandEncoder, "copyBufferToBuffer", (_, ...rest) => {
    const to = rest.find((what) => what instanceof GPUBuffer);
    if (to.usage & GPUBufferUsage.MAP_READ) work.bytesReadBack += rest.at(-1) ?? to.size;
  });
}

/** What was asked since the last call. @returns {DeviceWork} */
export function takeWork() {
  const taken = { ...work };
  Object.assign(work, NONE);
  return taken;
}
