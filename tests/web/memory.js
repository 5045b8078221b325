// @ts-check
/** Bounds the memory of a WebAssembly module, so that it runs out of it for real. */

/** Of a module's memory section. */
const MEMORY = 5;

/** An unsigned LEB128 number and where it ends. @param {Uint8Array} bytes @param {number} at */
function number(bytes, at) {
  let [value, shift] = [0, 0];
  for (;;) {
    const byte = bytes[at++] ?? 0;
    value += (byte & 127) * 2 ** shift;
    if (byte < 128) return { value, at };
    shift += 7;
  }
}

/** @param {number} value */
function leb(value) {
  const bytes = [];
  for (; value >= 128; value = Math.floor(value / 128)) bytes.push((value % 128) + 128);
  return [...bytes, value];
}

/** The module with at most `pages` pages of 64 KiB. @param {Uint8Array} module @param {number} pages */
export function withMemory(module, pages) {
  for (let at = 8; at < module.length; ) {
    const size = number(module, at + 1);
    const end = size.at + size.value;
    if (module[at] === MEMORY) {
      const flags = number(module, size.at + 1);
      const body = [1, flags.value | 1, ...leb(number(module, flags.at).value), ...leb(pages)];
      return Buffer.concat([module.subarray(0, at), Buffer.from([MEMORY, ...leb(body.length), ...body]), module.subarray(end)]);
    }
    at = end;
  }
  throw new Error("the module has no memory of its own");
}
