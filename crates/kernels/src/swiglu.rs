//! The gated activation of the feed-forward block: gate and up projections in, their product out.
//!
//! Source: Shazeer, arXiv 2002.05202. Start at [`swiglu`].

use burn::Tensor;
use burn::tensor::activation::silu;

/// `silu(gate) · up`, where `silu(x) = x / (1 + exp(−x))`.
///
/// # Shapes
/// All `[batch, seq, width]`.
#[must_use]
pub fn swiglu(gate: Tensor<3>, up: Tensor<3>) -> Tensor<3> {
    plain(gate, up)
}

/// The specification, and what backends other than flex run.
pub(crate) fn plain(gate: Tensor<3>, up: Tensor<3>) -> Tensor<3> {
    silu(gate).mul(up)
}
