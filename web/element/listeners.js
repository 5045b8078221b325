// @ts-check
/**
 * What people do with the element, tied to what it can do.
 * @typedef {{ run: () => Promise<unknown>, stop: () => Promise<unknown>, goOn: () => Promise<unknown>, undo: () => void, redo: () => void,
 *   save: () => Promise<unknown>, clear: () => void, dice: () => Promise<unknown>, region: () => void, take: (file: File) => void,
 *   typed: (text: string) => void, touched: () => void }} Actions
 */

/** @param {HTMLElement} host @param {import("./view.js").View} view @param {Actions} actions */
export function listen(host, view, actions) {
  const on = (/** @type {EventTarget} */ target, /** @type {string} */ type, /** @type {(event: any) => void} */ act) => target.addEventListener(type, act);
  // The element shows what went wrong.
  const quietly = (/** @type {() => Promise<unknown>} */ act) => void act().catch(() => undefined);
  on(view.form, "submit", (event) => {
    event.preventDefault();
    quietly(actions.run);
  });
  on(view.instruction, "input", () => actions.typed(view.instruction.value));
  on(view.stop, "click", () => quietly(actions.stop));
  on(view.goOn, "click", () => quietly(actions.goOn));
  on(view.undo, "click", actions.undo);
  on(view.redo, "click", actions.redo);
  on(view.save, "click", () => quietly(actions.save));
  on(view.clear, "click", actions.clear);
  on(view.dice, "click", () => quietly(actions.dice));
  on(view.regionToggle, "click", actions.region);
  on(view.open, "click", () => view.file.click());
  on(view.file, "change", () => {
    const file = view.file.files?.[0];
    if (file) actions.take(file);
    view.file.value = "";
  });
  on(host, "dragover", (event) => {
    event.preventDefault();
    view.stage.classList.add("dropping");
  });
  on(host, "dragleave", () => view.stage.classList.remove("dropping"));
  on(host, "drop", (event) => {
    event.preventDefault();
    view.stage.classList.remove("dropping");
    const file = event.dataTransfer?.files[0];
    if (file) actions.take(file);
  });
  on(host, "paste", (event) => {
    const file = event.clipboardData?.files[0];
    if (file) actions.take(file);
  });
  on(host, "pointerdown", actions.touched);
  on(host, "focusin", actions.touched);
}

/** Acts once, when the element comes into view. @param {HTMLElement} element @param {AbortSignal} signal @param {() => void} act */
export function whenSeen(element, signal, act) {
  const seen = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    seen.disconnect();
    act();
  });
  seen.observe(element);
  signal.addEventListener("abort", () => seen.disconnect());
}
