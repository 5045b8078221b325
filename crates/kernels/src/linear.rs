//! Projections without bias: hidden states in, hidden states of another width out.
//!
//! One matrix product over all rows at once, whatever the batch, in both directions of training.
//! Start at [`linear`]; [`linear_tied`] is the same with the table of an embedding.

use burn::Tensor;

/// `x · weight`.
///
/// # Shapes
/// - `x`: `[batch, seq, in]`
/// - `weight`: `[in, out]`
/// - returns: `[batch, seq, out]`
#[must_use]
pub fn linear(x: Tensor<3>, weight: Tensor<2>) -> Tensor<3> {
    plain(x, weight)
}

/// `x · tableᵀ`: logits against the rows of an embedding table.
///
/// The table's gradient comes out in the table's own layout, so that adding it to the embedding's
/// gradient walks memory in order.
///
/// # Shapes
/// - `x`: `[batch, seq, in]`
/// - `table`: `[out, in]`
/// - returns: `[batch, seq, out]`
#[must_use]
pub fn linear_tied(x: Tensor<3>, table: Tensor<2>) -> Tensor<3> {
    plain_tied(x, table)
}

/// The specification, and what backends other than flex run.
pub(crate) fn plain(x: Tensor<3>, weight: Tensor<2>) -> Tensor<3> {
    let [batch, seq, width_in] = x.dims();
    let width_out = weight.dims()[1];
    x.reshape([batch * seq, width_in])
        .matmul(weight)
        .reshape([batch, seq, width_out])
}

/// The specification, and what backends other than flex run.
pub(crate) fn plain_tied(x: Tensor<3>, table: Tensor<2>) -> Tensor<3> {
    plain(x, table.transpose())
}
