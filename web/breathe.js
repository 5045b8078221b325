// @ts-check
/** Lets a thread hear its messages and a page draw: a chain of promises alone never does, and timers wait longer. */

/** @returns {Promise<void>} */
export const breathe = () => new Promise((resolve) => {
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = () => {
    port1.close();
    resolve();
  };
  port2.postMessage(null);
});
