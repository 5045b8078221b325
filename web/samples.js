// @ts-check
/**
 * Scenes to start from, by name of drawing.
 * @typedef {import("./types").World} World
 * @typedef {import("./types").SceneState} SceneState
 */

/** @type {{ title: string, background: string, objects: [string, number, number, number, string?][] }[]} */
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

/** The samples whose drawings exist. @param {World} world @returns {{ title: string, scene: SceneState }[]} */
export function samples(world) {
  return SAMPLES.map(({ title, background, objects }) => {
    const known = objects.flatMap(([name, row, col, cells, tint]) => {
      const at = world.classes.findIndex((one) => one.name === name);
      return at < 0 ? [] : [{ class: at, tint: tint && world.classes[at]?.tintable ? tint : null, row, col, cells }];
    });
    return { title, scene: { background, objects: known } };
  });
}
