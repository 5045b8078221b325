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
    #[cfg(feature = "flex-forward")]
    if crate::fused::runs_on(&x.device()) {
        return crate::fused::rms_norm::rms_norm(x, weight, eps);
    }
    #[cfg(feature = "wgpu")]
    if crate::device::infers_on(&x.device()) {
        return crate::device::operations::rms_norm(x, weight, eps);
    }
    elsewhere!(plain(x, weight, eps))
}

/// The specification, and what backends other than flex run.
pub(crate) fn plain(x: Tensor<3>, weight: Tensor<1>, eps: f64) -> Tensor<3> {
    let mean_square = x.clone().square().mean_dim(2); // [batch, seq, 1]
    x.div(mean_square.add_scalar(eps).sqrt()).mul(weight.unsqueeze::<3>())
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::{plain, rms_norm};
    use crate::testing::{
        assert_agree, assert_close, assert_same_bits, assert_slopes, noise, trace,
    };
    use burn::Tensor;

    type Operation = fn(Tensor<3>, Tensor<1>, f64) -> Tensor<3>;

    fn shaped(
        shape: [usize; 3],
        operation: Operation,
    ) -> impl Fn(Vec<Tensor<1>>) -> Tensor<3> + Sync {
        move |x| operation(x[0].clone().reshape(shape), x[1].clone(), 1e-3)
    }

    fn inputs(shape: [usize; 3], seed: u64) -> [Vec<f32>; 2] {
        [noise(shape.iter().product(), seed), noise(shape[2], seed + 1)]
    }

    #[test]
    fn worked_by_hand() {
        // mean(3², 4², 0, 0) = 6.25, so the root is 2.5
        let operation =
            |x: Vec<Tensor<1>>| rms_norm(x[0].clone().reshape([1, 1, 4]), x[1].clone(), 0.0);
        let traced = trace(&[vec![3.0, 4.0, 0.0, 0.0], vec![1.0, 2.0, 3.0, 4.0]], operation);
        assert_close(&traced.output, &[1.2, 3.2, 0.0, 0.0], 1e-6);
    }

    #[test]
    fn agrees_with_plain_at_odd_sizes() {
        for shape in [[1, 1, 1], [2, 3, 7], [1, 1, 192], [5, 61, 193], [3, 50, 192]] {
            assert_agree(&inputs(shape, 1), shaped(shape, rms_norm), shaped(shape, plain));
        }
    }

    #[test]
    fn gradients_are_slopes() {
        let shape = [1, 3, 5];
        assert_slopes(&inputs(shape, 5), shaped(shape, rms_norm), shaped(shape, plain));
    }

    #[test]
    fn one_thread_or_many() {
        assert_same_bits(&inputs([8, 100, 192], 9), shaped([8, 100, 192], rms_norm));
    }
}
