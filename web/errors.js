// @ts-check
/**
 * Every error of the editor: few classes, stable codes, each with a hint and whether trying again can help.
 * @typedef {import("./types").Problem} Problem
 */

/** Base of all errors of the editor. */
export class EarlError extends Error {
  /** @param {Problem} problem @param {{ cause?: unknown }} [options] */
  constructor(problem, options) {
    super(problem.message, options);
    this.name = new.target.name;
    this.code = problem.code;
    this.hint = problem.hint || (KNOWN[problem.code]?.hint ?? "reload the page and try again");
    this.retryable = problem.retryable ?? KNOWN[problem.code]?.retryable ?? false;
    /** HTTP status and the like. @type {Record<string, unknown>} */
    this.detail = problem.detail ?? {};
    /** The word that was not understood, if any. */
    this.word = problem.word ?? null;
    /** Known words that look like it. */
    this.near = problem.near ?? [];
  }
}
/** The connection or the site. */
export class EarlNetworkError extends EarlError {}
/** Bytes that are not those the manifest promises. */
export class EarlIntegrityError extends EarlError {}
/** A model this version can't read. */
export class EarlFormatError extends EarlError {}
/** GPU, WebAssembly or worker. */
export class EarlDeviceError extends EarlError {}
/** Memory or storage. */
export class EarlMemoryError extends EarlError {}
/** What the caller handed over. */
export class EarlInputError extends EarlError {}
/** The editor's own state. */
export class EarlStateError extends EarlError {}

/** @type {Record<string, { kind: typeof EarlError, retryable: boolean, hint: string }>} */
const KNOWN = {
  E_HTTP: { kind: EarlNetworkError, retryable: false, hint: "check that the site was copied whole" },
  E_OFFLINE: { kind: EarlNetworkError, retryable: true, hint: "check the connection and try again" },
  E_TIMEOUT: { kind: EarlNetworkError, retryable: true, hint: "the connection is too slow or was lost; try again" },
  E_HASH_MISMATCH: { kind: EarlIntegrityError, retryable: true, hint: "the file was damaged on its way; try again, or tell the site's owner" },
  E_SIZE_MISMATCH: { kind: EarlIntegrityError, retryable: true, hint: "the file was cut on its way; try again, or tell the site's owner" },
  E_MANIFEST_MISMATCH: { kind: EarlIntegrityError, retryable: false, hint: "the site serves another model than the page asks for; update `modelHash` or the site" },
  E_FORMAT: { kind: EarlFormatError, retryable: false, hint: "export the model again with `trainer export`" },
  E_VERSION: { kind: EarlFormatError, retryable: false, hint: "update the page, or export the model again" },
  E_TENSOR_MISSING: { kind: EarlFormatError, retryable: false, hint: "export the model again with `trainer export`" },
  E_TENSOR_SHAPE: { kind: EarlFormatError, retryable: false, hint: "export the model again with `trainer export`" },
  E_NO_BACKEND: { kind: EarlDeviceError, retryable: false, hint: "choose the backend `cpu` or `auto`" },
  E_SELF_TEST: { kind: EarlDeviceError, retryable: false, hint: "choose the backend `cpu`" },
  E_DEVICE_LOST: { kind: EarlDeviceError, retryable: true, hint: "try again; the device is set up anew" },
  E_SHADER: { kind: EarlDeviceError, retryable: true, hint: "try again: the device is tested anew; with the backend `auto` the CPU edits if it fails" },
  E_WASM_TRAP: { kind: EarlDeviceError, retryable: true, hint: "try again; a new worker is started" },
  E_WORKER: { kind: EarlDeviceError, retryable: true, hint: "reload the page; the site may be incomplete" },
  E_MEMORY_LIMIT: { kind: EarlMemoryError, retryable: false, hint: "raise `maxMemoryBytes` or take a smaller model" },
  E_OUT_OF_MEMORY: { kind: EarlMemoryError, retryable: true, hint: "close other tabs, or take a smaller picture" },
  E_QUOTA: { kind: EarlMemoryError, retryable: true, hint: "free some storage, or use `storage: \"memory\"`" },
  E_IMAGE_DECODE: { kind: EarlInputError, retryable: false, hint: "open a PNG, JPEG or WebP picture" },
  E_IMAGE_TOO_LARGE: { kind: EarlInputError, retryable: false, hint: "make the picture smaller: at most 64 million pixels, and 16,384 a side" },
  E_INSTRUCTION: { kind: EarlInputError, retryable: false, hint: "write one short sentence, such as `remove the cat`" },
  E_NOT_UNDERSTOOD: { kind: EarlInputError, retryable: false, hint: "say it with other words; the model's card lists those it knows" },
  E_REGION: { kind: EarlInputError, retryable: false, hint: "give a region that covers part of the picture" },
  E_OPTION: { kind: EarlInputError, retryable: false, hint: "give the option a value in its range" },
  E_RECIPE_MISMATCH: { kind: EarlInputError, retryable: false, hint: "give the picture and the model the recipe was made with" },
  E_TAINTED: { kind: EarlInputError, retryable: false, hint: "load the picture from this site, or with CORS" },
  E_DESTROYED: { kind: EarlStateError, retryable: false, hint: "create another editor" },
  E_DOWNLOAD_DECLINED: { kind: EarlStateError, retryable: true, hint: "allow the download to use the editor" },
  E_NO_VERIFIER: { kind: EarlStateError, retryable: false, hint: "rank by `likelihood` or `none`" },
  E_STATE: { kind: EarlStateError, retryable: false, hint: "wait until the editor is ready" },
};

/** All codes, for documentation and tests. */
export const CODES = Object.keys(KNOWN);

/** The error of the class its code belongs to. @param {Problem} problem @param {unknown} [cause] @returns {EarlError} */
export function errorOf(problem, cause) {
  const Kind = KNOWN[problem.code]?.kind ?? EarlError;
  return new Kind(problem, cause === undefined ? {} : { cause });
}

/**
 * An error by its code; hint and retryability are the code's own unless given.
 * @param {string} code @param {string} message @param {Partial<Problem> & { cause?: unknown }} [more]
 */
export const failure = (code, message, { cause, ...more } = {}) => errorOf({ hint: "", ...more, code, message }, cause);

/** As plain data, to cross from worker to page. @param {EarlError} error @returns {Problem} */
export const problemOf = ({ code, message, hint, retryable, detail, word, near }) =>
  ({ code, message, hint, retryable, detail, ...(word === null ? {} : { word }), near });
