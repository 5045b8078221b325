//! Token loss: logits and the right tokens in, nats per row out.
//!
//! Start at [`cross_entropy`].

use burn::Tensor;
use burn::tensor::Int;
use burn::tensor::activation::log_softmax;

/// Negative log-likelihood of each row's target, in nats; no averaging, no weights.
///
/// # Shapes
/// - `logits`: `[n, vocab]`
/// - `targets`: `[n]`, each in `0..vocab`
/// - returns: `[n]`, all `≥ 0`
///
/// # Panics
/// On flex (every build), if a target is outside `0..vocab`. Other devices can't look without a
/// round trip; there the device's own gather decides.
#[must_use]
pub fn cross_entropy(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    assert_eq!(logits.dims()[0], targets.dims()[0], "cross_entropy: one target a row");
    #[cfg(feature = "flex-forward")]
    if crate::fused::runs_on(&logits.device()) {
        return crate::fused::cross_entropy::cross_entropy(logits, targets);
    }
    plain(logits, targets)
}

/// The specification, and what backends other than flex run.
pub(crate) fn plain(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    log_softmax(logits, 1) // [n, vocab]
        .gather(1, targets.unsqueeze_dim::<2>(1)) // [n, 1]
        .squeeze_dim::<1>(1)
        .neg()
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::{cross_entropy, plain};
    use crate::testing::{
        assert_agree, assert_close, assert_same_bits, assert_slopes, noise, trace,
    };
    use burn::Tensor;
    use burn::tensor::{Device, Int};

    type Operation = fn(Tensor<2>, Tensor<1, Int>) -> Tensor<1>;

    fn shaped(
        [n, vocab]: [usize; 2],
        operation: Operation,
    ) -> impl Fn(Vec<Tensor<1>>) -> Tensor<1> + Sync {
        move |x| {
            let targets: Vec<i32> = (0..n).map(|row| (row * 7919 % vocab) as i32).collect();
            let targets = Tensor::<1, Int>::from_ints(targets.as_slice(), &x[0].device());
            operation(x[0].clone().reshape([n, vocab]), targets)
        }
    }

    #[test]
    fn worked_by_hand() {
        // Row (0, ln 3): softmax (1/4, 3/4). Row (0, 0): (1/2, 1/2).
        let traced = trace(&[vec![0.0, 3f32.ln(), 0.0, 0.0]], |x| {
            let targets = Tensor::<1, Int>::from_ints([0, 1], &x[0].device());
            cross_entropy(x[0].clone().reshape([2, 2]), targets)
        });
        assert_close(&traced.output, &[4f32.ln(), 2f32.ln()], 1e-6);
        let weights = noise(2, 99);
        let want = [-0.75 * weights[0], 0.75 * weights[0], 0.5 * weights[1], -0.5 * weights[1]];
        assert_close(&traced.gradients[0], &want, 1e-5);
    }

    #[test]
    fn agrees_with_plain_at_odd_sizes() {
        for shape in [[1, 1], [3, 17], [37, 1000], [5, 12_800]] {
            let inputs = [noise(shape[0] * shape[1], 1)];
            assert_agree(&inputs, shaped(shape, cross_entropy), shaped(shape, plain));
        }
    }

    #[test]
    fn gradients_are_slopes() {
        let shape = [3, 5];
        assert_slopes(&[noise(15, 2)], shaped(shape, cross_entropy), shaped(shape, plain));
    }

    #[test]
    fn one_thread_or_many() {
        assert_same_bits(&[noise(300 * 1000, 3)], shaped([300, 1000], cross_entropy));
    }

    #[test]
    fn logits_that_live_on_keep_their_values() {
        let device = Device::flex().autodiff();
        let leaf = Tensor::<2>::from_floats([[1.0, 2.0], [3.0, 5.0]], &device).require_grad();
        let logits = leaf.clone().mul_scalar(2.0);
        let targets = Tensor::<1, Int>::from_ints([0, 1], &device);
        let loss = cross_entropy(logits.clone(), targets);
        let _gradients = loss.sum().backward();
        assert_eq!(crate::testing::values(logits), [2.0, 4.0, 6.0, 10.0]);
    }

    #[test]
    fn a_thousand_nats_do_not_overflow() {
        let traced = trace(&[vec![1000.0, 0.0, -1000.0, 0.0]], |x| {
            let targets = Tensor::<1, Int>::from_ints([1, 1], &x[0].device());
            cross_entropy(x[0].clone().reshape([2, 2]), targets)
        });
        assert_eq!(traced.output, [1000.0, 0.0]);
        assert!(traced.gradients[0].iter().all(|x| x.is_finite()));
    }

    #[test]
    #[should_panic(expected = "target 2 of row 1 is outside the vocabulary 0..2")]
    fn a_target_outside_the_vocabulary_is_named() {
        let device = Device::flex();
        let targets = Tensor::<1, Int>::from_ints([0, 2], &device);
        drop(cross_entropy(Tensor::<2>::zeros([2, 2], &device), targets));
    }
}
