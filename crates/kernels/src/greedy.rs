//! The likeliest of many logits without reading them all back.
//!
//! Start at [`greedy`].

use burn::Tensor;

/// Of each row the index of its greatest logit (the first of equals), the natural logarithm of its
/// probability, the entropy of the row's softmax in nats, and how far the next best logit is below it;
/// NaN where a logit is no number. `None` where reading the logits back costs nothing (the CPU) and
/// where the device has no kernel for it (CUDA).
///
/// # Shapes
/// - `logits`: `[rows, n]`, `n` at most 2²⁴
/// - returns: `[rows, 4]`
#[must_use]
pub fn greedy(logits: &Tensor<2>) -> Option<Tensor<2>> {
    #[cfg(feature = "wgpu")]
    if crate::device::infers_on(&logits.device()) {
        return Some(crate::device::operations::greedy(logits.clone()));
    }
    let _ = logits;
    None
}
