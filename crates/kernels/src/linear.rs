//! Projections without bias: hidden states in, hidden states of another width out.
//!
//! One matrix product over all rows at once, whatever the batch, in both directions of training.
//! Start at [`linear`]; [`linear_tied`] is the same with the table of an embedding. Weights may be of a
//! narrower float type than `x` (bfloat16, say): the product is made in theirs and comes out in that of `x`.

use burn::Tensor;
use burn::tensor::FloatDType;

/// `x · weight`.
///
/// # Shapes
/// - `x`: `[batch, seq, in]`
/// - `weight`: `[in, out]`
/// - returns: `[batch, seq, out]`
#[must_use]
pub fn linear(x: Tensor<3>, weight: Tensor<2>) -> Tensor<3> {
    if weight.dtype() != x.dtype() {
        elsewhere!(return in_type_of_weights(x, weight, plain));
    }
    #[cfg(feature = "flex-forward")]
    if crate::fused::runs_on(&x.device()) {
        return crate::fused::linear::linear(x, weight);
    }
    elsewhere!(plain(x, weight))
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
    if table.dtype() != x.dtype() {
        elsewhere!(return in_type_of_weights(x, table, plain_tied));
    }
    #[cfg(feature = "flex-forward")]
    if crate::fused::runs_on(&x.device()) {
        return crate::fused::linear::linear_tied(x, table);
    }
    elsewhere!(plain_tied(x, table))
}

fn in_type_of_weights(
    x: Tensor<3>,
    weight: Tensor<2>,
    product: fn(Tensor<3>, Tensor<2>) -> Tensor<3>,
) -> Tensor<3> {
    let (own, stored) = (FloatDType::from(x.dtype()), FloatDType::from(weight.dtype()));
    product(x.cast(stored), weight).cast(own)
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
    use burn::tensor::{Device, FloatDType};

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

    /// Eight bits of mantissa: products of both rounded once more on the way out.
    #[test]
    fn weights_of_two_bytes_round_and_keep_the_type_of_x() {
        let [x, weights] = inputs([1, 3, 32, 5]);
        let x = Tensor::<1>::from_floats(x.as_slice(), &Device::flex()).reshape([1, 3, 32]);
        let weights = Tensor::<1>::from_floats(weights.as_slice(), &Device::flex());
        for (dtype, epsilon) in [(FloatDType::BF16, 1.0 / 256.0), (FloatDType::F16, 1.0 / 2048.0)] {
            let narrow = weights.clone().cast(dtype).reshape([32, 5]);
            let rounded = |tensor: Tensor<3>| tensor.cast(dtype).cast(FloatDType::F32);
            let want = plain(rounded(x.clone()), narrow.clone().cast(FloatDType::F32));
            let most = want.clone().abs().max().into_scalar::<f32>();
            for got in [
                linear(x.clone(), narrow.clone()),
                linear_tied(x.clone(), narrow.clone().transpose()),
            ] {
                assert_eq!(got.dtype(), x.dtype());
                let apart = (got - want.clone()).abs().max().into_scalar::<f32>();
                assert!(apart > 0.0 && apart <= most * epsilon, "{dtype:?}: {apart} of {most}");
            }
        }
    }

    #[test]
    fn one_thread_or_many() {
        let sizes = [16, 64, 192, 256];
        assert_same_bits(&inputs(sizes), shaped(sizes, false, linear));
        assert_same_bits(&inputs(sizes), shaped(sizes, true, linear_tied));
    }
}
