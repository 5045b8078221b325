// @ts-check
/**
 * Composing a scene: a palette to drag from, objects to move, sizes, colours, background.
 * The composer owns no picture: it asks `host` for the scene and hands changed ones back.
 * @typedef {import("./types").SceneState} SceneState
 * @typedef {import("./types").WorldObject} WorldObject
 * @typedef {import("./scene.js").Drawings} Drawings
 * @typedef {{ scene: () => SceneState | null, change: (scene: SceneState) => void,
 *   boxes: (boxes: { row: number, col: number, cells: number, kind: string, label: string }[]) => void,
 *   busy: () => boolean, say: (text: string) => void }} Host
 */
import { SIZES } from "./plan.js";
import { GRID, fits, nearest } from "./scene.js";
import { element } from "./view.js";

/** The palette and the object under the hand. */
export class Composer {
  #stage = element("stage", HTMLDivElement);
  #tools = element("object-tools", HTMLDivElement);
  /** @type {WorldObject | null} */ #chosen = null;
  #held = false;

  /** @param {Drawings} drawings @param {Host} host */
  constructor(drawings, host) {
    this.drawings = drawings;
    this.host = host;
    this.#palette();
    this.#swatches();
    this.#stage.addEventListener("pointerdown", (event) => this.#grab(event));
    // A finger on an object moves it; anywhere else it scrolls the page.
    this.#stage.addEventListener("touchstart", (event) => this.#held && event.preventDefault(), { passive: false });
    this.#stage.addEventListener("keydown", (event) => this.#key(event));
    for (const button of this.#tools.querySelectorAll("[data-cells]")) {
      button.addEventListener("click", () => this.#resize(Number(button.getAttribute("data-cells"))));
    }
    element("delete", HTMLButtonElement).addEventListener("click", () => this.#remove());
  }

  /** Forgets the chosen object: the scene has changed by itself. */
  refresh() {
    this.#choose(null);
  }

  #palette() {
    const palette = element("palette", HTMLDivElement);
    const search = element("search", HTMLInputElement);
    const buttons = this.drawings.world.classes.map(({ name, group }, at) => {
      const button = document.createElement("button");
      button.type = "button";
      button.title = name;
      button.setAttribute("aria-label", `Add: ${name}`);
      button.dataset["find"] = `${name} ${group}`;
      const picture = document.createElement("span");
      this.drawings.show(picture, at);
      button.append(picture);
      button.addEventListener("click", () => this.#add(at));
      button.addEventListener("pointerdown", (event) => this.#dragNew(event, at));
      return button;
    });
    palette.replaceChildren(...buttons);
    search.addEventListener("input", () => {
      const wanted = search.value.trim().toLowerCase();
      for (const button of buttons) button.hidden = !(button.dataset["find"] ?? "").includes(wanted);
    });
  }

  #swatches() {
    const { world } = this.drawings;
    const swatch = (/** @type {string} */ name, /** @type {string} */ colour, /** @type {() => void} */ act) => {
      const button = document.createElement("button");
      button.type = "button";
      button.title = name;
      button.setAttribute("aria-label", name);
      button.style.background = colour;
      button.addEventListener("click", act);
      return button;
    };
    element("backgrounds", HTMLDivElement).replaceChildren(...Object.keys(world.backgrounds).map((name) =>
      swatch(`${name} background`, this.drawings.colour(name), () => this.#edit((scene) => ({ ...scene, background: name })))));
    const hues = { red: "#e5484d", orange: "#f08c2e", yellow: "#f0c92e", green: "#3fae5a", blue: "#3b7de0", purple: "#8a5bd6" };
    element("tints", HTMLDivElement).replaceChildren(
      swatch("natural colour", "conic-gradient(#e5484d, #f0c92e, #3fae5a, #3b7de0, #e5484d)", () => this.#tint(null)),
      ...world.tints.map((name) => swatch(name, hues[/** @type {keyof typeof hues} */ (name)] ?? name, () => this.#tint(name))));
  }

  /** @param {(scene: SceneState) => SceneState} change */
  #edit(change) {
    if (this.host.busy()) return;
    const scene = this.host.scene();
    if (!scene) {
      this.host.say("This picture was not composed here. Choose a sample or an empty scene to compose.");
      return;
    }
    const next = change(scene);
    const chosen = this.#chosen; // the host forgets it when the scene changes
    if (next !== scene) this.host.change(next);
    this.#choose(chosen);
  }

  /** Replaces the chosen object, if the new one fits. @param {Partial<WorldObject>} change */
  #replace(change) {
    const old = this.#chosen;
    if (!old) return;
    this.#edit((scene) => {
      const wanted = { ...old, ...change };
      wanted.row = Math.min(wanted.row, GRID - wanted.cells);
      wanted.col = Math.min(wanted.col, GRID - wanted.cells);
      const next = fits(scene, wanted, old) ? wanted : nearest(scene, wanted, old);
      if (!next) {
        this.host.say("There is no room for that.");
        return scene;
      }
      this.#chosen = next;
      return { ...scene, objects: scene.objects.map((object) => (object === old ? next : object)) };
    });
  }

  /** @param {number} cells */
  #resize(cells) {
    this.#replace({ cells });
  }

  /** @param {string | null} tint */
  #tint(tint) {
    this.#replace({ tint });
  }

  #remove() {
    const old = this.#chosen;
    this.#chosen = null;
    this.#edit((scene) => ({ ...scene, objects: scene.objects.filter((object) => object !== old) }));
  }

  /** Adds a drawing where there is room. @param {number} drawing @param {{ row: number, col: number }} [near] */
  #add(drawing, near = { row: 3, col: 3 }) {
    this.#edit((scene) => {
      const made = [3, 2].map((cells) => nearest(scene, { class: drawing, tint: null, cells, ...near })).find(Boolean);
      if (!made) {
        this.host.say("There is no room for another drawing.");
        return scene;
      }
      this.#chosen = made;
      return { ...scene, objects: [...scene.objects, made] };
    });
  }

  /** Row and column under a pointer, in cells and parts of cells. @param {PointerEvent} event */
  #at(event) {
    const frame = this.#stage.getBoundingClientRect();
    return { row: ((event.clientY - frame.top) / frame.height) * GRID, col: ((event.clientX - frame.left) / frame.width) * GRID };
  }

  /** @param {PointerEvent} event @param {number} drawing */
  #dragNew(event, drawing) {
    const button = event.currentTarget;
    if (!(button instanceof HTMLElement) || event.button !== 0) return;
    const start = { x: event.clientX, y: event.clientY };
    button.setPointerCapture(event.pointerId);
    const ghost = this.#ghost(drawing);
    const move = (/** @type {PointerEvent} */ at) => {
      if (Math.hypot(at.clientX - start.x, at.clientY - start.y) > 6 && !ghost.isConnected) document.body.append(ghost);
      Object.assign(ghost.style, { left: `${at.clientX - 40}px`, top: `${at.clientY - 40}px` });
    };
    const end = (/** @type {PointerEvent} */ at) => {
      button.removeEventListener("pointermove", move);
      const dragged = ghost.isConnected;
      ghost.remove();
      const { row, col } = this.#at(at);
      if (!dragged || at.type === "pointercancel") return;
      button.addEventListener("click", (click) => click.stopImmediatePropagation(), { once: true, capture: true });
      setTimeout(() => button.blur());
      if (row >= 0 && col >= 0 && row < GRID && col < GRID) this.#add(drawing, { row: Math.round(row - 1.5), col: Math.round(col - 1.5) });
    };
    button.addEventListener("pointermove", move);
    button.addEventListener("pointerup", end, { once: true });
    button.addEventListener("pointercancel", end, { once: true });
  }

  /** @param {number} drawing */
  #ghost(drawing) {
    const ghost = document.createElement("canvas");
    ghost.width = ghost.height = 32;
    Object.assign(ghost.style, { position: "fixed", width: "80px", height: "80px", pointerEvents: "none", zIndex: "10", imageRendering: "pixelated" });
    const context = ghost.getContext("2d");
    if (context) this.drawings.draw(context, { class: drawing, tint: null, row: 0, col: 0, cells: 4 }, 0, 0);
    return ghost;
  }

  /** Takes the object under the pointer and moves it. @param {PointerEvent} event */
  #grab(event) {
    const scene = this.host.scene();
    if (!scene || this.host.busy() || event.button !== 0) return;
    const from = this.#at(event);
    const inside = (/** @type {WorldObject} */ o) =>
      from.row >= o.row && from.col >= o.col && from.row < o.row + o.cells && from.col < o.col + o.cells;
    const object = scene.objects.find(inside) ?? null;
    this.#choose(object);
    this.#held = object !== null;
    if (!object) return;
    this.#stage.setPointerCapture(event.pointerId);
    let target = object;
    const move = (/** @type {PointerEvent} */ at) => {
      const to = this.#at(at);
      const limit = (/** @type {number} */ cell) => Math.max(0, Math.min(GRID - object.cells, cell));
      target = { ...object, row: limit(Math.round(object.row + to.row - from.row)), col: limit(Math.round(object.col + to.col - from.col)) };
      this.#outline(target, fits(scene, target, object));
    };
    const end = (/** @type {PointerEvent} */ at) => {
      this.#stage.removeEventListener("pointermove", move);
      this.#held = false;
      const moved = target.row !== object.row || target.col !== object.col;
      if (at.type === "pointerup" && moved && fits(scene, target, object)) this.#replace({ row: target.row, col: target.col });
      else this.#choose(object);
    };
    this.#stage.addEventListener("pointermove", move);
    this.#stage.addEventListener("pointerup", end, { once: true });
    this.#stage.addEventListener("pointercancel", end, { once: true });
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const scene = this.host.scene();
    if (!scene || this.host.busy()) return;
    const object = this.#chosen;
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (event.key === "Enter" || event.key === " ") {
      const at = object ? scene.objects.indexOf(object) : -1;
      this.#choose(scene.objects[(at + 1) % Math.max(1, scene.objects.length)] ?? null);
    } else if (object && step) {
      const moved = { ...object, row: object.row + (step[0] ?? 0), col: object.col + (step[1] ?? 0) };
      if (fits(scene, moved, object)) this.#replace({ row: moved.row, col: moved.col });
    } else if (object && (event.key === "Delete" || event.key === "Backspace")) this.#remove();
    else if (object && (event.key === "+" || event.key === "-")) {
      const next = SIZES[SIZES.findIndex((cells) => cells === object.cells) + (event.key === "+" ? 1 : -1)];
      if (next) this.#resize(next);
    } else if (event.key === "Escape") this.#choose(null);
    else return;
    event.preventDefault();
  }

  /** @param {WorldObject | null} object */
  #choose(object) {
    const had = this.#chosen !== null;
    this.#chosen = object;
    this.#tools.hidden = !object;
    if (object) this.#outline(object, true);
    else if (had) this.host.boxes([]);
    if (!object) return;
    element("object-name", HTMLSpanElement).textContent = this.drawings.nameOf(object);
    element("tints", HTMLDivElement).hidden = !this.drawings.world.classes[object.class]?.tintable;
    for (const button of this.#tools.querySelectorAll("[data-cells]")) {
      button.setAttribute("aria-pressed", String(Number(button.getAttribute("data-cells")) === object.cells));
    }
  }

  /** @param {WorldObject} object @param {boolean} free */
  #outline({ row, col, cells }, free) {
    this.host.boxes([{ row, col, cells, kind: free ? "chosen" : "bad", label: "" }]);
  }
}
