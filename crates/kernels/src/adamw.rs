//! One step of `AdamW`: weights, gradient and moments in, new weights and moments out.
//!
//! Source: Loshchilov and Hutter, arXiv 1711.05101. No gradient flows through it. Start at [`adamw`].

use burn::Tensor;

/// Settings of one step.
#[derive(Clone, Copy, Debug)]
pub struct AdamW {
    /// Learning rate.
    pub rate: f32,
    /// Decay of the mean of gradients.
    pub beta1: f32,
    /// Decay of the mean of squared gradients.
    pub beta2: f32,
    /// Added to the root of the mean square.
    pub epsilon: f32,
    /// Decoupled weight decay.
    pub decay: f32,
    /// The gradient is multiplied by this first: what a clip leaves of it.
    pub scale: f32,
    /// Steps taken, this one included, from 1.
    pub taken: i32,
}

impl AdamW {
    /// What the means lack after these many steps: `1 − βⁿ`.
    pub(crate) fn corrections(&self) -> [f32; 2] {
        [self.beta1, self.beta2].map(|beta| 1.0 - beta.powi(self.taken))
    }
}

/// `w − rate · (m̂ / (√v̂ + ε) + decay · w)`, with `m`, `v` the decaying means of `g` and `g²` and
/// `m̂`, `v̂` those corrected for having started at 0.
///
/// # Shapes
/// All `[n]`, without autodiff; returns the new weight, mean and square, in that order. On flex the
/// memory of mean and square is reused.
#[must_use]
pub fn adamw(
    weight: Tensor<1>,
    gradient: Tensor<1>,
    mean: Tensor<1>,
    square: Tensor<1>,
    step: &AdamW,
) -> [Tensor<1>; 3] {
    #[cfg(feature = "flex")]
    if crate::fused::runs_on(&weight.device()) {
        return crate::fused::adamw::adamw(weight, gradient, mean, square, step);
    }
    plain(weight, gradient, mean, square, step)
}

/// The specification, and what backends other than flex run.
pub(crate) fn plain(
    weight: Tensor<1>,
    gradient: Tensor<1>,
    mean: Tensor<1>,
    square: Tensor<1>,
    step: &AdamW,
) -> [Tensor<1>; 3] {
    let gradient = gradient.mul_scalar(step.scale);
    let mean = mean.mul_scalar(step.beta1) + gradient.clone().mul_scalar(1.0 - step.beta1);
    let square = square.mul_scalar(step.beta2) + gradient.square().mul_scalar(1.0 - step.beta2);
    let [correct1, correct2] = step.corrections();
    let root = square.clone().div_scalar(correct2).sqrt().add_scalar(step.epsilon);
    let update = mean.clone().div_scalar(correct1) / root + weight.clone().mul_scalar(step.decay);
    [weight - update.mul_scalar(step.rate), mean, square]
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::{AdamW, adamw, plain};
    use crate::testing::{assert_close, noise, values};
    use burn::Tensor;
    use burn::tensor::Device;

    const STEP: AdamW = AdamW {
        rate: 0.1,
        beta1: 0.9,
        beta2: 0.99,
        epsilon: 1e-8,
        decay: 0.5,
        scale: 1.0,
        taken: 1,
    };

    fn tensor(values: &[f32]) -> Tensor<1> {
        Tensor::from_floats(values, &Device::flex())
    }

    #[test]
    fn worked_by_hand() {
        // First step: m̂ = g and v̂ = g², so the update is the gradient's sign; then 0.5 of the weight.
        let zero = || tensor(&[0.0, 0.0]);
        let [weight, mean, square] =
            adamw(tensor(&[1.0, -2.0]), tensor(&[3.0, -4.0]), zero(), zero(), &STEP);
        assert_close(&values(weight), &[1.0 - 0.1 * 1.5, -2.0 + 0.1 * 2.0], 1e-6);
        assert_close(&values(mean), &[0.3, -0.4], 1e-6);
        assert_close(&values(square), &[0.09, 0.16], 1e-6);
    }

    #[test]
    fn agrees_with_plain_over_steps() {
        for len in [1, 7, 192, 40_003] {
            let start =
                || [tensor(&noise(len, 1)), tensor(&vec![0.0; len]), tensor(&vec![0.0; len])];
            let run =
                |step: fn(Tensor<1>, Tensor<1>, Tensor<1>, Tensor<1>, &AdamW) -> [Tensor<1>; 3]| {
                    (1..4).fold(start(), |[weight, mean, square], taken| {
                        let gradient = tensor(&noise(len, 10 + taken as u64));
                        step(weight, gradient, mean, square, &AdamW { taken, scale: 0.3, ..STEP })
                    })
                };
            for (fused, plain) in run(adamw).into_iter().zip(run(plain)) {
                assert_close(&values(fused), &values(plain), 1e-5);
            }
        }
    }

    #[test]
    fn moments_that_live_on_keep_their_values() {
        let mean = tensor(&[1.0, 2.0]);
        drop(adamw(tensor(&[0.0; 2]), tensor(&[1.0; 2]), mean.clone(), tensor(&[1.0; 2]), &STEP));
        assert_eq!(values(mean), [1.0, 2.0]);
    }
}
