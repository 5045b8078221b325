// @ts-check
/** The element's style, as one sheet that all elements share. A page styles through parts and `--earl-*`. */
const CSS = `
:host { display: block; position: relative; font: 16px/1.45 system-ui, sans-serif; color: light-dark(#1b1d26, #e9eaf0);
  --_accent: var(--earl-accent, light-dark(#4350c4, #9aa5ff)); --_surface: var(--earl-surface, light-dark(#fff, #1e2029));
  --_line: light-dark(#d5d8e3, #3a3d4a); --_radius: var(--earl-radius, 12px); max-width: 36rem; }
:host([hidden]) { display: none; }
* { box-sizing: border-box; }
[hidden] { display: none !important; }
.stage { position: relative; overflow: hidden; border-radius: var(--_radius); background: var(--_surface); border: 1px solid var(--_line); min-height: 8rem; }
.stage.dropping { outline: 3px dashed var(--_accent); outline-offset: -6px; }
canvas { display: block; width: 100%; height: auto; }
canvas.pixels { image-rendering: pixelated; }
.before, .map { position: absolute; inset: 0; height: 100%; pointer-events: none; }
.map { opacity: .75; image-rendering: pixelated; }
.region { position: absolute; border: 2px solid var(--_accent); box-shadow: 0 0 0 1px Canvas, 0 0 0 9999px rgb(0 0 0 / 35%); cursor: move; touch-action: none; min-width: 24px; min-height: 24px; }
.region .corner { position: absolute; right: -2px; bottom: -2px; width: 24px; height: 24px; cursor: nwse-resize; background: linear-gradient(135deg, transparent 50%, var(--_accent) 50%); touch-action: none; }
.plan { position: absolute; pointer-events: none; }
.plan-box { position: absolute; border: 2px solid var(--_accent); border-radius: 4px; box-shadow: 0 0 0 1px Canvas; }
.plan-box[role="button"] { pointer-events: auto; cursor: grab; touch-action: none; }
.plan-box[role="button"]:active { cursor: grabbing; }
.plan-box:focus-visible { outline-offset: -4px; }
.plan-box .corner { position: absolute; right: -2px; bottom: -2px; width: 24px; height: 24px; cursor: nwse-resize; background: linear-gradient(135deg, transparent 60%, var(--_accent) 60%); }
.plan-box.erase { border-style: dashed; }
.plan-box span { position: absolute; left: -2px; bottom: 100%; font-size: .72rem; line-height: 1.35; padding: 0 .35rem; background: var(--_accent); color: light-dark(#fff, #14151b); white-space: nowrap; border-radius: 4px 4px 0 0; }
.plan-box.low span { bottom: auto; top: 100%; border-radius: 0 0 4px 4px; }
.plan-box.erase span { top: auto; bottom: 0; left: 0; border-radius: 0 4px 0 2px; }
.grid { position: absolute; inset: 0; pointer-events: none; opacity: var(--earl-grid-opacity, 0); background:
  repeating-linear-gradient(to right, currentColor 0 1px, transparent 1px 12.5%), repeating-linear-gradient(to bottom, currentColor 0 1px, transparent 1px 12.5%); }
.handle[hidden] { display: block !important; visibility: hidden; } /* keeps its place: the form below must not jump */
.handle { display: block; width: 100%; margin: .4rem 0 0; min-height: 24px; accent-color: var(--_accent); }
.ask { display: flex; gap: .5rem; margin-top: .4rem; }
.ask > .field { flex: 1; min-width: 0; }
input, button { font: inherit; color: inherit; }
input:not([type]), input[type="text"], input[type="number"] { width: 100%; padding: .5rem .7rem; border: 1px solid var(--_line); border-radius: 9px; background: var(--_surface); min-height: 2.4rem; }
button { min-height: 2.4rem; min-width: 24px; padding: .4rem .8rem; border: 1px solid var(--_line); border-radius: 9px; background: var(--_surface); cursor: pointer; }
button:hover:not(:disabled) { border-color: var(--_accent); }
button:disabled { opacity: .45; cursor: default; }
button[aria-pressed="true"] { border-color: var(--_accent); box-shadow: inset 0 0 0 1px var(--_accent); }
.run { background: var(--_accent); border-color: var(--_accent); color: light-dark(#fff, #14151b); font-weight: 600; }
:focus-visible { outline: 3px solid var(--_accent); outline-offset: 2px; }
.toolbar, .candidates, .history, .fields { display: flex; flex-wrap: wrap; gap: .45rem; margin-top: .6rem; align-items: center; }
.toolbar label { display: flex; gap: .35rem; align-items: center; min-height: 24px; font-size: .9rem; }
.toolbar input[type="checkbox"] { width: 24px; height: 24px; accent-color: var(--_accent); }
.fields label { display: grid; font-size: .8rem; flex: 1 1 5rem; }
.fields input { font-size: 1rem; }
.candidate, .node { padding: 3px; min-height: 0; }
.candidate canvas, .node canvas { width: 3.6rem; height: 3.6rem; object-fit: contain; image-rendering: pixelated; }
progress { display: block; width: 100%; height: .4rem; margin: .1rem 0 -.5rem; accent-color: var(--_accent); }
.status { margin: .6rem 0 0; font-size: .92rem; min-height: 1.4em; }
.error { margin: .6rem 0 0; padding: .55rem .8rem; border-radius: 9px; background: light-dark(#fff2d6, #3a2f12); color: light-dark(#5a3d00, #ffdf9a); overflow-wrap: anywhere; }
::slotted([slot="poster"]) { max-width: 100%; }
@media (pointer: coarse) { button, .toolbar label, .handle, input:not([type]), input[type="text"], input[type="number"] { min-height: 44px; }
  .region, .region .corner, .plan-box .corner { min-width: 44px; min-height: 44px; } .plan-box .corner { background: linear-gradient(135deg, transparent 78%, var(--_accent) 78%); } }
@media (forced-colors: active) { .region, .plan-box { border-color: Highlight; } button[aria-pressed="true"] { border-color: Highlight; } .run { border: 2px solid ButtonText; background: ButtonFace; color: ButtonText; }
  .plan-box span, .error { background: Canvas; color: CanvasText; } }
@media (prefers-reduced-motion: no-preference) { button { transition: border-color .15s; } }
`;

/** @type {CSSStyleSheet | null} */
let sheet = null;

/** The shared sheet. */
export function styles() {
  if (!sheet) {
    sheet = new CSSStyleSheet();
    sheet.replaceSync(CSS);
  }
  return sheet;
}
