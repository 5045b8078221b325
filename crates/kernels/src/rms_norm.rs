//! Root-mean-square normalisation: hidden states in, hidden states of unit mean square out.
//!
//! Source: Zhang and Sennrich, arXiv 1910.07467; the weight multiplies after normalising (Llama).
//! Start at [`rms_norm`].

use burn::Tensor;

/// `x / sqrt(mean(x²) + eps) · weight`, over the last dimension.
///
/// # Shapes
/// - `x`: `[batch, seq, hidden]`
/// - `weight`: `[hidden]`
/// - returns: `[batch, seq, hidden]`
#[must_use]
pub fn rms_norm(x: Tensor<3>, weight: Tensor<1>, eps: f64) -> Tensor<3> {
    plain(x, weight, eps)
}

/// The specification, and what backends other than flex run.
pub(crate) fn plain(x: Tensor<3>, weight: Tensor<1>, eps: f64) -> Tensor<3> {
    let mean_square = x.clone().square().mean_dim(2); // [batch, seq, 1]
    x.div(mean_square.add_scalar(eps).sqrt())
        .mul(weight.unsqueeze::<3>())
}
