// @ts-check
/** A reader of PNG files that shares no code with the editor. */

/** Checksum of a chunk's type and data. @param {Buffer} bytes */
export function crc(bytes) {
  let sum = ~0;
  for (const byte of bytes) {
    sum ^= byte;
    for (let bit = 0; bit < 8; bit++) sum = (sum >>> 1) ^ (sum & 1 ? 0xedb88320 : 0);
  }
  return ~sum >>> 0;
}

/** Every chunk, and whether its checksum holds. @param {Buffer} png */
export function chunksOf(png) {
  const chunks = [];
  for (let at = 8; at < png.length; ) {
    const length = png.readUInt32BE(at);
    const body = png.subarray(at + 4, at + 8 + length);
    chunks.push({ type: body.toString("latin1", 0, 4), data: body.subarray(4), sound: crc(body) === png.readUInt32BE(at + 8 + length) });
    at += 12 + length;
  }
  return chunks;
}

/** The text of an uncompressed `iTXt` chunk. @param {ReturnType<typeof chunksOf>} chunks @param {string} keyword */
export function textOf(chunks, keyword) {
  for (const { type, data } of chunks) {
    if (type !== "iTXt") continue;
    const [key, ...rest] = data.toString("utf8").split("\0");
    if (key === keyword) return rest.slice(4).join("\0");
  }
  return "";
}
