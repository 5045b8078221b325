// @ts-check
/**
 * Scenes to start from, by name of drawing.
 * @typedef {import("./types").World} World
 * @typedef {import("./types").SceneState} SceneState
 * @typedef {{ background: string, objects: [name: string, row: number, col: number, cells: number, tint?: string][] }} Written
 */

/** @type {(Written & { title: string })[]} */
const SAMPLES = [
  { title: "A cat, a ball and an apple", background: "blue", objects: [["cat", 3, 0, 4], ["apple", 1, 5, 2], ["football", 5, 5, 3]] },
  { title: "A rocket and the moon", background: "black", objects: [["rocket", 1, 1, 4], ["moon", 0, 6, 2], ["star", 5, 5, 3]] },
  { title: "A picnic", background: "green", objects: [["watermelon", 4, 0, 4], ["bread", 0, 1, 3], ["butterfly", 1, 5, 2], ["pizza", 5, 5, 3]] },
  { title: "By the sea", background: "yellow", objects: [["crab", 4, 4, 3], ["sun", 0, 0, 3], ["umbrella", 1, 4, 3]] },
  { title: "A birthday", background: "pink", objects: [["cake", 3, 2, 4], ["balloon", 0, 0, 3], ["gift", 1, 6, 2]] },
  { title: "Two houses", background: "purple", objects: [["house", 4, 0, 3], ["house", 4, 5, 3], ["tree", 0, 3, 3]] },
  { title: "A farm", background: "orange", objects: [["tractor", 3, 0, 4], ["pig", 1, 5, 3], ["carrot", 5, 5, 2]] },
  { title: "Shirts", background: "grey", objects: [["shirt", 0, 0, 4, "blue"], ["shirt", 4, 4, 4, "red"], ["hat", 1, 5, 2]] },
];

/** A scene, less the drawings that don't exist. @param {World} world @param {Written} written @returns {SceneState} */
export const sceneOf = (world, { background, objects }) => ({
  background,
  objects: objects.flatMap(([name, row, col, cells, tint]) => {
    const at = world.classes.findIndex((one) => one.name === name);
    return at < 0 ? [] : [{ class: at, tint: tint && world.classes[at]?.tintable ? tint : null, row, col, cells }];
  }),
});

/** The samples' scenes. @param {World} world @returns {{ title: string, scene: SceneState }[]} */
export const samples = (world) => SAMPLES.map(({ title, ...written }) => ({ title, scene: sceneOf(world, written) }));
