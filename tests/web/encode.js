// @ts-check
/**
 * Picture files of the kinds that canvases don't write, by encoders that share no code with the editor: PNG of every
 * depth and colour type, also interlaced, and baseline JPEG of flat blocks.
 */
import { deflateSync } from "node:zlib";
import { crc } from "./png.js";

/** Samples of a pixel by PNG's colour type. @type {Record<number, number>} */
export const CHANNELS = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 };
/** First column and row of Adam7's passes, and the steps to the next. */
const ADAM7 = [[0, 0, 8, 8], [4, 0, 8, 8], [0, 4, 4, 8], [2, 0, 4, 4], [0, 2, 2, 4], [1, 0, 2, 2], [0, 1, 1, 2]];

/** @param {string} type @param {Buffer} data */
function chunk(type, data) {
  const body = Buffer.concat([Buffer.from(type, "latin1"), data]);
  const [length, sum] = [Buffer.alloc(4), Buffer.alloc(4)];
  length.writeUInt32BE(data.length);
  sum.writeUInt32BE(crc(body));
  return Buffer.concat([length, body, sum]);
}

/** A header alone: enough to tell a size. @param {number} width @param {number} height @param {number} [depth] @param {number} [colour] @param {boolean} [interlaced] */
export function pngHeader(width, height, depth = 8, colour = 2, interlaced = false) {
  const head = Buffer.alloc(13);
  head.writeUInt32BE(width, 0);
  head.writeUInt32BE(height, 4);
  head.set([depth, colour, 0, 0, interlaced ? 1 : 0], 8);
  return Buffer.concat([Buffer.from("\x89PNG\r\n\x1a\n", "latin1"), chunk("IHDR", head)]);
}

/**
 * @param {{ width: number, height: number, depth: number, colour: number, interlaced?: boolean, palette?: number[][] }} how `palette`: RGBA
 * @param {(x: number, y: number) => number[]} samples of a pixel, each below 2^depth
 */
export function png({ width, height, depth, colour, interlaced = false, palette = [] }, samples) {
  const line = (/** @type {number} */ y, /** @type {number} */ x0, /** @type {number} */ dx) => {
    let bits = "";
    for (let x = x0; x < width; x += dx) for (const sample of samples(x, y)) bits += sample.toString(2).padStart(depth, "0");
    const bytes = Array.from({ length: Math.ceil(bits.length / 8) }, (_, at) => parseInt(bits.slice(at * 8, at * 8 + 8).padEnd(8, "0"), 2));
    return bytes.length > 0 ? [0, ...bytes] : []; // 0: no filter
  };
  /** @type {number[]} */
  const raw = [];
  for (const [x0 = 0, y0 = 0, dx = 1, dy = 1] of interlaced ? ADAM7 : [[0, 0, 1, 1]]) for (let y = y0; y < height; y += dy) raw.push(...line(y, x0, dx));
  const opaque = palette.every((entry) => entry[3] === 255);
  return Buffer.concat([
    pngHeader(width, height, depth, colour, interlaced),
    ...(palette.length > 0 ? [chunk("PLTE", Buffer.from(palette.flatMap((entry) => entry.slice(0, 3))))] : []),
    ...(opaque ? [] : [chunk("tRNS", Buffer.from(palette.map((entry) => entry[3] ?? 255)))]),
    chunk("IDAT", deflateSync(Buffer.from(raw))), chunk("IEND", Buffer.alloc(0)),
  ]);
}

/** @param {number} marker @param {number[]} body */
const segment = (marker, body) => [0xff, marker, (body.length + 2) >> 8, (body.length + 2) & 255, ...body];
/** Codes of four bits for the sizes 0 to 11 of a difference. */
const SIZES = Array.from({ length: 12 }, (_, size) => size);

/** Exif with an orientation and nothing else. @param {number} orientation */
const exif = (orientation) => [...Buffer.from("Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01", "latin1"), 0, orientation, 0, 0, 0, 0, 0, 0];

/** Huffman-coded differences of one component after another, a block each; what follows the first coefficient is zero. @param {number[][]} blocks */
function scan(blocks) {
  const before = (blocks[0] ?? []).map(() => 0);
  let bits = "";
  for (const block of blocks) {
    for (const [at, value] of block.entries()) {
      const level = (value - 128) * 8; // the mean of a flat block, undivided
      const difference = level - (before[at] ?? 0);
      before[at] = level;
      const size = difference === 0 ? 0 : Math.floor(Math.log2(Math.abs(difference))) + 1;
      const rest = difference < 0 ? difference + 2 ** size - 1 : difference;
      bits += size.toString(2).padStart(4, "0") + (size > 0 ? rest.toString(2).padStart(size, "0") : "") + "0";
    }
  }
  bits = bits.padEnd(Math.ceil(bits.length / 8) * 8, "1");
  return Array.from({ length: bits.length / 8 }, (_, at) => parseInt(bits.slice(at * 8, at * 8 + 8), 2)).flatMap((byte) => (byte === 255 ? [255, 0] : [byte]));
}

/**
 * A JPEG of flat blocks of 8 × 8 pixels.
 * @param {number[][][]} rows blocks, row by row: one value for grey, three for Y, Cb and Cr, four for CMYK
 * @param {{ orientation?: number, adobe?: number }} [how] `adobe`: the colour transform that Adobe's segment tells
 */
export function jpeg(rows, { orientation, adobe } = {}) {
  const [height, width, components] = [rows.length * 8, (rows[0]?.length ?? 0) * 8, rows[0]?.[0]?.length ?? 0];
  const each = Array.from({ length: components }, (_, at) => at + 1);
  return Buffer.from([
    0xff, 0xd8,
    ...(orientation === undefined ? [] : segment(0xe1, exif(orientation))),
    ...(adobe === undefined ? [] : segment(0xee, [...Buffer.from("Adobe"), 0, 100, 0, 0, 0, 0, adobe])),
    ...segment(0xdb, [0, ...Array(64).fill(1)]),
    ...segment(0xc0, [8, height >> 8, height & 255, width >> 8, width & 255, components, ...each.flatMap((id) => [id, 0x11, 0])]),
    ...segment(0xc4, [0x00, 0, 0, 0, SIZES.length, ...Array(12).fill(0), ...SIZES]),
    ...segment(0xc4, [0x10, 1, ...Array(15).fill(0), 0]), // the one code "0": the block ends
    ...segment(0xda, [components, ...each.flatMap((id) => [id, 0]), 0, 63, 0]),
    ...scan(rows.flat()), 0xff, 0xd9,
  ]);
}
