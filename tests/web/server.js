// @ts-check
/**
 * A static server for tests: serves a folder with the site's security headers and with ETags, as static hosts do,
 * keeps a log, and on request spoils, delays, cuts and compresses what it answers. `/source/web` is the checkout's:
 * scripts as they are written, for tests of what no page imports.
 */
import { createHash } from "node:crypto";
import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { dirname, extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, gzipSync } from "node:zlib";

const TYPES = /** @type {Record<string, string>} */ ({
  ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".json": "application/json", ".webmanifest": "application/manifest+json",
  ".wasm": "application/wasm", ".png": "image/png", ".svg": "image/svg+xml", ".bin": "application/octet-stream", ".md": "text/plain; charset=utf-8",
});

const SOURCE = "/source/web/";
const checkout = join(dirname(fileURLToPath(import.meta.url)), "../../web");

/** The policy that hosts with headers should send; `xtask/src/serve.rs` sends the same. */
export const CSP =
  "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'; img-src 'self' blob:; style-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'";

/**
 * What to do to answers whose path holds a part: another body (null: 404), a status, milliseconds to wait
 * before the body, bytes after which the connection breaks, gzip or brotli.
 * @typedef {{ change?: (bytes: Buffer) => Buffer | null, status?: number, delay?: number, cut?: number, gzip?: boolean, brotli?: boolean, stall?: number }} Spoil
 * @typedef {{ path: string, status: number, bytes: number }} Sent an answer's body as it went over the wire; none with 304
 * @typedef {{ url: string, log: string[], sent: Sent[], spoil: Map<string, Spoil | ((bytes: Buffer) => Buffer | null)>, files: Map<string, Buffer>,
 *   count: (part: string) => number, close: () => Promise<void> }} Server
 */

/** By their hash, since it takes long. @type {Map<string, Buffer>} */
const compressed = new Map();
const hash = (/** @type {Buffer} */ bytes) => createHash("sha1").update(bytes).digest("hex");

/** @param {Buffer} bytes */
function brotli(bytes) {
  const name = hash(bytes);
  const found = compressed.get(name) ?? brotliCompressSync(bytes);
  compressed.set(name, found);
  return found;
}

/** @param {string} root @returns {Promise<Server>} */
export async function serve(root) {
  /** @type {string[]} */
  const log = [];
  /** @type {Sent[]} */
  const sent = [];
  /** @type {Server["spoil"]} */
  const spoil = new Map();
  /** Files that are not in the folder, by path. @type {Map<string, Buffer>} */
  const files = new Map();
  const server = createServer(async (request, response) => {
    const path = normalize(decodeURIComponent(new URL(request.url ?? "/", "http://host").pathname));
    log.push(path);
    const name = path.endsWith("/") ? `${path}index.html` : path;
    /** @type {Buffer | null} */
    let bytes = files.get(name) ?? await readFile(name.startsWith(SOURCE) ? join(checkout, name.slice(SOURCE.length)) : join(root, name)).catch(() => null);
    /** @type {Spoil} */
    let how = {};
    for (const [part, given] of spoil) {
      if (!name.includes(part)) continue;
      how = typeof given === "function" ? { change: given } : given;
      if (bytes && how.change) bytes = how.change(bytes);
    }
    if (how.delay) await new Promise((resolve) => setTimeout(resolve, how.delay));
    if (!bytes || how.status) return void response.writeHead(how.status ?? 404).end();
    if (how.gzip) bytes = gzipSync(bytes);
    if (how.brotli) bytes = brotli(bytes);
    const end = how.cut ?? how.stall;
    const etag = `W/"${hash(bytes)}"`;
    const headers = { etag, "cache-control": "no-cache", "content-security-policy": CSP, ...(how.gzip || how.brotli ? { "content-encoding": how.gzip ? "gzip" : "br" } : {}) };
    // What is spoilt is always sent, so that no browser's own store stands in for it.
    if (request.headers["if-none-match"] === etag && !how.change && end === undefined) {
      sent.push({ path, status: 304, bytes: 0 });
      return void response.writeHead(304, headers).end();
    }
    sent.push({ path, status: 200, bytes: bytes.length });
    response.writeHead(200, { ...headers, "content-type": TYPES[extname(name)] ?? "application/octet-stream", "content-length": bytes.length });
    if (end === undefined) return void response.end(bytes);
    response.write(bytes.subarray(0, Math.min(end, bytes.length - 1)), () => how.cut !== undefined && response.destroy());
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(undefined)));
  const address = server.address();
  if (!address || typeof address === "string") throw new Error("no port");
  return {
    url: `http://127.0.0.1:${address.port}/`, log, sent, spoil, files, count: (part) => log.filter((path) => path.includes(part)).length,
    close: () => new Promise((resolve) => { server.closeAllConnections(); server.close(() => resolve()); }),
  };
}
