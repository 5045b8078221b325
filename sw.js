// @ts-check
/// <reference lib="webworker" />
/**
 * Keeps the page for times without a network. `cargo xtask site` fills in the version, a hash over all
 * files, and each file's own hash; one version is stored whole before it is used, and a page keeps the version it
 * was opened with. Weights are not its business: the page stores and checks them itself.
 */
const SITE = { version: "", files: /** @type {Record<string, string>} */ ({}) }; // filled in by `cargo xtask site`

const worker = /** @type {ServiceWorkerGlobalScope} */ (/** @type {unknown} */ (self));
const PREFIX = "earl-page-";
const NAME = `${PREFIX}${SITE.version}`;

worker.addEventListener("install", (event) => {
  // Else Chromium asks the site for the page, too, while it starts the worker, and throws the answer away.
  const routed = /** @type {any} */ (event).addRoutes?.({ condition: { requestMode: "navigate" }, source: "fetch-event" });
  event.waitUntil(Promise.all([store(), Promise.resolve(routed).catch(() => undefined)]));
});
worker.addEventListener("activate", (event) => event.waitUntil(forget()));
worker.addEventListener("fetch", (event) => {
  const url = new URL(event.request.url);
  if (!SITE.version || event.request.method !== "GET" || url.origin !== location.origin) return;
  event.respondWith(answer(event.request, url));
  if (event.request.mode === "navigate") event.waitUntil(refill());
});

/**
 * Stores the whole version, or fails and leaves the one before in charge. What the page has just loaded is not asked for
 * again if its hash is this version's. Else the site is asked after every file, and trusted: a host may add to one.
 */
async function store() {
  const cache = await caches.open(NAME);
  const requests = (/** @type {(hash: string) => RequestInit} */ how) =>
    Object.entries(SITE.files).map(([file, hash]) => new Request(new URL(file, worker.registration.scope), how(hash)));
  await cache.addAll(requests((integrity) => ({ cache: "force-cache", integrity })))
    .catch(() => cache.addAll(requests(() => ({ cache: "no-cache" }))));
}

/** Stores the version again that a visitor has removed: while another tab was open the browser kept this worker. */
async function refill() {
  if (!(await caches.has(NAME))) await store();
}

/** Removes what versions before have stored; no page of theirs is open any more. */
async function forget() {
  const names = await caches.keys();
  await Promise.all(names.filter((name) => name.startsWith(PREFIX) && name !== NAME).map((name) => caches.delete(name)));
}

/** @param {Request} request @param {URL} url */
async function answer(request, url) {
  url.pathname = url.pathname.replace(/\/index\.html$/, "/");
  url.search = "";
  // Opening the cache would make it again where the page has removed it.
  const stored = await caches.match(url.href, { cacheName: NAME });
  if (!stored) return fetch(request);
  // So would Chromium, seconds later: it puts the compiled code of a stored script or module beside it. A copy has no such place.
  return /\.(js|wasm)$/.test(url.pathname) ? new Response(stored.body, stored) : stored;
}
