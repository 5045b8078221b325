// @ts-check
/** Reads a model's manifest and refuses one that could make the page fetch or allocate what it must not. */
import { failure } from "./errors.js";

/** Version of EARLW this page reads. */
const VERSION = 1;
/** Most bytes of a chunk. */
const MAX_CHUNK = 16 * 1024 * 1024;
/** Most bytes of a model. */
const MAX_SIZE = 2 ** 36;
const HEX = /^[0-9a-f]{64}$/;

/** @param {string} problem @param {string} [code] */
const broken = (problem, code = "E_FORMAT") => failure(code, `manifest.json: ${problem}`);

/** A whole number in 0..=most. @param {unknown} value @param {number} most */
const isCount = (value, most) => typeof value === "number" && Number.isSafeInteger(value) && value >= 0 && value <= most;

/** @param {Uint8Array} bytes @returns {import("./types").Manifest} */
export function parseManifest(bytes) {
  let manifest;
  try {
    manifest = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (cause) {
    throw failure("E_FORMAT", "manifest.json is no manifest of a model", { cause });
  }
  if (manifest?.format !== "EARLW") throw broken(`format is \`${manifest?.format}\`, not \`EARLW\``);
  if (manifest.version !== VERSION) throw broken(`has version ${manifest.version}; this page reads version ${VERSION}`, "E_VERSION");
  const { chunks, tensors, size } = manifest;
  if (!Array.isArray(chunks) || !Array.isArray(tensors) || !isCount(size, MAX_SIZE)) throw broken("`chunks`, `tensors` or `size` is missing");
  checkChunks(chunks, size);
  checkTensors(tensors, size);
  return manifest;
}

/** @param {any[]} chunks @param {number} size */
function checkChunks(chunks, size) {
  let end = 0;
  for (const [at, chunk] of chunks.entries()) {
    if (!HEX.test(chunk?.sha256)) throw broken(`chunk ${at}: \`${chunk?.sha256}\` is no SHA-256`);
    if (!isCount(chunk.length, MAX_CHUNK) || chunk.length === 0 || chunk.offset !== end) {
      throw broken(`chunk ${at}: offset ${chunk.offset}, length ${chunk.length} leave a gap or overlap after ${end}`);
    }
    end += chunk.length;
  }
  if (end !== size) throw broken(`chunks hold ${end} bytes, \`size\` says ${size}`);
}

/** @param {any[]} tensors @param {number} size */
function checkTensors(tensors, size) {
  for (const tensor of tensors) {
    const shaped = Array.isArray(tensor?.shape) && tensor.shape.every((/** @type {unknown} */ axis) => isCount(axis, MAX_SIZE));
    const placed = isCount(tensor?.offset, size) && isCount(tensor?.length, size) && tensor.offset + tensor.length <= size;
    if (typeof tensor?.name !== "string" || !shaped || !placed) throw broken(`tensor \`${tensor?.name}\` does not lie in the stream`);
  }
}
