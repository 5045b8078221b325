// @ts-check
/** What the page says of the model's download: its size before the first byte, then how much has come. Of a stored model it says nothing. */

/** @param {(text: string) => void} say @returns {Pick<import("./types").CreateOptions, "confirm" | "monitor">} options of an editor */
export function toldBy(say) {
  let missing = 0;
  const megabytes = (/** @type {number} */ bytes) => (bytes / 1e6).toFixed(1);
  const tell = (/** @type {number} */ come) => say(`Downloading the model: ${megabytes(come)} of ${megabytes(missing)} MB`);
  return {
    confirm: (bytes) => {
      missing = bytes.missing;
      tell(0);
      return true;
    },
    monitor: (monitor) => monitor.addEventListener("downloadprogress", (event) => {
      const { bytesLoaded, bytesFromCache } = /** @type {import("./types").DownloadProgressEvent} */ (event).detail;
      if (missing > 0) tell(bytesLoaded - bytesFromCache);
    }),
  };
}
