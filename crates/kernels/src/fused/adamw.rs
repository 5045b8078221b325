//! Fused step of `AdamW`: one pass over four arrays, moments overwritten.

use burn::Tensor;
use burn_flex::FlexTensor;

use super::parallel::for_each;
use super::simd::{Level, load_some, store_some, vector_fn};
use super::{finished, floats, floats_mut, in_rows, room, tensor};
use crate::adamw::AdamW;

/// Floats in a piece of work.
const PIECE: usize = 16_384;

/// See [`crate::adamw()`].
pub(crate) fn adamw(
    weight: Tensor<1>,
    gradient: Tensor<1>,
    mean: Tensor<1>,
    square: Tensor<1>,
    step: &AdamW,
) -> [Tensor<1>; 3] {
    let [weight, gradient] = [weight, gradient].map(in_rows);
    let [mut mean, mut square] = [mean, square].map(own);
    let mut output = room(floats(&weight).len());
    if let (Some(mean), Some(square)) = (floats_mut(&mut mean), floats_mut(&mut square)) {
        let given = floats(&weight).chunks(PIECE).zip(floats(&gradient).chunks(PIECE));
        let made = mean.chunks_mut(PIECE).zip(square.chunks_mut(PIECE));
        let pieces = given.zip(made).zip(output.chunks_mut(PIECE)).collect();
        for_each(pieces, |(((weight, gradient), (mean, square)), output)| {
            update(Level::widest(), step, weight, gradient, mean, square, output);
        });
    }
    let len = output.len();
    [finished(tensor(output, [len])), finished(mean), finished(square)]
}

/// A tensor in row order that nobody else holds.
pub(super) fn own<const D: usize>(given: Tensor<D>) -> FlexTensor {
    let mut given = in_rows(given);
    if floats_mut(&mut given).is_none() {
        given = tensor(floats(&given).to_vec(), given.layout().shape().clone());
    }
    given
}

vector_fn! {
    fn update<S>(s, step: &AdamW, weight: &[f32], gradient: &[f32], mean: &mut [f32], square: &mut [f32], output: &mut [f32]) {
        let [correct1, correct2] = step.corrections().map(|correction| s.splat(correction));
        let [beta1, rest1] = [step.beta1, 1.0 - step.beta1].map(|x| s.splat(x));
        let [beta2, rest2] = [step.beta2, 1.0 - step.beta2].map(|x| s.splat(x));
        let [epsilon, decay, rate, scale] =
            [step.epsilon, step.decay, -step.rate, step.scale].map(|x| s.splat(x));
        let given = weight.chunks(S::LANES).zip(gradient.chunks(S::LANES));
        let moments = mean.chunks_mut(S::LANES).zip(square.chunks_mut(S::LANES));
        for (((weight, gradient), (mean, square)), output) in given.zip(moments).zip(output.chunks_mut(S::LANES)) {
            let (w, g) = (load_some(s, weight, 0.0), s.mul(load_some(s, gradient, 0.0), scale));
            let m = s.fma(load_some(s, mean, 0.0), beta1, s.mul(g, rest1));
            let v = s.fma(load_some(s, square, 0.0), beta2, s.mul(s.mul(g, g), rest2));
            let root = s.add(s.sqrt(s.div(v, correct2)), epsilon);
            let change = s.fma(w, decay, s.div(s.div(m, correct1), root));
            store_some(s, mean, m);
            store_some(s, square, v);
            store_some(s, output, s.fma(change, rate, w));
        }
    }
}
