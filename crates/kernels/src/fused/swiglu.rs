//! Fused `silu(gate) · up`: one pass forward, one pass backward that overwrites its inputs.

use burn::Tensor;
use burn_flex::FlexTensor;

use super::parallel::for_each;
use super::simd::{Level, load_some, sigmoid, store_some, vector_fn};
use super::{Operation, contiguous, floats, floats_mut, room, run, tensor};

/// Floats in a piece of work.
const PIECE: usize = 16_384;

/// See [`crate::swiglu`].
pub(crate) fn swiglu(gate: Tensor<3>, up: Tensor<3>) -> Tensor<3> {
    run(&SwiGlu, [gate.into_dispatch(), up.into_dispatch()])
}

#[derive(Clone, Debug)]
struct SwiGlu;

impl Operation<2> for SwiGlu {
    type Saved = [FlexTensor; 2];

    fn forward(&self, inputs: [FlexTensor; 2], level: Level) -> (FlexTensor, Self::Saved) {
        let [gate, up] = inputs.map(contiguous);
        let mut output = room(floats(&gate).len());
        let pieces = floats(&gate)
            .chunks(PIECE)
            .zip(floats(&up).chunks(PIECE))
            .zip(output.chunks_mut(PIECE))
            .collect();
        for_each(pieces, |((gate, up), output)| forward(level, gate, up, output));
        let output = tensor(output, gate.layout().shape().clone());
        (output, [gate, up])
    }

    fn backward(
        &self,
        [mut gate, mut up]: Self::Saved,
        gradient: FlexTensor,
        _wanted: [bool; 2],
    ) -> [Option<FlexTensor>; 2] {
        let gradient = contiguous(gradient);
        // The saved projections are done with after this: their memory takes the gradients,
        // unless somebody still holds them.
        for saved in [&mut gate, &mut up] {
            if floats_mut(saved).is_none() {
                *saved = tensor(floats(saved).to_vec(), saved.layout().shape().clone());
            }
        }
        if let (Some(gate), Some(up)) = (floats_mut(&mut gate), floats_mut(&mut up)) {
            let pieces = floats(&gradient)
                .chunks(PIECE)
                .zip(gate.chunks_mut(PIECE))
                .zip(up.chunks_mut(PIECE))
                .collect();
            for_each(pieces, |((gradient, gate), up)| {
                backward(Level::widest(), gradient, gate, up);
            });
        }
        [Some(gate), Some(up)]
    }
}

vector_fn! {
    fn forward<S>(s, gate: &[f32], up: &[f32], output: &mut [f32]) {
        let inputs = gate.chunks(S::LANES).zip(up.chunks(S::LANES));
        for ((gate, up), output) in inputs.zip(output.chunks_mut(S::LANES)) {
            let gate = load_some(s, gate, 0.0);
            let silu = s.mul(gate, sigmoid(s, gate));
            store_some(s, output, s.mul(silu, load_some(s, up, 0.0)));
        }
    }
}

vector_fn! {
    /// Overwrites `gate` and `up` with their gradients.
    fn backward<S>(s, gradient: &[f32], gate: &mut [f32], up: &mut [f32]) {
        let one = s.splat(1.0);
        let outputs = gate.chunks_mut(S::LANES).zip(up.chunks_mut(S::LANES));
        for (gradient, (gate, up)) in gradient.chunks(S::LANES).zip(outputs) {
            let (dy, x, u) = (load_some(s, gradient, 0.0), load_some(s, gate, 0.0), load_some(s, up, 0.0));
            let sigma = sigmoid(s, x);
            // silu'(x) = σ · (1 + x · (1 − σ))
            let slope = s.mul(sigma, s.fma(x, s.sub(one, sigma), one));
            store_some(s, gate, s.mul(s.mul(dy, u), slope));
            store_some(s, up, s.mul(dy, s.mul(x, sigma)));
        }
    }
}
