/** What crosses between page, worker and WebAssembly. Rust: `crates/web/src/messages.rs`. */
export type Backend = "auto" | "cpu" | "webgpu";
export type Mode = "local" | "full" | "think";
export interface Problem { code: string; message: string; hint: string; word?: string; near?: string[] }
export interface PlanStep {
  verb: "see" | "erase" | "draw" | "background";
  name: string; tint: string | null; row: number; col: number; cells: number;
}
export interface Token {
  index: number; label: string; cell: [number, number] | null;
  previews: { row: number; col: number; rgb: number[] }[];
}
export interface Info {
  backend: "cpu" | "webgpu"; modelHash: string; name: string; canvas: number;
  names: string[]; tintable: boolean[]; tints: string[]; backgrounds: string[]; words: string[];
  reason: string | null;
}
export interface EditOptions { instruction: string; mode?: Mode; seed?: number; temperature?: number }
export interface Edited {
  width: number; height: number; notes: string[]; doubt: string; plan: PlanStep[];
  outside: { pixels: number; changed: number };
  tokens: number; forwards: number; milliseconds: number; recipe: string;
  png: Uint8Array<ArrayBuffer>; source: Uint8ClampedArray<ArrayBuffer>; edited: Uint8ClampedArray<ArrayBuffer>;
}
export type ToWorker =
  | { type: "load"; id: number; model: string; backend: Backend }
  | { type: "edit"; id: number; file: Uint8Array; options: Required<EditOptions> }
  | { type: "stop"; id: number };
export type FromWorker =
  | { type: "progress"; id: number; loaded: number; total: number; what: string }
  | { type: "ready"; id: number; info: Info }
  | { type: "token"; id: number; token: Token }
  | { type: "done"; id: number; result: Edited }
  | { type: "error"; id: number; problem: Problem };

export interface WorldObject { class: number; tint: string | null; row: number; col: number; cells: number }
export interface SceneState { background: string; objects: WorldObject[] }
export interface World {
  classes: { name: string; article: string; plural: string; group: string; tintable: boolean }[];
  backgrounds: Record<string, [number, number, number]>;
  tints: string[];
}
