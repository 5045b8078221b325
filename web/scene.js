// @ts-check
/**
 * Scenes on the page: what stands where, drawn from the sprite sheet exactly as the model learnt it.
 * An object takes 2, 3 or 4 whole cells of the 8×8 grid; objects never overlap.
 * @typedef {import("./types").World} World
 * @typedef {import("./types").SceneState} SceneState
 * @typedef {import("./types").WorldObject} WorldObject
 * @typedef {import("./types").PlanStep} PlanStep
 */

export const GRID = 8;
export const CELL = 8;
export const SIDE = GRID * CELL;
const COLUMNS = 10;
const SLOT = { width: 72, height: 32 };
/** Pixels of the largest drawing, the last in its slot. */
const LARGE = SLOT.height;
/** Where the drawing of so many cells starts in its slot. @type {Record<number, number>} */
const OFFSET = { 2: 0, 3: 16, 4: 40 };

/** The drawings and names, loaded once. */
export class Drawings {
  /** @param {World} world @param {ImageBitmap} sheet @param {string} address the sheet's, for styles */
  constructor(world, sheet, address) {
    this.world = world;
    this.sheet = sheet;
    this.address = address;
    this.tintable = world.classes.map((known, at) => (known.tintable ? at : -1)).filter((at) => at >= 0);
  }

  /** @param {URL} base */
  static async load(base) {
    const fetched = await Promise.all([fetch(new URL("world.json", base)), fetch(new URL("sprites.png", base))]);
    const missing = fetched.find((response) => !response.ok);
    if (missing) throw new Error(`${new URL(missing.url).pathname} answered ${missing.status}`);
    const file = await fetched[1].blob();
    const sheet = await createImageBitmap(file, { colorSpaceConversion: "none" });
    return new Drawings(await fetched[0].json(), sheet, URL.createObjectURL(file));
  }

  /** Draws an object's sprite at pixels. @param {CanvasRenderingContext2D} context @param {WorldObject} object @param {number} x @param {number} y */
  draw(context, object, x, y) {
    const tint = object.tint === null ? -1 : this.world.tints.indexOf(object.tint);
    const natural = tint < 0 || !this.world.classes[object.class]?.tintable;
    const at = natural ? object.class : this.world.classes.length + this.tintable.indexOf(object.class) * this.world.tints.length + tint;
    const [left, top] = slotOf(at);
    const side = object.cells * CELL;
    context.drawImage(this.sheet, left + (OFFSET[object.cells] ?? 0), top, side, side, x, y, side, side);
  }

  /** Shows a class's drawing as the ground of a square: a canvas each for so many costs every frame its time. @param {HTMLElement} square @param {number} drawing */
  show(square, drawing) {
    const [left, top] = slotOf(drawing);
    const { width, height } = this.sheet;
    const part = (/** @type {number} */ start, /** @type {number} */ whole) => `${(100 * start) / (whole - LARGE)}%`;
    square.style.backgroundImage = `url(${this.address})`;
    square.style.backgroundSize = `${(100 * width) / LARGE}% ${(100 * height) / LARGE}%`;
    square.style.backgroundPosition = `${part(left + SLOT.width - LARGE, width)} ${part(top, height)}`;
  }

  /** Draws a whole scene. @param {CanvasRenderingContext2D} context @param {SceneState} scene */
  paint(context, scene) {
    context.fillStyle = this.colour(scene.background);
    context.fillRect(0, 0, SIDE, SIDE);
    for (const object of scene.objects) this.draw(context, object, object.col * CELL, object.row * CELL);
  }

  /** @param {string} background */
  colour(background) {
    const [red, green, blue] = this.world.backgrounds[background] ?? [245, 245, 245];
    return `rgb(${red} ${green} ${blue})`;
  }

  /** @param {WorldObject} object */
  nameOf(object) {
    return (object.tint ? `${object.tint} ` : "") + (this.world.classes[object.class]?.name ?? "");
  }
}

/** Left and top of a drawing's slot on the sheet, in pixels. @param {number} at @returns {[number, number]} */
const slotOf = (at) => [(at % COLUMNS) * SLOT.width, Math.floor(at / COLUMNS) * SLOT.height];

/** @param {WorldObject} a @param {WorldObject} b */
const overlap = (a, b) =>
  a.row < b.row + b.cells && b.row < a.row + a.cells && a.col < b.col + b.cells && b.col < a.col + a.cells;

/** May the object stand there? @param {SceneState} scene @param {WorldObject} object @param {WorldObject | null} except */
export const fits = (scene, object, except) =>
  object.row >= 0 && object.col >= 0 && object.row + object.cells <= GRID && object.col + object.cells <= GRID &&
  scene.objects.every((other) => other === except || !overlap(other, object));

/** The free place nearest to (row, col), or null. @param {SceneState} scene @param {WorldObject} object @param {WorldObject | null} except */
export function nearest(scene, object, except = null) {
  let best = null;
  let distance = Infinity;
  for (let row = 0; row + object.cells <= GRID; row++) {
    for (let col = 0; col + object.cells <= GRID; col++) {
      const moved = { ...object, row, col };
      const away = (row - object.row) ** 2 + (col - object.col) ** 2;
      if (away < distance && fits(scene, moved, except)) {
        best = moved;
        distance = away;
      }
    }
  }
  return best;
}

/** The scene after a plan; null if the plan does not fit it. @param {World} world @param {SceneState} scene @param {PlanStep[]} plan @returns {SceneState | null} */
export function carryOut(world, scene, plan) {
  let background = scene.background;
  let objects = [...scene.objects];
  for (const step of plan) {
    if (step.verb === "background") background = step.name;
    if (step.verb === "erase") {
      const left = objects.filter((o) => o.row !== step.row || o.col !== step.col || o.cells !== step.cells);
      if (left.length === objects.length) return null;
      objects = left;
    }
    if (step.verb === "draw") {
      const known = world.classes.findIndex((one) => one.name === step.name);
      if (known < 0) return null;
      objects = [...objects, { class: known, tint: step.tint, row: step.row, col: step.col, cells: step.cells }];
    }
  }
  return { background, objects };
}

/** A scene by chance: background, two or three objects. @param {World} world @returns {SceneState} */
export function randomScene(world) {
  const pick = (/** @type {number} */ n) => Math.floor(Math.random() * n);
  const names = Object.keys(world.backgrounds);
  /** @type {SceneState} */
  const scene = { background: names[pick(names.length)] ?? "white", objects: [] };
  const wanted = 2 + pick(2);
  for (let tries = 0; tries < 30 && scene.objects.length < wanted; tries++) {
    const cells = [2, 3, 3, 4][pick(4)] ?? 3;
    const object = { class: pick(world.classes.length), tint: null, row: pick(GRID - cells + 1), col: pick(GRID - cells + 1), cells };
    if (fits(scene, object, null) && scene.objects.every((other) => other.class !== object.class)) scene.objects.push(object);
  }
  return scene;
}

/** Sentences that make sense for a scene. @param {World} world @param {SceneState | null} scene @returns {string[]} */
export function suggestions(world, scene) {
  const pick = (/** @type {any[]} */ from) => from[Math.floor(Math.random() * from.length)];
  const colour = pick(Object.keys(world.backgrounds).filter((name) => name !== scene?.background));
  if (!scene || scene.objects.length === 0) return ["add a cat", "add a large sun at the top right", `make the background ${colour}`];
  const name = (/** @type {WorldObject} */ object) => world.classes[object.class]?.name ?? "";
  const single = scene.objects.filter((object) => scene.objects.filter((other) => other.class === object.class).length === 1);
  const absent = world.classes.filter((one) => scene.objects.every((object) => name(object) !== one.name));
  const fresh = pick(absent);
  const some = [`make the background ${colour}`];
  if (single.length === 0) return some;
  const [one, two, three] = [pick(single), pick(single), pick(single)];
  some.unshift(`remove the ${name(one)}`, `replace the ${name(two)} with ${fresh.article} ${fresh.name}`);
  const tinted = single.find((object) => world.classes[object.class]?.tintable);
  if (tinted) some.push(`make the ${name(tinted)} ${pick(world.tints.filter((tint) => tint !== tinted.tint))}`);
  some.push(`move the ${name(three)} to the bottom left`);
  const [first, second] = single;
  if (first && second) some.push(`swap the ${name(first)} and the ${name(second)}`);
  return some;
}
