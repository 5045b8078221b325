// @ts-check
/** A static server for tests: serves a folder, keeps a log, and can spoil answers on request. */
import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { extname, join, normalize } from "node:path";

const TYPES = /** @type {Record<string, string>} */ ({
  ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".json": "application/json",
  ".wasm": "application/wasm", ".png": "image/png", ".svg": "image/svg+xml", ".bin": "application/octet-stream", ".md": "text/plain; charset=utf-8",
});

/**
 * @param {string} root
 * @returns {Promise<{ url: string, log: string[], spoil: Map<string, (bytes: Buffer) => Buffer | null>, close: () => Promise<void> }>}
 */
export async function serve(root) {
  /** @type {string[]} */
  const log = [];
  /** By part of the path: changes the bytes, or null for 404. @type {Map<string, (bytes: Buffer) => Buffer | null>} */
  const spoil = new Map();
  const server = createServer(async (request, response) => {
    const path = normalize(decodeURIComponent(new URL(request.url ?? "/", "http://host").pathname));
    log.push(path);
    /** @type {Buffer | null} */
    let bytes = await readFile(join(root, path.endsWith("/") ? `${path}index.html` : path)).catch(() => null);
    for (const [part, change] of spoil) if (bytes && path.includes(part)) bytes = change(bytes);
    if (!bytes) return void response.writeHead(404).end();
    const type = TYPES[extname(path)] ?? (path.endsWith("/") ? TYPES[".html"] : "application/octet-stream");
    response.writeHead(200, { "content-type": type, "cache-control": "no-store" }).end(bytes);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(undefined)));
  const address = server.address();
  if (!address || typeof address === "string") throw new Error("no port");
  return {
    url: `http://127.0.0.1:${address.port}/`, log, spoil,
    close: () => new Promise((resolve) => { server.closeAllConnections(); server.close(() => resolve()); }),
  };
}
