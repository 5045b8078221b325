//! Fused rotary positions: one pass; the backward pass turns the other way.

use burn::Tensor;
use burn_flex::FlexTensor;

use super::parallel::{for_each, rows_in_piece};
use super::simd::{Level, load_some, store_some, vector_fn};
use super::{Operation, contiguous, floats, in_rows, room, run, tensor};

/// Floats in a piece of work.
const PIECE: usize = 16_384;

/// See [`crate::rope`].
pub(crate) fn rope(x: Tensor<4>, cos: Tensor<3>, sin: Tensor<3>) -> Tensor<4> {
    let [_, _, heads, head_dim] = x.dims();
    let angles = [cos, sin].map(in_rows);
    let [cos, sin] = angles;
    run(&Rope { heads, head_dim, cos, sin }, [x.into_dispatch()])
}

#[derive(Clone, Debug)]
struct Rope {
    heads: usize,
    head_dim: usize,
    /// `[batch, seq, head_dim / 2]`, or batch 1 for all alike.
    cos: FlexTensor,
    sin: FlexTensor,
}

impl Rope {
    fn turn(&self, level: Level, x: FlexTensor, direction: f32) -> FlexTensor {
        let x = contiguous(x);
        let mut output = room(floats(&x).len());
        let position = self.heads * self.head_dim;
        let positions = rows_in_piece(position, PIECE);
        let pieces = floats(&x)
            .chunks(positions * position)
            .zip(output.chunks_mut(positions * position))
            .enumerate()
            .collect();
        for_each(pieces, |(piece, (x, output))| {
            let first = piece * positions;
            turn(
                level,
                x,
                floats(&self.cos),
                floats(&self.sin),
                direction,
                first,
                self.heads,
                self.head_dim,
                output,
            );
        });
        tensor(output, x.layout().shape().clone())
    }
}

impl Operation<1> for Rope {
    type Saved = ();

    fn forward(&self, [x]: [FlexTensor; 1], level: Level) -> (FlexTensor, ()) {
        (self.turn(level, x, 1.0), ())
    }

    fn backward(
        &self,
        (): (),
        gradient: FlexTensor,
        _wanted: [bool; 1],
    ) -> [Option<FlexTensor>; 1] {
        [Some(self.turn(Level::widest(), gradient, -1.0))]
    }
}

vector_fn! {
    /// Turns the positions from number `first` on; angles repeat when they have fewer positions.
    fn turn<S>(s, x: &[f32], cos: &[f32], sin: &[f32], direction: f32, first: usize, heads: usize, head_dim: usize, output: &mut [f32]) {
        let half = head_dim / 2;
        let direction = s.splat(direction);
        let position = heads * head_dim;
        let rows = x.chunks_exact(position).zip(output.chunks_exact_mut(position));
        for (row, (x, output)) in rows.enumerate() {
            let angle = (first + row) * half % cos.len();
            let (cos, sin) = (&cos[angle..angle + half], &sin[angle..angle + half]);
            for (x, output) in x.chunks_exact(head_dim).zip(output.chunks_exact_mut(head_dim)) {
                let (x1, x2) = x.split_at(half);
                let (y1, y2) = output.split_at_mut(half);
                let inputs = x1.chunks(S::LANES).zip(x2.chunks(S::LANES));
                let angles = cos.chunks(S::LANES).zip(sin.chunks(S::LANES));
                let outputs = y1.chunks_mut(S::LANES).zip(y2.chunks_mut(S::LANES));
                for (((x1, x2), (cos, sin)), (y1, y2)) in inputs.zip(angles).zip(outputs) {
                    let (x1, x2) = (load_some(s, x1, 0.0), load_some(s, x2, 0.0));
                    let cos = load_some(s, cos, 0.0);
                    let sin = s.mul(load_some(s, sin, 0.0), direction);
                    store_some(s, y1, s.sub(s.mul(x1, cos), s.mul(x2, sin)));
                    store_some(s, y2, s.fma(x2, cos, s.mul(x1, sin)));
                }
            }
        }
    }
}
