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
    #[cfg(feature = "flex-forward")]
    if crate::fused::runs_on(&x.device()) {
        return crate::fused::rope::rope(x, cos, sin);
    }
    elsewhere!(plain(x, cos, sin))
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
            first.clone().mul(cos.clone()).sub(second.clone().mul(sin.clone())),
            second.mul(cos).add(first.mul(sin)),
        ],
        3,
    )
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::{plain, rope};
    use crate::testing::{
        assert_agree, assert_close, assert_same_bits, assert_slopes, noise, trace,
    };
    use burn::Tensor;

    type Operation = fn(Tensor<4>, Tensor<3>, Tensor<3>) -> Tensor<4>;

    fn shaped(
        shape: [usize; 4],
        operation: Operation,
    ) -> impl Fn(Vec<Tensor<1>>) -> Tensor<4> + Sync {
        let [batch, seq, _, head_dim] = shape;
        move |x| {
            let angles = noise(batch * seq * head_dim / 2, 42);
            let like = |values: Vec<f32>| {
                let flat =
                    Tensor::<1>::from_floats(values.as_slice(), &x[0].device()).cast(x[0].dtype());
                flat.reshape([batch, seq, head_dim / 2])
            };
            let cos = like(angles.iter().map(|angle| angle.cos()).collect());
            let sin = like(angles.iter().map(|angle| angle.sin()).collect());
            operation(x[0].clone().reshape(shape), cos, sin)
        }
    }

    #[test]
    fn worked_by_hand() {
        // A quarter turn of (1, 3), none of (2, 4): pairs are half a head apart.
        let traced = trace(&[vec![1.0, 2.0, 3.0, 4.0]], |x| {
            let like = |values: [f32; 2]| {
                Tensor::<1>::from_floats(values, &x[0].device()).reshape([1, 1, 2])
            };
            rope(x[0].clone().reshape([1, 1, 1, 4]), like([0.0, 1.0]), like([1.0, 0.0]))
        });
        assert_close(&traced.output, &[-3.0, 2.0, 1.0, 4.0], 1e-6);
    }

    #[test]
    fn agrees_with_plain_at_odd_sizes() {
        for shape in [[1, 1, 1, 2], [2, 3, 5, 6], [1, 1, 6, 32], [7, 33, 6, 32]] {
            let inputs = [noise(shape.iter().product(), 1)];
            assert_agree(&inputs, shaped(shape, rope), shaped(shape, plain));
        }
    }

    #[test]
    fn gradients_are_slopes() {
        let shape = [1, 2, 2, 4];
        assert_slopes(&[noise(16, 2)], shaped(shape, rope), shaped(shape, plain));
    }

    #[test]
    fn one_thread_or_many() {
        assert_same_bits(&[noise(8 * 40 * 6 * 32, 3)], shaped([8, 40, 6, 32], rope));
    }

    #[test]
    fn one_batch_of_angles_serves_all() {
        let x = noise(3 * 5 * 2 * 4, 4);
        let angles = noise(5 * 2, 5);
        let run = |batch: usize| {
            trace(std::slice::from_ref(&x), |x| {
                let like = |f: fn(f32) -> f32| {
                    let values: Vec<f32> = angles.iter().map(|&angle| f(angle)).collect();
                    let one = Tensor::<1>::from_floats(values.as_slice(), &x[0].device());
                    one.reshape([1, 5, 2]).repeat_dim(0, batch)
                };
                rope(x[0].clone().reshape([3, 5, 2, 4]), like(f32::cos), like(f32::sin))
            })
        };
        assert_eq!(run(1), run(3));
    }
}
