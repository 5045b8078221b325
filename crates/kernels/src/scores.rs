//! Dot products of queries with keys: how much each key is meant.
//!
//! Start at [`scores`].

use burn::Tensor;

/// `q · kᵀ`.
///
/// # Shapes
/// - `q`: `[batch, seq, dim]`
/// - `k`: `[batch, keys, dim]`
/// - returns: `[batch, seq, keys]`
///
/// # Panics
/// If the sizes disagree.
#[must_use]
pub fn scores(q: Tensor<3>, k: Tensor<3>) -> Tensor<3> {
    let ([batch, _, dim], [k_batch, _, k_dim]) = (q.dims(), k.dims());
    assert_eq!([k_batch, k_dim], [batch, dim], "scores: keys against queries");
    #[cfg(feature = "flex-forward")]
    if crate::fused::infers_on(&q.device()) && crate::fused::infers_on(&k.device()) {
        return crate::fused::scores::scores(q, k);
    }
    #[cfg(feature = "wgpu")]
    if crate::device::infers_on(&q.device()) && crate::device::infers_on(&k.device()) {
        return crate::device::operations::scores(q, k);
    }
    elsewhere!(plain(q, k))
}

/// The specification, what training and what backends other than flex run.
pub(crate) fn plain(q: Tensor<3>, k: Tensor<3>) -> Tensor<3> {
    q.matmul(k.swap_dims(1, 2))
}

#[cfg(all(test, feature = "flex"))]
#[allow(clippy::expect_used, reason = "test code: a panic is a failed test")]
mod tests {
    use super::{plain, scores};
    use crate::testing::{assert_close, noise};
    use burn::Tensor;
    use burn::tensor::{Device, TensorData};

    fn values(tensor: Tensor<3>) -> Vec<f32> {
        tensor.into_data().try_to_vec().expect("floats")
    }

    fn given(shape: [usize; 3], seed: u64) -> Tensor<3> {
        let values = noise(shape.iter().product(), seed);
        Tensor::from_data(TensorData::new(values, shape), &Device::flex())
    }

    #[test]
    fn worked_by_hand() {
        let tensor = |values: Vec<f32>, rows| {
            Tensor::from_data(TensorData::new(values, [1, rows, 2]), &Device::flex())
        };
        let products = scores(tensor(vec![1.0, 2.0], 1), tensor(vec![3.0, 4.0, 5.0, 6.0], 2));
        assert_close(&values(products), &[11.0, 17.0], 0.0);
    }

    #[test]
    fn agrees_with_plain_at_odd_sizes() {
        for [batch, seq, keys, dim] in [[1, 1, 1, 1], [2, 3, 5, 7], [3, 1, 64, 64], [1, 9, 70, 33]]
        {
            let (q, k) = (given([batch, seq, dim], 1), given([batch, keys, dim], 2));
            assert_close(&values(scores(q.clone(), k.clone())), &values(plain(q, k)), 1e-5);
        }
    }
}
