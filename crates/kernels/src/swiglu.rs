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
    #[cfg(feature = "flex-forward")]
    if crate::fused::runs_on(&gate.device()) {
        return crate::fused::swiglu::swiglu(gate, up);
    }
    elsewhere!(plain(gate, up))
}

/// The specification, and what backends other than flex run.
pub(crate) fn plain(gate: Tensor<3>, up: Tensor<3>) -> Tensor<3> {
    silu(gate).mul(up)
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::{plain, swiglu};
    use crate::testing::{
        assert_agree, assert_close, assert_same_bits, assert_slopes, noise, trace,
    };
    use burn::Tensor;

    type Operation = fn(Tensor<3>, Tensor<3>) -> Tensor<3>;

    fn shaped(
        shape: [usize; 3],
        operation: Operation,
    ) -> impl Fn(Vec<Tensor<1>>) -> Tensor<3> + Sync {
        move |x| operation(x[0].clone().reshape(shape), x[1].clone().reshape(shape))
    }

    #[test]
    fn worked_by_hand() {
        // silu(0) = 0, silu(1) = 1/(1 + e⁻¹) = 0.731 058 6, silu(−2) = −2/(1 + e²) = −0.238 405 84
        let inputs = [vec![0.0, 1.0, -2.0], vec![5.0, 2.0, 10.0]];
        let traced = trace(&inputs, shaped([1, 1, 3], swiglu));
        assert_close(&traced.output, &[0.0, 1.462_117_2, -2.384_058_4], 1e-6);
    }

    #[test]
    fn agrees_with_plain_at_odd_sizes() {
        for shape in [[1, 1, 1], [2, 3, 7], [1, 1, 512], [3, 37, 331]] {
            let len = shape.iter().product();
            let inputs = [noise(len, 1), noise(len, 2)];
            assert_agree(&inputs, shaped(shape, swiglu), shaped(shape, plain));
        }
    }

    #[test]
    fn gradients_are_slopes() {
        let inputs = [noise(10, 3), noise(10, 4)];
        assert_slopes(&inputs, shaped([1, 2, 5], swiglu), shaped([1, 2, 5], plain));
    }

    #[test]
    fn one_thread_or_many() {
        let len = 4 * 100 * 300;
        assert_same_bits(&[noise(len, 5), noise(len, 6)], shaped([4, 100, 300], swiglu));
    }

    #[test]
    fn inputs_that_live_on_keep_their_values() {
        let gate = noise(6, 7);
        let traced = trace(std::slice::from_ref(&gate), |x| {
            let x: Tensor<3> = x[0].clone().reshape([1, 2, 3]);
            swiglu(x.clone(), x)
        });
        let want = trace(&[gate], |x| {
            let x: Tensor<3> = x[0].clone().reshape([1, 2, 3]);
            plain(x.clone(), x)
        });
        assert_close(&traced.gradients[0], &want.gradients[0], 1e-5);
    }
}
