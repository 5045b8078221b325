// @ts-check
/** Asks the browser to keep the page for times without a network. */

/** Where service workers are refused (private windows, no HTTPS) the page works all the same. */
export function installWorker() {
  navigator.serviceWorker?.register(new URL("../sw.js", import.meta.url)).catch(() => undefined);
}
