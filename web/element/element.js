// @ts-check
/**
 * `<earl-editor>`: a picture, a sentence, an edit. Registering is `define.js`'s business.
 *
 *   idle → downloading → ready ⇄ running → stopped | ready | error
 *
 * @typedef {import("../types").Rect} Rect
 * @typedef {import("../types").EditResult} EditResult
 * @typedef {import("../types").Recipe} Recipe
 */
import { EarlError, fromFragment, fromPng, toFragment, withoutText } from "../api.js";
import { treeName } from "../archive.js";
import { failure } from "../errors.js";
import { withBoxAt } from "../plan.js";
import { ATTRIBUTES, upgrade } from "./attributes.js";
import { FormElement, recalled } from "./form.js";
import { showCandidates, showHistory } from "./gallery.js";
import { History } from "./history.js";
import { listen, whenSeen } from "./listeners.js";
import { Loader } from "./loader.js";
import { RegionBox, rectText } from "./region.js";
import { createOptions, editOptions } from "./requests.js";
import { prepare } from "./shown.js";
import { download, openPicture, pngOf } from "./source.js";
import { TEXTS, sentence } from "./texts.js";
import { View } from "./view.js";

/** @typedef {"idle" | "downloading" | "ready" | "running" | "stopped" | "error"} State */

/** The element. */
export class EarlEditor extends FormElement {
  static observedAttributes = Object.keys(ATTRIBUTES);
  /** Every word the element says. */
  static texts = { ...TEXTS };

  #view = new View(this.attachShadow({ mode: "open", delegatesFocus: true }), EarlEditor.texts);
  #history = new History();
  #region = new RegionBox(this.#view, (text) => (this.region = text));
  #loader = new Loader({
    options: () => ({
      ...createOptions(this),
      confirm: (bytes) => this.#tell("before-download", { bytes: bytes.missing, cached: bytes.stored, url: bytes.url }, true),
    }),
    starts: () => this.#setState("downloading"),
    ready: (editor) => {
      this.#setState("ready");
      this.#tell("ready", { info: editor.info });
    },
    failed: (error) => this.#failed(error),
    progress: (event) => this.#progress(event),
  });
  /** @type {AbortController} */ #life = new AbortController();
  /** @type {{ stream: import("../api.js").EditStream, abort: AbortController } | null} */ #running = null;
  /** @type {import("../types").Checkpoint | null} */ #checkpoint = null;
  /** @type {State} */ #state = "idle";
  /** @type {import("../types").ImageInput | null} */ #image = null;
  #opening = 0;
  /** @type {Promise<void>} */ #opened = Promise.resolve();

  constructor() {
    super();
    this.#listen();
    this.#setState("idle");
  }

  /** One of `idle downloading ready running stopped error`. */
  get state() {
    return this.#state;
  }

  /** The picture: anything `edit()` takes. Setting it takes the place of `src`. */
  get image() {
    return this.#image;
  }

  set image(image) {
    this.#give(image, this.#image === null);
  }

  /** @param {import("../types").ImageInput | null} image @param {boolean} first */
  #give(image, first) {
    this.#image = image;
    if (image !== null) this.#opened = this.#open(image, { first }).catch((error) => this.#failed(error));
  }

  /** The last edit. @returns {EditResult | null} */
  get result() {
    return this.#history.current?.result ?? null;
  }

  connectedCallback() {
    if (this.#life.signal.aborted) this.#life = new AbortController();
    upgrade(this);
    this.rememberValue(this.#life.signal);
    this.#keepHistory();
    this.#refresh();
    this.validate(EarlEditor.texts.required, this.#view.instruction);
    if (this.reveal === "" || this.reveal === "auto") whenSeen(this, this.#life.signal, () => void this.#loader.get().catch(() => undefined));
  }

  disconnectedCallback() {
    // A move in the document connects again at once.
    queueMicrotask(() => !this.isConnected && this.#close());
  }

  /** @param {string} name @param {string | null} old @param {string | null} value */
  attributeChangedCallback(name, old, value) {
    if (old === value) return;
    if (name === "src" && value) this.image = value;
    if (name === "poster") {
      this.#view.poster.hidden = !value || this.#history.current !== null;
      if (value) this.#view.poster.src = value;
    }
    if (name === "instruction" && this.#view.instruction.value !== value) this.#view.instruction.value = value ?? "";
    if (name === "alt" && this.#history.current) this.#view.after.setAttribute("aria-label", value || EarlEditor.texts.picture);
    if (name === "region") this.#showRegion();
    if (name === "recipe" && value) this.#recipeAttribute(value);
    if (["model", "model-hash", "backend"].includes(name)) this.#dropEditor();
    if (name === "history" && this.isConnected) this.#keepHistory();
    if (name === "required") this.validate(EarlEditor.texts.required, this.#view.instruction);
    this.#refresh();
  }

  formResetCallback() {
    this.reset();
  }

  /** @param {boolean} disabled by a fieldset or its own attribute */
  formDisabledCallback(disabled) {
    if (disabled) this.#running?.abort.abort(failure("E_STATE", "the editor was disabled"));
    this.#refresh(disabled);
  }

  /** @param {File | string | FormData | null} state what `setValue` gave the browser to remember */
  formStateRestoreCallback(state) {
    const image = recalled(state);
    if (image) this.#opened = this.#open(image, { edited: true }).catch((error) => this.#failed(error));
  }

  /** Edits the picture on the stage, once it is open. @returns {Promise<EditResult>} */
  async run() {
    await this.#opened;
    return this.#edit(null);
  }

  /** Ends the edit in progress at its next token; its checkpoint. @returns {Promise<import("../types").Checkpoint | null>} */
  async stop() {
    return this.#running ? this.#running.stream.stop() : null;
  }

  /** Goes on with a stopped edit. @returns {Promise<EditResult>} */
  async continue() {
    if (!this.#checkpoint) throw failure("E_STATE", "no edit was stopped", { hint: "call `run()`" });
    return this.#edit(this.#checkpoint);
  }

  undo() {
    this.#goTo(this.#history.undo());
  }

  redo() {
    this.#goTo(this.#history.redo());
  }

  /** Forgets all edits, the stored ones too, and shows the picture as it came, or the first that is left of its line. */
  reset() {
    this.#running?.abort.abort(failure("E_STATE", "the editor was reset"));
    const { root } = this.#history;
    this.#history.clear();
    this.#checkpoint = null;
    if (root) this.#history.begin({ ...root, recipe: null, result: null, label: EarlEditor.texts.original }, root.id);
    this.#goTo(this.#history.current);
    if (this.#state !== "downloading") this.#setState(this.#loader.isThere ? "ready" : "idle");
  }

  /** The picture on the stage as a file. @param {string} [type] @returns {Promise<Blob | null>} */
  async toBlob(type = "image/png") {
    const node = this.#history.current;
    if (!node) return null;
    return type === "image/png" && node.image.type === type ? node.image : pngOf(node.data, type);
  }

  /** Hands the picture over as a download. @param {{ recipe?: boolean }} [options] @returns {Promise<Blob | null>} null if a listener forbade it */
  async save({ recipe = this.#view.withRecipe.checked } = {}) {
    let blob = await this.toBlob();
    if (!blob) return null;
    if (!recipe) blob = new Blob([withoutText(new Uint8Array(await blob.arrayBuffer()))], { type: "image/png" });
    if (!this.#tell("before-save", { image: blob }, true)) return null;
    download(blob, "earl.png");
    return blob;
  }

  /** Of the picture on the stage; null if it is no edit. @returns {Recipe | null} */
  getRecipe() {
    return this.#history.current?.recipe ?? null;
  }

  /** Takes instruction and settings from a recipe; the picture must be the one it was made from. @param {Recipe} recipe */
  setRecipe(recipe) {
    const checked = fromFragment(toFragment(recipe));
    if (!checked) throw failure("E_RECIPE_MISMATCH", "this is no recipe");
    this.instruction = checked.instruction;
    this.seed = BigInt(checked.seed);
    this.lock = checked.lock;
    this.candidates = 1;
    if (Array.isArray(checked.region) && checked.region[0]) this.region = rectText(checked.region[0]);
    else this.removeAttribute("region");
    this.#wanted = checked;
  }

  /** A recipe that is to be followed by the next edit. @type {Recipe | null} */
  #wanted = null;

  /** @param {string} text */
  #recipeAttribute(text) {
    try {
      const recipe = fromFragment(text.startsWith("r=") ? text : `r=${text}`);
      if (recipe) this.setRecipe(recipe);
    } catch (error) {
      this.#failed(error);
    }
  }

  #listen() {
    listen(this, this.#view, {
      run: () => this.run(), stop: () => this.stop(), goOn: () => this.continue(), undo: () => this.undo(), redo: () => this.redo(),
      save: () => this.save(), clear: () => this.reset(), region: () => this.#region.toggle(), take: (file) => this.#take(file),
      dice: () => {
        this.seed = crypto.getRandomValues(new Uint32Array(1))[0] ?? 0;
        return this.run();
      },
      typed: (text) => this.setAttribute("instruction", text),
      touched: () => void (this.reveal === "interaction" && this.#loader.get().catch(() => undefined)),
    });
  }

  /** A file a person hands over. @param {File} file */
  #take(file) {
    if (!this.#locked) this.#give(file, false);
  }

  get #locked() {
    return this.disabled || this.readOnly || this.#running !== null || this.matches(":disabled");
  }

  /**
   * A picture comes onto the stage: the first of the page, an edit that a form remembers, or another.
   * @param {import("../types").ImageInput} input @param {{ first?: boolean, edited?: boolean }} kind
   */
  async #open(input, { first = false, edited = false }) {
    const turn = ++this.#opening;
    const { data, file } = await openPicture(input, this.#life.signal);
    if (turn !== this.#opening) return; // a later picture came first
    const recipe = fromPng(new Uint8Array(await file.arrayBuffer()));
    const shown = await this.#history.open({ image: file, data, recipe: edited ? recipe : null, result: null, label: EarlEditor.texts.original }, first);
    this.#checkpoint = null;
    this.#goTo(this.#history.current);
    if (!shown || !recipe || edited) return;
    this.setRecipe(recipe);
    this.#wanted = null; // the picture at hand is the result, not what the recipe starts from
    this.#view.say("restored", { instruction: recipe.instruction });
  }

  /** @param {import("../types").DownloadProgressEvent} event */
  #progress({ loaded, detail }) {
    if (this.#state === "downloading") this.#view.downloading(loaded);
    this.#tell("progress", { phase: "download", done: detail.bytesLoaded, total: detail.bytesTotal });
  }

  /** @param {import("../types").Checkpoint | null} resume @returns {Promise<EditResult>} */
  async #edit(resume) {
    if (this.#running) throw failure("E_STATE", "an edit is running", { hint: "wait for it, or call `stop()`" });
    const from = this.#history.current;
    const abort = new AbortController();
    try {
      if (this.disabled || this.readOnly || this.matches(":disabled")) throw failure("E_STATE", "the editor is disabled", { hint: "remove `disabled` and `readonly`" });
      if (!from) throw failure("E_OPTION", "there is no picture to edit", { hint: "set `src`, or open a picture" });
      const editor = await this.#loader.get();
      this.#life.signal.throwIfAborted();
      const signal = AbortSignal.any([abort.signal, this.#life.signal]);
      const stream = editor.stream({ image: from.image, signal, maps: this.maps, ...editOptions(this, resume, this.#wanted) });
      this.#running = { stream, abort };
      this.#checkpoint = null;
      this.#setState("running");
      this.#view.show(from.data, null, this.alt);
      this.#view.boxes(null, null);
      for await (const event of stream) {
        if (event.type === "candidate") await prepare(event.candidate.data); // the result is one of them
        this.#hear(event);
      }
      const result = await stream.result;
      signal.throwIfAborted();
      this.#finish(from, result);
      return result;
    } catch (error) {
      this.#running = null;
      this.#goTo(this.#history.current);
      this.#failed(error);
      throw error;
    }
  }

  /** The edit on the stage once more, with one box of its plan elsewhere. @param {number} step @param {import("../plan.js").Place} place */
  async #replan(step, place) {
    const { current: node, canUndo } = this.#history;
    if (!node?.recipe || !node.result || !canUndo || this.#locked) return;
    this.#wanted = { ...node.recipe, plan: withBoxAt(node.result.plan, step, place) };
    this.#view.holdFocus();
    this.#goTo(this.#history.undo());
    await this.#edit(null).catch(() => (this.#wanted = null)); // the element shows what went wrong
    this.#view.focusBox(step);
  }

  /** @param {import("../types").EditEvent} event */
  #hear(event) {
    if (event.type === "token") this.#tell("token", { token: event.token });
    else if (event.type === "plan") this.#tell("plan", { plan: event.plan });
    else if (event.type === "candidate") this.#tell("candidate", { candidate: event.candidate });
    else if (event.type === "stopped") {
      this.#checkpoint = event.checkpoint;
      this.#tell("stop", { checkpoint: event.checkpoint });
    } else if (event.type === "paint") {
      this.#view.paint(event.rect, event.bitmap);
      this.#tell("paint", { rect: event.rect });
    }
  }

  /** @param {import("./history.js").Node} from @param {EditResult} result */
  #finish(from, result) {
    this.#running = null;
    this.#wanted = null;
    if (this.#checkpoint) {
      this.#setState("stopped");
      this.#view.show(result.data, from.data, this.alt);
      return;
    }
    this.#history.add({ image: result.image, data: result.data, recipe: result.recipe, result, label: result.recipe.instruction });
    this.#setState("ready");
    this.#goTo(this.#history.current);
    this.#tell("edit", { image: result.image, result, seed: result.recipe.seed });
    const { pixels, changed } = result.outside;
    const doubts = [result.doubt, ...result.notes].filter(Boolean).join("; ");
    this.#view.say(pixels === 0 ? "whole" : "done", { pixels: pixels.toLocaleString("en"), changed });
    this.#view.fault(doubts);
  }

  /** @param {import("./history.js").Node | null} node */
  #goTo(node) {
    this.#view.fault("");
    if (node) {
      const { result } = node;
      this.#view.show(node.data, this.#history.before(node), this.alt);
      this.#view.boxes(result, this.#history.canUndo ? (step, place) => void this.#replan(step, place) : null);
      this.#setValue(node.recipe ? node.image : null);
    }
    this.#showHistory();
    showCandidates(this.#view, node, (candidate) => this.#choose(candidate));
    this.#showRegion();
    this.#refresh();
  }

  /** Another candidate of the edit on the stage takes its place. @param {import("../types").Candidate} candidate */
  #choose(candidate) {
    const node = this.#history.current;
    if (!node?.result || this.#running) return;
    const { image, data, recipe, plan, outside, tokens } = candidate;
    const result = { ...node.result, image, data, recipe, plan, outside, tokens };
    this.#history.replace(node, { image, data, recipe, result });
    this.#goTo(node);
    this.#tell("edit", { image, result, seed: recipe.seed });
  }

  /** With `history="on"` the browser keeps the tree; once switched off it does not, and what it kept is deleted. */
  #keepHistory() {
    this.#showHistory();
    if (this.getAttribute("history") !== "on") return this.#history.unkeep();
    const kept = this.#history.keep(treeName(this.id), () => this.#view.say("unkept"));
    const back = kept?.then((found) => found && !this.#running && this.#goTo(this.#history.current));
    this.#opened = Promise.all([this.#opened, back]).then(() => undefined);
  }

  #showHistory() {
    showHistory(this.#view, this.#history, this.getAttribute("history") === "on", (id) => this.#running || this.#goTo(this.#history.go(id)));
  }

  #showRegion() {
    this.#region.show(this.region, this.#history.current?.data ?? null);
  }

  /** @param {Blob | null} image */
  #setValue(image) {
    this.setValue(image);
    this.validate(EarlEditor.texts.required, this.#view.instruction);
  }

  /** @param {boolean} [disabled] */
  #refresh(disabled = this.disabled || (this.isConnected && this.matches(":disabled"))) {
    const history = this.#history;
    this.#view.enable({
      disabled, closed: disabled || this.readOnly, running: this.#running !== null, stopped: this.#checkpoint !== null,
      picture: history.current !== null, undo: history.canUndo, redo: history.canRedo,
    });
    this.#view.heat(this.maps ? this.result?.maps ?? null : null);
  }

  /** @param {unknown} error */
  #failed(error) {
    if (this.#life.signal.aborted) return;
    const known = error instanceof EarlError;
    this.#setState("error");
    this.#view.status.textContent = ""; // the error says it
    this.#view.fault(known ? `${sentence(error.message)} ${sentence(error.hint)}` : sentence(String(error instanceof Error ? error.message : error)));
    this.#tell("error", known ? { code: error.code, message: error.message, hint: error.hint, error } : { code: "", message: String(error), hint: "", error });
  }

  /** @param {State} state */
  #setState(state) {
    const old = this.#state;
    this.#state = state;
    this.showState(state, old);
    this.#view.progress.hidden = state !== "downloading";
    if (["idle", "ready", "running", "stopped"].includes(state)) this.#view.say(/** @type {"idle"} */ (state));
    this.#refresh();
    if (old !== state) this.#tell("statechange", { state, old });
  }

  /** @param {string} name @param {object} detail @param {boolean} [cancelable] */
  #tell(name, detail, cancelable = false) {
    return this.dispatchEvent(new CustomEvent(`earl-${name}`, { bubbles: true, composed: true, cancelable, detail }));
  }

  /** @param {EarlError} [reason] */
  #dropEditor(reason = failure("E_DESTROYED", "the model or backend was changed")) {
    this.#running?.abort.abort(reason);
    this.#loader.drop(reason);
    if (["downloading", "ready"].includes(this.#state)) this.#setState("idle");
  }

  /** Out of the document: aborts, lets go of the editor; back in, it starts anew. */
  #close() {
    const reason = failure("E_DESTROYED", "the element left the page");
    this.#life.abort(reason);
    this.#history.release();
    this.#dropEditor(reason);
    this.#setState("idle");
  }
}
