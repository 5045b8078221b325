// @ts-check
/** Lets a thread hear its messages and a page draw: a chain of promises alone never does, and timers wait longer. */

/** Pixels worked on at once: a few milliseconds' work. */
const AT_ONCE = 1 << 20;

/** @returns {Promise<void>} */
export const breathe = () => new Promise((resolve) => {
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = () => {
    port1.close();
    resolve();
  };
  port2.postMessage(null);
});

/** Rows of a picture that are worked on at once. @param {number} width @param {number} [unit] they are a multiple of it */
export const rowsAtOnce = (width, unit = 1) => unit * Math.ceil(AT_ONCE / width / unit);

/** A picture's bands, with a breath before each. @param {number} height @param {number} most rows of a band @returns {AsyncGenerator<{ y: number, rows: number }>} */
export async function* bands(height, most) {
  for (let y = 0; y < height; y += most) {
    await breathe();
    yield { y, rows: Math.min(most, height - y) };
  }
}
