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
    #[cfg(feature = "flex-forward")]
    if crate::fused::runs_on(&x.device()) {
        return crate::fused::linear::linear(x, weight);
    }
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
    #[cfg(feature = "flex-forward")]
    if crate::fused::runs_on(&x.device()) {
        return crate::fused::linear::linear_tied(x, table);
    }
    plain_tied(x, table)
}

/// The specification, and what backends other than flex run.
pub(crate) fn plain(x: Tensor<3>, weight: Tensor<2>) -> Tensor<3> {
    let [batch, seq, width_in] = x.dims();
    let width_out = weight.dims()[1];
    x.reshape([batch * seq, width_in]).matmul(weight).reshape([batch, seq, width_out])
}

/// The specification, and what backends other than flex run.
pub(crate) fn plain_tied(x: Tensor<3>, table: Tensor<2>) -> Tensor<3> {
    plain(x, table.transpose())
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::{linear, linear_tied, plain, plain_tied};
    use crate::testing::{
        assert_agree, assert_close, assert_same_bits, assert_slopes, noise, trace,
    };
    use burn::Tensor;

    type Operation = fn(Tensor<3>, Tensor<2>) -> Tensor<3>;

    /// Batch, seq, in, out.
    fn shaped(
        sizes: [usize; 4],
        tied: bool,
        operation: Operation,
    ) -> impl Fn(Vec<Tensor<1>>) -> Tensor<3> + Sync {
        let [batch, seq, inner, outer] = sizes;
        let weight = if tied { [outer, inner] } else { [inner, outer] };
        move |x| operation(x[0].clone().reshape([batch, seq, inner]), x[1].clone().reshape(weight))
    }

    fn inputs([batch, seq, inner, outer]: [usize; 4]) -> [Vec<f32>; 2] {
        [noise(batch * seq * inner, 1), noise(inner * outer, 2)]
    }

    #[test]
    fn worked_by_hand() {
        let values = [vec![1.0, 2.0], vec![1.0, 2.0, 3.0, 4.0]];
        let straight = trace(&values, shaped([1, 1, 2, 2], false, linear));
        assert_close(&straight.output, &[7.0, 10.0], 1e-6);
        let tied = trace(&values, shaped([1, 1, 2, 2], true, linear_tied));
        assert_close(&tied.output, &[5.0, 11.0], 1e-6);
    }

    #[test]
    fn agrees_with_plain_at_odd_sizes() {
        for sizes in
            [[1, 1, 1, 1], [2, 3, 5, 7], [1, 1, 192, 64], [4, 33, 192, 65], [3, 100, 64, 513]]
        {
            assert_agree(&inputs(sizes), shaped(sizes, false, linear), shaped(sizes, false, plain));
            assert_agree(
                &inputs(sizes),
                shaped(sizes, true, linear_tied),
                shaped(sizes, true, plain_tied),
            );
        }
    }

    #[test]
    fn gradients_are_slopes() {
        let sizes = [1, 2, 3, 4];
        assert_slopes(&inputs(sizes), shaped(sizes, false, linear), shaped(sizes, false, plain));
        assert_slopes(
            &inputs(sizes),
            shaped(sizes, true, linear_tied),
            shaped(sizes, true, plain_tied),
        );
    }

    #[test]
    fn one_thread_or_many() {
        let sizes = [16, 64, 192, 256];
        assert_same_bits(&inputs(sizes), shaped(sizes, false, linear));
        assert_same_bits(&inputs(sizes), shaped(sizes, true, linear_tied));
    }
}
