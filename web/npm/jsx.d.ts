/** `<earl-editor>` in JSX: `import type {} from "earl-editor/jsx"`. */
import type { EarlEditor } from "./element/element.js";

type Settable = "src" | "alt" | "instruction" | "model" | "modelHash" | "backend" | "seed" | "candidates" | "rank" | "lock" | "region" | "reveal"
  | "poster" | "recipe" | "maps" | "history" | "name" | "required" | "disabled" | "readOnly" | "image";
type Happening = "before-download" | "before-save" | "ready" | "progress" | "plan" | "token" | "paint" | "candidate" | "edit" | "stop" | "error" | "statechange";
export type EarlEditorAttributes = { [K in Settable]?: EarlEditor[K] | undefined }
  & { [K in `onearl-${Happening}`]?: ((event: CustomEvent) => void) | undefined }
  & { id?: string; class?: string; className?: string; style?: unknown; children?: unknown; ref?: unknown; key?: string | number };

declare module "react" {
  namespace JSX {
    interface IntrinsicElements { "earl-editor": EarlEditorAttributes }
  }
}
declare module "preact" {
  namespace JSX {
    interface IntrinsicElements { "earl-editor": EarlEditorAttributes }
  }
}
