// @ts-check
/** What the page leaves in the browser: asked for, and taken back. */
import { purge } from "./api.js";
import { element } from "./view.js";

const SITE = new URL("../", import.meta.url);

/** Asks the browser to keep the page for times without a network. Where service workers are refused (private windows, no HTTPS) the page works all the same. */
export function installWorker() {
  navigator.serviceWorker?.register(new URL("sw.js", SITE)).catch(() => undefined);
}

/** Removes all that page and element have stored, and the worker that keeps the page; the bytes freed. An open page goes on. */
async function uninstall() {
  const registration = await navigator.serviceWorker?.getRegistration(SITE).catch(() => undefined);
  if (registration?.scope === SITE.href) await registration.unregister(); // first: it stores no more
  let freed = await purge();
  for (const name of await globalThis.caches?.keys().catch(() => []) ?? []) {
    if (!name.startsWith("earl-")) continue;
    const cache = await caches.open(name);
    for (const response of await cache.matchAll()) freed += (await response.blob()).size;
    await caches.delete(name);
  }
  return freed;
}

/** The section "Storage" of a page. @param {(on: boolean) => void} keep told whether the visitor wants pictures to be kept */
export function listenToStorage(keep) {
  const box = element("keep", HTMLInputElement);
  const button = element("purge", HTMLButtonElement);
  const stored = element("stored", HTMLParagraphElement);
  box.addEventListener("change", () => keep(box.checked));
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      const freed = await uninstall();
      box.checked = false;
      keep(false);
      stored.textContent = `${(freed / 1e6).toFixed(1)} MB were freed. The next visit asks the site for everything again.`;
    } catch (error) {
      stored.textContent = error instanceof Error ? `${error.message}.` : String(error);
    }
    button.disabled = false;
  });
}
