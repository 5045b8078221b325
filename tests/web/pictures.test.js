// @ts-check
/** Picture files of every kind, made here from their formats' rules: what an edit keeps of them is what they show. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { CHANNELS, jpeg, png, pngHeader } from "./encode.js";
import { bench } from "./helpers.js";

/** @type {import("./helpers.js").Bench} */
let on;
/** @type {import("playwright-core").Page} */
let page;
before(async () => {
  on = await bench();
  page = await on.fresh();
  await page.evaluate(async () => {
    const t = await import("/test/tools.js");
    Object.assign(globalThis, { t, editor: await t.create() });
  });
});
after(() => on.close());

/**
 * What edits keep of files, but for the corner that they may change, and how Chromium itself decodes them; or the error.
 * @param {Buffer[]} files @param {object} [options]
 */
const opened = (files, options = {}) => page.evaluate(async ({ files, options }) => {
  const found = [];
  for (const text of files) {
    const image = new Blob([Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0))]);
    const error = await t.fault(async () => {
      const { data, recipe } = await editor.edit({ image, instruction: "make the background pink", region: { x: 0, y: 0, width: 1, height: 1 }, ...options });
      found.push({ width: data.width, height: data.height, rgba: [...data.data], recipe, browser: [...(await t.pixels(image)).data] });
    });
    if (error.code !== "none") found.push(error);
  }
  return found;
}, { files: files.map((file) => file.toString("base64")), options });

/** Largest difference of two pictures, the first pixel apart. @param {number[]} a @param {number[]} b */
const farthest = (a, b) => a.reduce((most, value, at) => (at < 4 ? most : Math.max(most, Math.abs(value - (b[at] ?? NaN)))), a.length === b.length ? 0 : NaN);

/** Names of PNG's colour types. @type {Record<number, string>} */
const COLOURS = { 0: "grey", 2: "RGB", 3: "palette", 4: "grey with alpha", 6: "RGBA" };
const DEPTHS = /** @type {[number, number[]][]} */ ([[0, [1, 2, 4, 8, 16]], [2, [8, 16]], [3, [1, 2, 4, 8]], [4, [8, 16]], [6, [8, 16]]]);
for (const [colour, depths] of DEPTHS) {
  test(`W30 PNG, ${COLOURS[colour]} of ${depths.join(", ")} bits, also interlaced`, async () => {
    const kinds = depths.flatMap((depth) => [[19, 13], [3, 2], [1, 1]].flatMap(([width = 0, height = 0]) => [false, true].map((interlaced) => ({ width, height, depth, colour, interlaced }))));
    const made = kinds.map((kind) => {
      const { width, height, depth } = kind;
      const palette = colour === 3 ? Array.from({ length: 2 ** depth }, (_, at) => [(at * 91) % 256, (at * 53 + 7) % 256, 255 - at, at % 3 === 1 ? 80 : 255]) : [];
      // The high bits tell the place, so that a pixel out of place is off by far.
      const samples = (/** @type {number} */ x, /** @type {number} */ y) => Array.from({ length: CHANNELS[colour] ?? 0 }, (_, at) => (x * 40503 + y * 30011 + at * 17011) % 65536 >> (16 - depth));
      const eight = (/** @type {number} */ value) => Math.round((value * 255) / (2 ** depth - 1));
      const rgba = Array.from({ length: width * height }, (_, at) => {
        const [a = 0, b = 0, c = 0, d = 0] = samples(at % width, Math.floor(at / width));
        if (colour === 3) return palette[a] ?? [];
        return { 0: [a, a, a, 2 ** depth - 1], 2: [a, b, c, 2 ** depth - 1], 4: [a, a, a, b], 6: [a, b, c, d] }[colour]?.map(eight) ?? [];
      }).flat();
      return { rgba, file: png({ ...kind, palette }, samples) };
    });
    const found = await opened(made.map(({ file }) => file));
    for (const [at, { width, height, rgba, message }] of found.entries()) {
      const kind = kinds[at];
      assert.deepEqual([width, height], [kind?.width, kind?.height], `${JSON.stringify(kind)}: ${message}`);
      assert.equal(farthest(rgba, made[at]?.rgba ?? []), 0, JSON.stringify(kind));
    }
  });
}

/** Y, Cb and Cr of a colour, as JFIF has them. @param {number[]} rgb */
const ycc = ([r = 0, g = 0, b = 0]) => [0.299 * r + 0.587 * g + 0.114 * b, 128 - 0.168736 * r - 0.331264 * g + 0.5 * b, 128 + 0.5 * r - 0.418688 * g - 0.081312 * b].map((value) => Math.max(0, Math.min(255, Math.round(value))));
/** Blocks of an upright picture, none like another. */
const UPRIGHT = [[[200, 30, 40], [30, 180, 60], [40, 60, 220]], [[240, 220, 30], [20, 20, 20], [230, 230, 230]]];
/** Colours of a picture's blocks, from the middle of each. @param {{ width: number, rgba: number[] }} picture @param {number[][][]} rows */
const blocksOf = ({ width, rgba }, rows) => rows.map((row, y) => row.map((_, x) => rgba.slice(((y * 8 + 4) * width + x * 8 + 4) * 4, ((y * 8 + 4) * width + x * 8 + 4) * 4 + 3)));

test("W30 JPEG with Exif orientations 1 to 8: the picture is edited upright, and upright are its size and its regions", async () => {
  const [across, down] = [3, 2];
  const files = [1, 2, 3, 4, 5, 6, 7, 8].map((orientation) => {
    // Where the first stored row and the first stored column are seen (Exif 2.3, tag 274).
    const [row, col] = [["top", "left"], ["top", "right"], ["bottom", "right"], ["bottom", "left"], ["left", "top"], ["right", "top"], ["right", "bottom"], ["left", "bottom"]][orientation - 1] ?? [];
    const turned = orientation > 4;
    const stored = Array.from({ length: turned ? across : down }, (_, r) => Array.from({ length: turned ? down : across }, (_, c) => {
      const [x, y] = turned ? [r, c] : [c, r];
      const [side, level] = turned ? [row, col] : [col, row];
      return ycc(UPRIGHT[level === "top" ? y : down - 1 - y]?.[side === "left" ? x : across - 1 - x] ?? []);
    }));
    return jpeg(stored, { orientation });
  });
  for (const [at, found] of (await opened(files)).entries()) {
    assert.deepEqual([found.width, found.height], [24, 16], `orientation ${at + 1}: ${found.message}`);
    assert.ok(farthest(blocksOf(found, UPRIGHT).flat(2), UPRIGHT.flat(2)) <= 4, `orientation ${at + 1}: ${JSON.stringify(blocksOf(found, UPRIGHT))}`);
  }
  // A region at the right edge exists upright only.
  const edged = await opened(files.slice(5, 6), { region: { x: 20, y: 0, width: 4, height: 16 }, lock: "hard" });
  assert.deepEqual(edged.map(({ recipe }) => recipe?.region), [[{ x: 20, y: 0, width: 4, height: 16 }]]);
});

test("W30 the page and the element show a turned JPEG upright", async () => {
  const file = jpeg([[ycc([200, 30, 40]), ycc([40, 60, 220])]], { orientation: 6 }); // red above blue
  const shown = await page.evaluate(async (text) => {
    const image = new Blob([Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0))], { type: "image/jpeg" });
    const [{ fit }, { openPicture }] = await Promise.all([import("/source/web/picture.js"), import("/source/web/element/source.js")]);
    const [{ rgba, note }, { data }] = [await fit(image), await openPicture(image, new AbortController().signal)];
    return { note, size: [data.width, data.height], page: [rgba.slice((8 * 64 + 32) * 4).slice(0, 3), rgba.slice((56 * 64 + 32) * 4).slice(0, 3)].map((rgb) => [...rgb]), element: [data.data.slice((2 * 8 + 4) * 4).slice(0, 3), data.data.slice((13 * 8 + 4) * 4).slice(0, 3)].map((rgb) => [...rgb]) };
  }, file.toString("base64"));
  assert.deepEqual(shown.size, [8, 16]);
  assert.match(shown.note, /8×16/);
  for (const colours of [shown.page, shown.element]) assert.ok(farthest([0, 0, 0, 0, ...colours.flat()], [0, 0, 0, 0, 200, 30, 40, 40, 60, 220]) <= 4, JSON.stringify(colours));
});

test("W30 JPEG in grey, and in CMYK as Adobe's programs write it: as Chromium shows them", async () => {
  const grey = [[[10], [128], [250]], [[60], [200], [90]]];
  const cmyk = [[[255, 255, 255, 255], [0, 255, 255, 255], [255, 0, 255, 255]], [[255, 255, 0, 255], [200, 120, 60, 180], [255, 255, 255, 0]]];
  const [first, second, third] = await opened([jpeg(grey), jpeg(cmyk, { adobe: 0 }), jpeg(cmyk, { adobe: 2 })]);
  assert.deepEqual(blocksOf(first, grey), grey.map((row) => row.map(([value]) => [value, value, value])));
  for (const found of [second, third]) {
    assert.deepEqual([found.width, found.height], [24, 16], found.message);
    assert.ok(farthest(found.rgba, found.browser) <= 4, `${JSON.stringify(blocksOf(found, cmyk))}, in Chromium ${JSON.stringify(blocksOf({ ...found, rgba: found.browser }, cmyk))}`);
  }
});

test("W30, W41 sizes are judged by the header: 64 million pixels are decoded, one row more is not, nor a side too long", async () => {
  const frame = (/** @type {number} */ width, /** @type {number} */ height) => Buffer.from([0xff, 0xd8, 0xff, 0xc0, 0, 17, 8, height >> 8, height & 255, width >> 8, width & 255, 3]);
  const webp = (/** @type {number} */ width, /** @type {number} */ height) => {
    const bytes = Buffer.from("RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\0\0\0\0\0\0", "latin1");
    bytes.writeUIntLE(width - 1, 24, 3);
    bytes.writeUIntLE(height - 1, 27, 3);
    return bytes;
  };
  const codes = (/** @type {any[]} */ found) => found.map(({ code }) => code);
  assert.deepEqual(codes(await opened([pngHeader(8000, 8000), frame(8000, 8000), webp(8000, 8000)])), Array(3).fill("E_IMAGE_DECODE"), "judged only when it is decoded");
  const large = await opened([pngHeader(8000, 8001), frame(8000, 8001), webp(8000, 8001), pngHeader(16_385, 2), webp(2, 16_385)]);
  assert.deepEqual(codes(large), Array(5).fill("E_IMAGE_TOO_LARGE"));
  assert.match(large[0].message, /8,000 × 8,001/);
  assert.match(large[3].message, /16,385 × 2/);
});

test("W30, W41 instructions that are too long or in other alphabets are refused with the reason, and the page lives on", async () => {
  const faults = await page.evaluate(async () => {
    const image = await t.scene(0);
    const say = (instruction) => t.fault(() => editor.edit({ image, instruction }));
    const long = [await say("remove the cat and ".repeat(40)), await say("x".repeat(100_000)), await say(" \n\t ")];
    const other = [];
    for (const text of ["猫を消してください", "удали кошку", "أزل القطة", "αφαίρεσε τη γάτα", "remove the 🐱", "remove thе cat", "remove the \u0000cat", "remove the \ud800"]) other.push(await say(text));
    const spaced = (await editor.edit({ image, instruction: "  Remove   the FOOTBALL!  " })).tokens.length;
    return { long, other, spaced };
  });
  assert.deepEqual(faults.long.map(({ code }) => code), ["E_INSTRUCTION", "E_INSTRUCTION", "E_INSTRUCTION"]);
  for (const { code, name, hint, retryable } of faults.other) assert.deepEqual([code, name, hint.length > 10, retryable], ["E_NOT_UNDERSTOOD", "EarlInputError", true, false]);
  assert.ok(faults.spaced > 3);
});
