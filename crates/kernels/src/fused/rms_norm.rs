//! Fused root-mean-square normalisation: one pass a row in each direction.

use burn::Tensor;
use burn_flex::FlexTensor;

use super::parallel::{for_each, rows_in_piece};
use super::simd::{Level, load_some, store_some, vector_fn};
use super::{Operation, contiguous, floats, room, run, tensor};

/// Floats in a piece of work.
const PIECE: usize = 16_384;

/// See [`crate::rms_norm`].
pub(crate) fn rms_norm(x: Tensor<3>, weight: Tensor<1>, eps: f64) -> Tensor<3> {
    run(&RmsNorm { eps: eps as f32 }, [x.into_dispatch(), weight.into_dispatch()])
}

#[derive(Clone, Debug)]
struct RmsNorm {
    eps: f32,
}

/// Inputs, and `1 / sqrt(mean(x²) + eps)` of each row.
type Saved = (FlexTensor, FlexTensor, Vec<f32>);

impl Operation<2> for RmsNorm {
    type Saved = Saved;

    fn forward(&self, inputs: [FlexTensor; 2], level: Level) -> (FlexTensor, Saved) {
        let [x, weight] = inputs.map(contiguous);
        let hidden = floats(&weight).len();
        let rows = rows_in_piece(hidden, PIECE);
        let mut output = room(floats(&x).len());
        let mut inverse = room(floats(&x).len() / hidden);
        let pieces = floats(&x)
            .chunks(rows * hidden)
            .zip(output.chunks_mut(rows * hidden))
            .zip(inverse.chunks_mut(rows))
            .collect();
        for_each(pieces, |((x, output), inverse)| {
            forward(level, x, floats(&weight), self.eps, output, inverse);
        });
        let output = tensor(output, x.layout().shape().clone());
        (output, (x, weight, inverse))
    }

    fn backward(
        &self,
        (x, weight, inverse): Saved,
        gradient: FlexTensor,
        _wanted: [bool; 2],
    ) -> [Option<FlexTensor>; 2] {
        let gradient = contiguous(gradient);
        let hidden = floats(&weight).len();
        let rows = rows_in_piece(hidden, PIECE);
        let mut x_gradient = room(floats(&x).len());
        let mut partial = vec![0.0; inverse.len().div_ceil(rows) * hidden];
        let pieces = floats(&x)
            .chunks(rows * hidden)
            .zip(floats(&gradient).chunks(rows * hidden))
            .zip(inverse.chunks(rows))
            .zip(x_gradient.chunks_mut(rows * hidden).zip(partial.chunks_mut(hidden)))
            .collect();
        for_each(pieces, |(((x, dy), inverse), (dx, dw))| {
            backward(Level::widest(), x, floats(&weight), inverse, dy, dx, dw);
        });
        // The pieces' sums, added in row order whoever made them.
        let mut weight_gradient = vec![0.0; hidden];
        for part in partial.chunks(hidden) {
            weight_gradient.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
        }
        let x_gradient = tensor(x_gradient, x.layout().shape().clone());
        [Some(x_gradient), Some(tensor(weight_gradient, [hidden]))]
    }
}

vector_fn! {
    fn forward<S>(s, x: &[f32], weight: &[f32], eps: f32, output: &mut [f32], inverse: &mut [f32]) {
        let hidden = weight.len();
        let rows = x.chunks_exact(hidden).zip(output.chunks_exact_mut(hidden));
        for ((x, output), inverse) in rows.zip(inverse) {
            let mut squares = s.splat(0.0);
            for x in x.chunks(S::LANES) {
                let x = load_some(s, x, 0.0);
                squares = s.fma(x, x, squares);
            }
            *inverse = 1.0 / (s.sum(squares) / hidden as f32 + eps).sqrt();
            let scale = s.splat(*inverse);
            let inputs = x.chunks(S::LANES).zip(weight.chunks(S::LANES));
            for ((x, weight), output) in inputs.zip(output.chunks_mut(S::LANES)) {
                let x = s.mul(load_some(s, x, 0.0), scale);
                store_some(s, output, s.mul(x, load_some(s, weight, 0.0)));
            }
        }
    }
}

vector_fn! {
    /// Writes `dx`, adds to `dw`. With `n = x · inverse`: `dx = inverse · (w·dy − n · mean(w·dy·n))`.
    fn backward<S>(s, x: &[f32], weight: &[f32], inverse: &[f32], dy: &[f32], dx: &mut [f32], dw: &mut [f32]) {
        let hidden = weight.len();
        let rows = x.chunks_exact(hidden).zip(dy.chunks_exact(hidden)).zip(inverse);
        for (((x, dy), &inverse), dx) in rows.zip(dx.chunks_exact_mut(hidden)) {
            let scale = s.splat(inverse);
            let mut dot = s.splat(0.0);
            let inputs = x.chunks(S::LANES).zip(dy.chunks(S::LANES)).zip(weight.chunks(S::LANES));
            for (((x, dy), weight), dw) in inputs.clone().zip(dw.chunks_mut(S::LANES)) {
                let normal = s.mul(load_some(s, x, 0.0), scale);
                let product = s.mul(load_some(s, dy, 0.0), normal);
                dot = s.fma(product, load_some(s, weight, 0.0), dot);
                let sum = s.add(load_some(s, dw, 0.0), product);
                store_some(s, dw, sum);
            }
            let mean = s.splat(-s.sum(dot) / hidden as f32);
            for (((x, dy), weight), dx) in inputs.zip(dx.chunks_mut(S::LANES)) {
                let normal = s.mul(load_some(s, x, 0.0), scale);
                let direct = s.mul(load_some(s, dy, 0.0), load_some(s, weight, 0.0));
                store_some(s, dx, s.mul(scale, s.fma(normal, mean, direct)));
            }
        }
    }
}
