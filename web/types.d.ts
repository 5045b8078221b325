/**
 * The editor's types: what a page calls, and what crosses between page, worker and WebAssembly.
 * Rust's side of the last: `crates/web/src/messages.rs`. Published models are those of tier `full`.
 */
export type Backend = "auto" | "cpu" | "webgpu";
export type Mode = "local" | "full" | "think";
export type Storage = "auto" | "cache" | "opfs" | "memory";
export type Availability = "unavailable" | "downloadable" | "downloading" | "available";
export type Lock = "hard" | "soft" | "none";
export type Rank = "verifier" | "likelihood" | "none";
export type Determinism = "reference" | "guarded" | "device";

/** Which model, and where it may run and lie. */
export interface ModelOptions {
  /** Folder of `manifest.json`; default: `../models/tiny/` beside the script's folder. */
  model?: string | URL | undefined;
  /** SHA-256 of the manifest that is asked for, hex. */
  modelHash?: string | undefined;
  backend?: Backend | undefined;
  /** `auto` and `memory` go on in memory where there is no room; `cache` and `opfs` are `E_QUOTA` then. */
  storage?: Storage | undefined;
}
export interface CreateOptions extends ModelOptions {
  signal?: AbortSignal | undefined;
  /** Ask the browser to keep the stored model; call it after a click. */
  persist?: boolean | undefined;
  workerUrl?: string | URL | undefined;
  /** Most workers on the CPU, each with the model, for edits with several candidates: 1 to 4, as memory allows; default: a core fewer than there are. Changes the time, not the tokens. */
  workers?: number | undefined;
  maxMemoryBytes?: number | undefined;
  /** On WebGPU, where the model's known answers allow it: `guarded` (the default) has the CPU make close choices again, so that tokens are the CPU's; `device` leaves all to the device. */
  determinism?: "guarded" | "device" | undefined;
  /** Gets an event target that fires `downloadprogress`. */
  monitor?: ((monitor: EventTarget) => void) | undefined;
  /** Asked once before the first byte of weights is fetched; `false` declines. */
  confirm?: ((bytes: { missing: number; stored: number; url: string }) => boolean) | undefined;
}
export interface Capabilities {
  availability: Availability; backends: ("webgpu" | "cpu")[]; reasons: string[];
  bytesTotal: number; bytesCached: number; memoryBytes: number; tier: string; modelHash: string;
}
export interface DownloadDetail { status: "progress_total"; bytesLoaded: number; bytesTotal: number; bytesFromCache: number; files: number }
/** `downloadprogress`: `loaded` in 0..1 of `total` 1. */
export interface DownloadProgressEvent extends Event { readonly loaded: number; readonly total: 1; readonly detail: DownloadDetail }

export type ImageInput = Blob | ImageBitmap | ImageData | HTMLImageElement | HTMLCanvasElement | OffscreenCanvas | string | URL;
export interface Rect { x: number; y: number; width: number; height: number }
/** Rectangles in the picture's pixels, or a mask of its size (alpha ≥ 128 is inside). */
export type Region = Rect | Rect[] | ImageData | Blob;

export interface EditOptions {
  image: ImageInput;
  /** Not needed with `resume` or `recipe`. */
  instruction?: string | undefined;
  region?: Region | undefined;
  /** `hard` if a region is given. */
  lock?: Lock | undefined;
  /** Should a locked region draw the edit to itself, too? Default true; a published model's `local` always draws in it. */
  steer?: boolean | undefined;
  /** Default `local`; of a published model `local` with a region and `full` without. */
  mode?: Mode | undefined;
  /** `off` has no plan and no reasoning written: mode `full`, or a published model's `local`. Default `auto`: as `mode` says. */
  reasoning?: "auto" | "off" | undefined;
  seed?: number | bigint | undefined;
  /** 0 takes the likeliest token; default 0, and 0.7 with several candidates. */
  temperature?: number | undefined;
  /** At a temperature above 0, draw among this many of the likeliest tokens alone; default all, of a published model 2,048. */
  topK?: number | undefined;
  /** 1 to 16, of a published model 1; candidate k runs with the seed `seed + k`. */
  candidates?: number | undefined;
  /** What says which candidate is best: default the model's own verifier where it has one, else likelihood. `verifier` asks it for one candidate, too. */
  rank?: Rank | undefined;
  /** `row` sends rows as they are finished. */
  paint?: "row" | "final" | undefined;
  maps?: boolean | undefined;
  /** The plan to carry out, as a result gives it (modes `local` and `think`); the model writes the codes alone. */
  plan?: Plan | undefined;
  /** Most codes of the source that are read ahead as a draft: 0 to 64, default 32. Changes the passes, not the tokens. */
  ahead?: number | undefined;
  /** About how many pixels a published model draws: 256 to 1,048,576, default 65,536. */
  area?: number | undefined;
  resume?: Checkpoint | undefined;
  /** Does again what a recipe says; picture and model must be those it was made with. */
  recipe?: Recipe | undefined;
  signal?: AbortSignal | undefined;
  onToken?: ((token: TokenInfo) => void) | undefined;
}
export interface TokenInfo {
  index: number; id: number; label: string;
  /** Cell of the canvas it is about, if any. */
  row: number | null; col: number | null;
  /** The source's code at that cell, if the token is a code. */
  sourceId: number | null;
  /** Was it read ahead, as the source's own code, and right? */
  accepted: boolean;
  /** In nats, at temperature 1; 0 without a choice. */
  entropy: number; logProb: number;
  forced: boolean;
  /** Of several candidates; those of different ones may come in between. */
  candidate: number;
  previews: CellPreview[];
}
export interface CellPreview { row: number; col: number; rgb: number[] }
/** A finished row of cells, and where in the picture it lies. */
export interface Paint { rect: Rect; bitmap: ImageBitmap }
export interface PlanStep {
  verb: "see" | "erase" | "draw" | "background";
  name: string; tint: string | null; row: number; col: number; cells: number;
}
export type Plan = PlanStep[];
export interface Recipe {
  v: 1; model: string; image: string; instruction: string; mode: Mode; seed: number | string; temperature: number;
  candidate: number; lock: Lock; region: Rect[] | "mask" | null; determinism: Determinism;
  /** Only if it was given, not the model's own. */
  plan?: Plan;
  /** Only of a published model. */
  area?: number;
  /** Only if the region draws the edit to itself. */
  steer?: boolean;
  /** Only if it was given. */
  topK?: number;
}
/** A stopped edit, plain JSON: no pixels. Of a published model it holds no tokens, and going on begins anew. */
export interface Checkpoint { recipe: Recipe; tokens: number[] }
export interface Outside { pixels: number; changed: number }
/** `score` is what `rank` orders by: how likely it is right (0 to 1), or its log-probability. */
export interface Candidate { index: number; seed: number | string; score: number; image: Blob; data: ImageData; recipe: Recipe; outside: Outside; plan: Plan; tokens: number[] }
/** One value a cell, row by row; NaN and 0 where no code was generated. */
export interface Maps { rows: number; cols: number; entropy: Float32Array; changed: Uint8Array; accepted: Uint8Array; forced: Uint8Array }
/** What edits asked of WebGPU; all 0 on the CPU. */
export interface DeviceWork { dispatches: number; submits: number; readBacks: number; bytesReadBack: number }
export interface Stats extends DeviceWork { edits: number; tokens: number; forwards: number; milliseconds: number; bytesFromCache: number; bytesLoaded: number;
  /** Started so far. */
  workers: number;
  /** Tokens a device chose narrowly and the CPU chose again. */
  guarded: number }
export interface EditResult {
  /** PNG of the picture's own size, the recipe inside. */
  image: Blob;
  data: ImageData;
  candidates: Candidate[];
  plan: Plan;
  recipe: Recipe;
  maps?: Maps;
  /** Counted over the finished pixels, and again over the encoded file. */
  outside: Outside;
  determinism: Determinism;
  backend: "webgpu" | "cpu";
  /** What was done to the picture, such as scaling. */
  notes: string[];
  /** What the plan speaks of and the picture does not seem to show. */
  doubt: string;
  /** How likely the edit is right, 0 to 1, if the model's own verifier was asked. */
  verdict?: number;
  /** Of a published model the codes of the picture it drew. */
  tokens: number[];
  /** What a published model said first, in mode `think`. */
  reasoning?: string | undefined;
  /** What the model saw and made, on its own canvas; `side` is 0 if that has no fixed size. */
  canvas: { side: number; patch: number; width: number; height: number; source: Uint8ClampedArray<ArrayBuffer>; edited: Uint8ClampedArray<ArrayBuffer> };
  /** `logProb` is NaN of a published model. */
  stats: { tokens: number; forwards: number; milliseconds: number; logProb: number };
}
export type EditEvent =
  | { type: "plan"; plan: Plan }
  | { type: "token"; token: TokenInfo }
  /** A published model has written another code, in place of `token`. */
  | { type: "code"; done: number; total: number }
  /** Of the first candidate. */
  | ({ type: "paint" } & Paint)
  | { type: "candidate"; candidate: Candidate }
  | { type: "stopped"; checkpoint: Checkpoint; result: EditResult }
  | { type: "done"; result: EditResult };
export interface Check { name: string; ok: boolean; detail: string }
export interface SelfTest {
  ok: boolean; backend: "webgpu" | "cpu"; checks: Check[];
  /** Largest difference of a choice's margin from the CPU's, in logits, over the known answers asked for; null if the model tells none. */
  offBy: number | null;
}

/** What the module says of itself and its model; a published one has no fixed canvas (0) and no lists. */
export interface ModuleInfo {
  backend: "cpu" | "webgpu"; modelHash: string; name: string; canvas: number; patch: number;
  names: string[]; tintable: boolean[]; tints: string[]; backgrounds: string[]; words: string[];
}
export interface ModelInfo extends ModuleInfo { tier: string; licence: string; url: string; reason: string | null; notices: string[] }

/** An error as plain data. */
export interface Problem {
  code: string; message: string; hint: string; retryable?: boolean | undefined; detail?: Record<string, unknown> | undefined;
  word?: string | undefined; near?: string[] | undefined;
}

/* Weights. */
export type Chunks = (Uint8Array<ArrayBuffer> | Blob)[];
export interface Chunk { sha256: string; offset: number; length: number }
export interface Manifest {
  format: "EARLW"; version: 1; size: number; chunks: Chunk[];
  model: { name: string; tier: string; licence: string };
  tensors: { name: string; dtype: "f32" | "f16" | "q8" | "q4" | "t2"; shape: number[]; offset: number; length: number }[];
}
export interface Store {
  kind: "cache" | "opfs" | "memory";
  get(hash: string, name: string): Promise<Uint8Array<ArrayBuffer> | null>;
  /** The same as a file that takes no memory; `null` where the store has none. */
  blob(hash: string, name: string): Promise<Blob | null>;
  has(hash: string, name: string): Promise<boolean>;
  put(hash: string, name: string, bytes: Uint8Array<ArrayBuffer>): Promise<void>;
  delete(hash: string, name: string): Promise<void>;
}

/* Page ↔ worker. */
export interface Pixels { width: number; height: number; rgba: Uint8ClampedArray<ArrayBuffer> }
export type Picture = { file: Uint8Array<ArrayBuffer> } | Pixels;
export interface RunOptions {
  instruction: string; mode: Mode; seed: string; temperature: number; topK: number | null; lock: Lock; candidates: number; rank: Rank;
  paint: "row" | "final"; region: Region | null; decided: number[]; candidate: number;
  /** Does the region draw the edit to itself? */
  steer: boolean;
  /** If so, the cells of the canvas that may change, row by row: the worker finds them. */
  within?: boolean[] | null;
  /** Is the model's verifier asked? The worker tells it from `rank`. */
  verify?: boolean;
  /** Given, not the model's own. */
  plan: Plan | null;
  ahead: number;
  /** 0 unless the model is a published one. */
  area: number;
  /** Were some of the decided tokens chosen on WebGPU? */
  onDevice: boolean;
  /** Margin in logits below which the CPU makes a device's choice again; 0 never. */
  guard: number;
  /** Model and image a checkpoint was made with; others are refused. */
  expect: { model: string; image: string } | null;
}
/** One candidate as the worker hands it over. */
export interface Ran {
  seed: string; plan: Plan; program: number[]; notes: string[]; doubt: string; outside: Outside; image: string;
  tokens: number; forwards: number; milliseconds: number; logProb: number; verdict: number | undefined; width: number; height: number; rects: Rect[] | "mask" | null;
  /** Made in the worker, as copying it takes time. */
  png: Blob; rgba: Uint8ClampedArray<ArrayBuffer>; source: Uint8ClampedArray<ArrayBuffer>; edited: Uint8ClampedArray<ArrayBuffer>;
  stopped: boolean; recipe: Recipe;
  /** Choices made again by the CPU. */
  guarded: number;
  /** Added where it is handed over. */
  device?: DeviceWork | undefined;
  /** Of a published model. */
  canvas?: { width: number; height: number } | undefined; reasoning?: string | undefined;
}
export type ToWorker =
  | { type: "start"; id: number; use: "cpu" | "webgpu"; full: boolean }
  | { type: "load"; id: number; manifest: Uint8Array; chunks: Chunks }
  | { type: "edit"; id: number; picture: Picture; options: RunOptions }
  | { type: "test"; id: number; brief: boolean }
  | { type: "stop"; id: number };
export type FromWorker =
  | { type: "begin"; id: number; recipe: Recipe }
  /** With the rows it has finished: a token is one message. */
  | { type: "token"; id: number; token: TokenInfo; paints: Paint[] }
  | { type: "code"; id: number; done: number; total: number }
  | { type: "ran"; id: number; ran: Ran }
  | { type: "done"; id: number; value: unknown }
  | { type: "error"; id: number; problem: Problem };

/* What WebAssembly returns. */
export interface WasmToken {
  index: number; id: number; sourceId: number | undefined; logProb: number; entropy: number; margin: number; forced: boolean; accepted: boolean;
  label: string; cell: [number, number] | undefined; previews: CellPreview[];
}
/** An edit whose outcome the manifest tells; `sure` ones must come out alike on every device. */
export interface WasmKnown { instruction: string; mode: Mode; temperature: number; sure: boolean }
export interface WasmAgrees { tokens: boolean; pixels: boolean; exact: boolean; offBy: number | undefined }
export interface WasmEdited {
  notes: string[]; doubt: string; plan: PlanStep[]; outside: Outside; putBack: boolean; tokens: number; forwards: number; logProb: number; verdict: number | undefined;
  milliseconds: number; program: number[]; source: Uint8ClampedArray<ArrayBuffer>; edited: Uint8ClampedArray<ArrayBuffer>;
}
export interface WasmFullEdited {
  notes: string[]; width: number; height: number; sourceCodes: number[]; codes: number[]; reasoning: string | undefined; passes: number | undefined;
  source: Uint8ClampedArray<ArrayBuffer>; edited: Uint8ClampedArray<ArrayBuffer>; scaled: Uint8ClampedArray<ArrayBuffer>;
}

/* The page's scenes. */
export interface WorldObject { class: number; tint: string | null; row: number; col: number; cells: number }
export interface SceneState { background: string; objects: WorldObject[] }
export interface World {
  classes: { name: string; article: string; plural: string; group: string; tintable: boolean }[];
  backgrounds: Record<string, [number, number, number]>;
  tints: string[];
}
