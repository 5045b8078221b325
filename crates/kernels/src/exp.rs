//! Where `eˣ` ends in this crate's own arithmetic, on the CPU (`fused::simd`) and on devices (`device`).

/// Below this `exp` is no longer a normal float; it is flushed to 0.
pub(crate) const EXP_FLOOR: f32 = -87.336_54;
/// Above this `exp` would overflow; it stays at the largest power it can give.
pub(crate) const EXP_CEILING: f32 = 88.37;
