// @ts-check
/**
 * Where a picture lies on the model's square canvas, as `crates/model/src/image.rs` fits it.
 * @param {number} width @param {number} height @param {number} side
 */
export function frameOf(width, height, side) {
  const scale = side / Math.max(width, height);
  const scaled = (/** @type {number} */ length) => Math.min(side, Math.max(1, Math.round(length * scale)));
  const inner = { width: scaled(width), height: scaled(height) };
  return { left: Math.floor((side - inner.width) / 2), top: Math.floor((side - inner.height) / 2), ...inner };
}
