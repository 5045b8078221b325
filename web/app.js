// @ts-check
/**
 * The page: what is on the stage, what was typed, what came back. Start at `App.start`.
 * @typedef {import("./types").SceneState} SceneState
 * @typedef {import("./types").PlanStep} PlanStep
 * @typedef {import("./archive.js").Entry & { rgba: Uint8ClampedArray<ArrayBuffer>, scene: SceneState | null, png: Uint8Array<ArrayBuffer> | null,
 *   edit: import("./view.js").Told & { instruction: string, tokens: string[], before: Uint8ClampedArray<ArrayBuffer>, settings: Settings } | null }} Picture
 * @typedef {{ mode: import("./types").Mode, seed: number, temperature: number, candidates: number, plan?: PlanStep[] }} Settings
 */
import { Composer } from "./composer.js";
import { EarlError, createEditor } from "./api.js";
import { Archive, LIMITS, identity, treeName } from "./archive.js";
import { toldBy } from "./download.js";
import { SETTINGS, compared, exampleOf } from "./examples.js";
import { installWorker, listenToStorage } from "./install.js";
import { WARM } from "./options.js";
import { planBoxes, withBoxAt } from "./plan.js";
import { Refused, fit, pngOf } from "./picture.js";
import { percent } from "./result.js";
import { samples, sceneOf } from "./samples.js";
import { Drawings, SIDE, carryOut, randomScene, suggestions } from "./scene.js";
import { Stage, element, facts, listenForDrops } from "./view.js";

/** A generous guess of an edit's tokens, for the progress bar. @type {Record<string, number>} */
const TOKENS = { local: 40, full: 66, think: 80 };

class App {
  #stage = new Stage();
  #form = element("form", HTMLFormElement);
  #instruction = element("instruction", HTMLInputElement);
  #progress = element("progress", HTMLProgressElement);
  #notice = element("notice", HTMLParagraphElement);
  #status = element("status", HTMLParagraphElement);
  /** @type {Picture[]} */ #history = [];
  #at = -1;
  /** @type {AbortController | null} */ #running = null;
  #broken = false;
  #lastInstruction = "";

  /** @param {Drawings} drawings @param {Archive<Picture>} archive @param {import("./archive.js").Tree<Picture>} stored */
  constructor(drawings, archive, stored) {
    this.drawings = drawings;
    this.archive = archive;
    this.editor = this.#connect();
    this.composer = new Composer(drawings, {
      scene: () => this.#picture?.scene ?? null,
      change: (scene) => this.#setScene(scene),
      boxes: (boxes) => this.#stage.boxes(boxes),
      busy: () => this.#running !== null,
      say: (text) => this.#say(text),
    });
    this.#listen();
    this.#listenToStorage();
    this.#showSamples();
    this.#restore(stored);
    void this.#repeat(location.hash);
  }

  static async start() {
    /** @type {Archive<Picture>} */
    const archive = new Archive(treeName("page"));
    const [drawings, stored] = await Promise.all([Drawings.load(new URL("./assets/", import.meta.url)), archive.load()]);
    return new App(drawings, archive, stored);
  }

  /** The picture on the stage. */
  get #picture() {
    return this.#history[this.#at] ?? null;
  }

  #connect() {
    const select = element("backend", HTMLSelectElement);
    const asked = new URLSearchParams(location.search).get("backend");
    if (asked && !select.dataset["read"]) select.value = asked;
    select.dataset["read"] = "yes";
    const backend = /** @type {import("./types").Backend} */ (select.value || "auto");
    const ended = new AbortController();
    const opening = createEditor({
      model: new URL("models/tiny/", document.baseURI),
      backend,
      signal: ended.signal,
      ...toldBy((text) => ended.signal.aborted || (this.#status.textContent = text)),
    });
    this.#status.classList.remove("ready");
    this.info = undefined;
    this.#broken = false;
    opening.then(({ info }) => this.#ready(info), (error) => {
      if (ended.signal.aborted) return;
      this.#broken = true;
      this.#failed(error);
    });
    return { opening, end: () => (ended.abort(), opening.then((editor) => editor.destroy(), () => undefined)) };
  }

  /** @param {import("./types").ModelInfo} info */
  #ready(info) {
    this.info = info;
    const runs = info.backend === "webgpu" ? "WebGPU" : "CPU";
    this.#status.textContent = `Ready on the ${runs} · model ${info.name} ${info.modelHash.slice(0, 8)}${info.reason ? ` · ${info.reason}` : ""}`;
    this.#status.classList.add("ready");
    this.#status.dataset["backend"] = info.backend;
    element("vocabulary", HTMLDivElement).textContent =
      `Short English sentences about these ${info.names.length} drawings (${info.names.join(", ")}), the colours ${info.tints.join(", ")}, ` +
      `and the backgrounds ${info.backgrounds.join(", ")}: add, remove, replace, recolour, move, resize, count, swap, change the background. ` +
      `It knows ${info.words.length} words; others are refused, never guessed.`;
  }

  #listen() {
    const on = (/** @type {string} */ id, /** @type {() => void} */ act) => document.getElementById(id)?.addEventListener("click", act);
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#run(this.#instruction.value);
    });
    on("stop", () => this.#running?.abort());
    on("undo", () => this.#go(this.#at - 1));
    on("redo", () => this.#go(this.#at + 1));
    on("again", () => this.#again());
    on("save", () => this.#save());
    on("plan", () => this.#stage.toggleBoxes());
    document.addEventListener("keydown", (event) => this.#shortcut(event));
    on("random", () => this.#push({ scene: randomScene(this.drawings.world) }));
    on("clear", () => this.#push({ scene: { background: "white", objects: [] } }));
    on("open", () => element("file", HTMLInputElement).click());
    element("file", HTMLInputElement).addEventListener("change", (event) => {
      const input = /** @type {HTMLInputElement} */ (event.currentTarget);
      if (input.files?.[0]) this.#open(input.files[0]);
      input.value = "";
    });
    element("backend", HTMLSelectElement).addEventListener("change", () => {
      this.editor.end();
      this.editor = this.#connect();
    });
    element("gallery", HTMLUListElement).addEventListener("click", (event) => this.#follow(event));
    document.addEventListener("paste", (event) => {
      const file = [...(event.clipboardData?.files ?? [])][0];
      if (file) this.#open(file);
    });
    listenForDrops((file) => this.#open(file));
  }

  #listenToStorage() {
    listenToStorage((keep) => (keep ? this.#keep() : this.archive.forget()));
    this.archive.failed = () => {
      element("keep", HTMLInputElement).checked = false;
      this.#say("Pictures can't be stored or deleted here; what is shown lasts as long as this page.");
    };
  }

  /** What is stored comes back, as the visitor left it. @param {import("./archive.js").Tree<Picture>} stored */
  #restore({ entries, place }) {
    if (entries.length === 0) return;
    element("keep", HTMLInputElement).checked = true;
    this.#history = entries;
    this.#go(Math.max(0, entries.findIndex(({ id }) => id === place.at)));
  }

  /** Stores the pictures if the visitor wants it. */
  #keep() {
    if (element("keep", HTMLInputElement).checked) this.archive.keep(this.#history, { at: this.#picture?.id ?? null });
  }

  /** Undo and redo as everywhere else, except where text is typed. @param {KeyboardEvent} event */
  #shortcut(event) {
    const typing = event.target instanceof HTMLInputElement && ["text", "search", "number"].includes(event.target.type);
    if (typing || !(event.ctrlKey || event.metaKey)) return;
    const key = event.key.toLowerCase();
    if (key === "z") this.#go(this.#at + (event.shiftKey ? 1 : -1));
    else if (key === "y") this.#go(this.#at + 1);
    else return;
    event.preventDefault();
  }

  #showSamples() {
    const all = samples(this.drawings.world);
    element("samples", HTMLDivElement).replaceChildren(...all.map(({ title, scene }) => {
      const button = document.createElement("button");
      button.type = "button";
      button.title = title;
      button.setAttribute("aria-label", `Sample: ${title}`);
      const canvas = document.createElement("canvas");
      canvas.width = canvas.height = SIDE;
      const context = canvas.getContext("2d");
      if (context) this.drawings.paint(context, scene);
      button.append(canvas);
      button.addEventListener("click", () => this.#push({ scene }));
      return button;
    }));
    if (all[0]) this.#push({ scene: all[0].scene });
  }

  /** A composed scene takes the place of the one on the stage. @param {SceneState} scene */
  #setScene(scene) {
    this.#push({ scene });
  }

  /** Puts a picture on the stage and into the history. @param {Partial<Picture>} picture */
  #push(picture) {
    if (this.#running) return;
    if (picture.scene && !picture.rgba) {
      this.drawings.paint(this.#stage.context, picture.scene);
      picture.rgba = this.#stage.pixels();
    }
    if (!picture.rgba) return;
    const whole = { scene: null, png: null, edit: null, ...picture, rgba: picture.rgba, ...identity(), parent: null, bytes: 3 * picture.rgba.length };
    this.#history = [...this.#history.slice(0, this.#at + 1), whole].slice(-LIMITS.nodes);
    this.#go(this.#history.length - 1);
  }

  /** @param {number} at */
  #go(at) {
    const picture = this.#history[at];
    if (!picture || this.#running) return;
    this.#at = at;
    this.#say("");
    this.composer?.refresh();
    if (picture.edit) this.#stage.showEdit(picture.edit.before, picture.rgba);
    else this.#stage.show(picture.rgba);
    this.#stage.boxes(picture.edit ? planBoxes(picture.edit.plan) : [], (step, place) => void this.#replan(step, place));
    this.#stage.tokens(picture.edit?.tokens ?? []);
    element("result", HTMLDivElement).replaceChildren(...(picture.edit ? facts(picture.edit) : []));
    this.#suggest(picture);
    element("undo", HTMLButtonElement).disabled = at === 0;
    element("redo", HTMLButtonElement).disabled = at + 1 >= this.#history.length;
    element("again", HTMLButtonElement).disabled = picture.edit === null;
    this.#keep();
  }

  /** @param {Picture} picture */
  #suggest(picture) {
    element("suggestions", HTMLUListElement).replaceChildren(...suggestions(this.drawings.world, picture.scene).map((text) => {
      const item = document.createElement("li");
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = text;
      button.addEventListener("click", () => {
        this.#instruction.value = text;
        this.#run(text);
      });
      item.append(button);
      return item;
    }));
  }

  /** @param {File} file */
  async #open(file) {
    if (this.#running) return;
    try {
      const fitted = await fit(file);
      this.#push({ rgba: fitted.rgba });
      this.#say(fitted.note);
    } catch (error) {
      const why = error instanceof Refused ? `: it ${error.message}` : "";
      this.#say(`“${file.name}” can't be opened${why}. Open a PNG, JPEG or WebP picture.`);
    }
  }

  #again() {
    const seed = element("seed", HTMLInputElement);
    const temperature = element("temperature", HTMLInputElement);
    seed.value = String((Number(seed.value) + 1) % 4294967296);
    if (Number(temperature.value) === 0) temperature.value = String(WARM);
    const instruction = this.#picture?.edit?.instruction ?? this.#lastInstruction;
    this.#go(this.#at - 1);
    this.#run(instruction);
  }

  /** The same edit with one box of its plan elsewhere. @param {number} step @param {import("./plan.js").Place} place */
  async #replan(step, place) {
    const edit = this.#picture?.edit;
    if (!edit || this.#running) return;
    this.#go(this.#at - 1);
    const run = this.#run(edit.instruction, { ...edit.settings, plan: withBoxAt(edit.plan, step, place) });
    element("stop", HTMLButtonElement).focus();
    await run;
    this.#stage.focusBox(step);
  }

  /** A link of the gallery, which stays in the address bar. @param {MouseEvent} event */
  #follow(event) {
    const link = event.target instanceof Element ? event.target.closest("a") : null;
    if (!link || link.hash === "" || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    history.replaceState(null, "", link.hash);
    element("stage", HTMLDivElement).focus();
    void this.#repeat(link.hash);
  }

  /** Makes an edit of the gallery again, and says whether it comes out as shown. @param {string} fragment */
  async #repeat(fragment) {
    try {
      const example = await exampleOf(fragment);
      if (!example || this.#running) return;
      for (const [id, value] of Object.entries(SETTINGS)) /** @type {HTMLInputElement} */ (document.getElementById(id)).value = String(value);
      this.#instruction.value = example.instruction;
      this.#push({ scene: sceneOf(this.drawings.world, example) });
      const result = await this.#run(example.instruction);
      const edit = this.#picture?.edit;
      if (!result || !edit) return;
      edit.compared = await compared(example, result);
      if (this.#picture?.edit === edit) element("result", HTMLDivElement).replaceChildren(...facts(edit));
    } catch (error) {
      this.#failed(error);
    }
  }

  /** What the settings say. @returns {Settings} */
  #settings() {
    const candidates = Number(element("candidates", HTMLSelectElement).value);
    return {
      mode: /** @type {import("./types").Mode} */ (element("mode", HTMLSelectElement).value),
      seed: Number(element("seed", HTMLInputElement).value) || 0,
      temperature: Number(element("temperature", HTMLInputElement).value) || (candidates > 1 ? WARM : 0),
      candidates,
    };
  }

  /** @param {string} instruction @param {Settings} [settings] */
  async #run(instruction, settings = this.#settings()) {
    const picture = this.#picture;
    if (!picture || this.#running) return;
    const running = new AbortController();
    this.#running = running;
    if (this.#broken) this.editor = this.#connect(); // whoever presses the button again wants to try again
    this.#lastInstruction = instruction;
    this.#busy(true);
    this.#say("");
    this.composer.refresh();
    this.#stage.show(picture.rgba);
    this.#stage.boxes([]);
    /** @type {string[]} */
    const tokens = [];
    try {
      const editor = await this.editor.opening;
      running.signal.throwIfAborted();
      const result = await editor.edit({
        image: new ImageData(picture.rgba, SIDE, SIDE), instruction, ...settings,
        signal: running.signal, paint: "final", // the tokens' own cells are painted
        onToken: (token) => {
          this.#status.textContent = `Token ${token.index + 1}: ${token.label}`;
          if (token.candidate > 0) return;
          this.#progress.value = Math.min(0.97, (token.index + 1) / (TOKENS[settings.mode] ?? 40));
          tokens.push(token.label);
          this.#stage.token(token);
          this.#stage.paint(token.previews);
        },
      });
      const png = new Uint8Array(await result.image.arrayBuffer());
      this.#finish(picture, instruction, settings, tokens, result, png);
      return result;
    } catch (error) {
      this.#finishEmpty(picture);
      if (!running.signal.aborted) this.#failed(error);
      else this.#say("Stopped. The picture is as it was.");
    }
  }

  /** @param {Picture} picture @param {string} instruction @param {Settings} settings @param {string[]} tokens @param {import("./types").EditResult} result @param {Uint8Array<ArrayBuffer>} png */
  #finish(picture, instruction, settings, tokens, result, png) {
    this.#running = null;
    this.#busy(false);
    const { outside } = result;
    const kept = outside.pixels === 0 ? "The whole picture belongs to the edit"
      : `${outside.changed} of ${outside.pixels.toLocaleString("en")} pixels outside the edit changed`;
    const runs = this.info?.backend === "webgpu" ? "WebGPU" : "the CPU";
    const best = result.verdict === undefined ? "" : `; best of ${settings.candidates}, right with ${percent(result.verdict)} as the model sees it`;
    this.#push({
      rgba: result.canvas.edited,
      scene: picture.scene && carryOut(this.drawings.world, picture.scene, result.plan),
      png,
      edit: { instruction, settings, plan: result.plan, before: result.canvas.source, tokens, summary: kept, kept: outside.changed === 0,
        cost: `${result.stats.tokens} tokens in ${Math.round(result.stats.milliseconds).toLocaleString("en")} ms on ${runs}, in this tab${best}` },
    });
    const notes = result.notes.length > 0 ? `The picture was ${result.notes.join("; ")}.` : "";
    const doubt = result.doubt === "" ? "" : sentenceOf(result.doubt);
    this.#say(`${notes} ${doubt}`.trim());
  }

  /** @param {Picture} picture */
  #finishEmpty(picture) {
    this.#running = null;
    this.#busy(false);
    this.#stage.show(picture.rgba);
  }

  /** @param {boolean} on */
  #busy(on) {
    element("run", HTMLButtonElement).disabled = on;
    element("stop", HTMLButtonElement).hidden = !on;
    this.#progress.hidden = !on;
    this.#progress.value = 0;
    this.#status.setAttribute("aria-live", on ? "off" : "polite"); // not a word for every token
    if (on) this.#stage.tokens([]);
    if (!on && this.info) this.#ready(this.info);
  }

  /** @param {unknown} error */
  #failed(error) {
    if (error instanceof EarlError) {
      this.#say(`${sentenceOf(error.message)} ${sentenceOf(error.hint)}`);
      if (!this.info) this.#status.textContent = "The model could not be loaded";
    } else this.#say("Something went wrong. Reload the page and try again.");
  }

  /** @param {string} text */
  #say(text) {
    this.#notice.textContent = text;
    this.#notice.hidden = text === "";
  }

  async #save() {
    const picture = this.#picture;
    if (!picture) return;
    const bytes = picture.png ?? new Uint8Array(await (await pngOf(picture.rgba)).arrayBuffer());
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([bytes], { type: "image/png" }));
    link.download = "earl.png";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }
}

/** A message as a sentence. @param {string} text */
const sentenceOf = (text) => text.slice(0, 1).toUpperCase() + text.slice(1) + (/[.?!]$/.test(text) ? "" : ".");

installWorker();
await App.start();
