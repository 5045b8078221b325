// @ts-check
/** Reads a model's manifest and refuses one that could make the page fetch or allocate what it must not. As `crates/model/src/checkpoint/bundle.rs` does, which reads it once more. */
import { failure } from "./errors.js";

/** Version of EARLW this page reads. */
const VERSION = 1;
/** Most bytes of a chunk. */
const MAX_CHUNK = 16 * 1024 * 1024;
/** Most bytes of a model. */
const MAX_SIZE = 2 ** 36;
/** Most bytes of a tensor, which a device binds whole. */
const MAX_TENSOR = 120 * 1024 * 1024;
/** Where tensors start: at multiples of so many bytes. */
const ALIGN = 256;
/** Values of a quantized row that share a scale. */
const BLOCK = 32;
/** Bits of a value by type. */
const BITS = new Map([["f32", 32], ["f16", 16], ["q8", 8], ["q4", 4], ["t2", 2]]);
const HEX = /^[0-9a-f]{64}$/;

/** @param {string} problem @param {string} [code] */
const broken = (problem, code = "E_FORMAT") => failure(code, `manifest.json: ${problem}`);
/** What a manifest says, as it stands there: it may be anything. @param {unknown} value */
const said = (value) => `\`${String(JSON.stringify(value)).slice(0, 100)}\``;

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
  if (manifest?.format !== "EARLW") throw broken(`format is ${said(manifest?.format)}, not \`EARLW\``);
  if (manifest.version !== VERSION) throw broken(`has version ${said(manifest.version)}; this page reads version ${VERSION}`, "E_VERSION");
  const { model, chunks, tensors, size } = manifest;
  if (!Array.isArray(chunks) || !Array.isArray(tensors) || !isCount(size, MAX_SIZE)) throw broken("`chunks`, `tensors` or `size` is missing");
  if (["name", "tier", "licence"].some((name) => typeof model?.[name] !== "string")) throw broken("`model` tells no name, tier or licence");
  checkChunks(chunks, size);
  checkTensors(tensors, size);
  return manifest;
}

/** @param {any[]} chunks @param {number} size */
function checkChunks(chunks, size) {
  let end = 0;
  for (const [at, chunk] of chunks.entries()) {
    if (typeof chunk?.sha256 !== "string" || !HEX.test(chunk.sha256)) throw broken(`chunk ${at}: ${said(chunk?.sha256)} is no SHA-256`);
    if (!isCount(chunk.length, MAX_CHUNK) || chunk.length === 0 || chunk.offset !== end) {
      throw broken(`chunk ${at}: offset ${said(chunk.offset)}, length ${said(chunk.length)} leave a gap or overlap after ${end}`);
    }
    end += chunk.length;
  }
  if (end !== size) throw broken(`chunks hold ${end} bytes, \`size\` says ${size}`);
}

/** @param {any[]} tensors @param {number} size */
function checkTensors(tensors, size) {
  const names = new Set();
  let end = 0;
  for (const tensor of tensors) {
    const { name, dtype, shape, offset, length } = tensor ?? {};
    const what = `tensor ${said(name)}`;
    if (typeof name !== "string" || names.has(name)) throw broken(`${what} has no name of its own`);
    names.add(name);
    if (!BITS.has(dtype)) throw broken(`${what} has the type ${said(dtype)}; known are ${[...BITS.keys()].join(", ")}`);
    const shaped = Array.isArray(shape) && shape.length > 0 && shape.every((/** @type {unknown} */ axis) => isCount(axis, MAX_SIZE));
    if (!shaped || !isCount(length, MAX_TENSOR) || storedBytes(shape, dtype) !== length) {
      throw broken(`${what}: shape ${said(shape)} does not take ${said(length)} bytes`, "E_TENSOR_SHAPE");
    }
    if (!isCount(offset, size) || offset < end || offset % ALIGN !== 0 || offset + length > size) throw broken(`${what}: offset ${said(offset)} overlaps, is unaligned or lies outside`);
    end = offset + length;
  }
}

/** Bytes of a tensor; rows of quantized ones are whole blocks. @param {number[]} shape @param {string} dtype */
function storedBytes(shape, dtype) {
  const width = shape.at(-1) ?? 0;
  const padded = dtype.startsWith("f") ? width : Math.ceil(width / BLOCK) * BLOCK;
  return (shape.slice(0, -1).reduce((product, axis) => product * axis, padded) * (BITS.get(dtype) ?? 0)) / 8;
}
