// @ts-check
/** Registers `<earl-editor>`; importing this is all a page needs. */
import { EarlEditor } from "./element.js";

if (typeof customElements !== "undefined" && !customElements.get("earl-editor")) customElements.define("earl-editor", EarlEditor);

export { EarlEditor };
