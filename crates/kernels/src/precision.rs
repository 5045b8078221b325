//! How exact the large matrix products of training are: a switch for the whole process.
//!
//! Start at [`set_matmul`].

use std::sync::atomic::{AtomicBool, Ordering};

/// The numbers that [`linear`](crate::linear) and [`linear_tied`](crate::linear_tied) multiply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Matmul {
    /// f32 inputs, f32 sums.
    #[default]
    Full,
    /// Inputs rounded to bfloat16 (8 significant bits), f32 sums: the usual mixed precision of
    /// training, at twice the speed where the CPU multiplies bfloat16.
    Mixed,
}

static MIXED: AtomicBool = AtomicBool::new(false);

/// Sets the precision of projections, forward and backward, from now on.
///
/// [`Matmul::Mixed`] changes only products that are large enough to gain, on the flex device, on
/// CPUs with AVX-512 BF16 (Zen 4 and later, Cooper Lake, Sapphire Rapids and later). Weights,
/// gradients, sums and every other operation stay f32. Returns whether this machine gains, that
/// is, whether the setting has an effect.
pub fn set_matmul(precision: Matmul) -> bool {
    MIXED.store(precision == Matmul::Mixed, Ordering::Relaxed);
    is_supported()
}

/// The precision in force.
#[must_use]
pub fn matmul() -> Matmul {
    if MIXED.load(Ordering::Relaxed) { Matmul::Mixed } else { Matmul::Full }
}

/// Whether this build and machine multiply bfloat16.
pub(crate) fn is_supported() -> bool {
    #[cfg(all(feature = "flex-forward", target_arch = "x86_64"))]
    {
        is_x86_feature_detected!("avx512bf16") && is_x86_feature_detected!("avx512f")
    }
    #[cfg(not(all(feature = "flex-forward", target_arch = "x86_64")))]
    {
        false
    }
}
