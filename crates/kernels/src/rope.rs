//! Rotary positions: queries or keys in, the same vectors turned by their position's angles out.
//!
//! Half-split form (Llama, Emu3): element `i` turns together with element `i + head_dim / 2`.
//! The caller makes the angles, so it decides what a position is (time, row, column).
//! Source: Su et al., arXiv 2104.09864. Start at [`rope`].

use burn::Tensor;

/// Turns each pair `(x1, x2)` to `(x1·cos − x2·sin, x2·cos + x1·sin)`.
///
/// # Shapes
/// - `x`: `[batch, seq, heads, head_dim]`, `head_dim` even
/// - `cos`, `sin`: `[batch, seq, head_dim / 2]`, constants: no gradient flows into them
/// - returns: `[batch, seq, heads, head_dim]`
#[must_use]
pub fn rope(x: Tensor<4>, cos: Tensor<3>, sin: Tensor<3>) -> Tensor<4> {
    plain(x, cos, sin)
}

/// The specification, and what backends other than flex run.
pub(crate) fn plain(x: Tensor<4>, cos: Tensor<3>, sin: Tensor<3>) -> Tensor<4> {
    let half = x.dims()[3] / 2;
    let cos = cos.detach().unsqueeze_dim::<4>(2); // [batch, seq, 1, head_dim / 2]
    let sin = sin.detach().unsqueeze_dim::<4>(2);
    let first = x.clone().narrow(3, 0, half);
    let second = x.narrow(3, half, half);
    Tensor::cat(
        vec![
            first
                .clone()
                .mul(cos.clone())
                .sub(second.clone().mul(sin.clone())),
            second.mul(cos).add(first.mul(sin)),
        ],
        3,
    )
}
