//! Rotary positions in three sections: time, row, column.
//!
//! Each pair of a head's numbers turns with one of the three; `rope_sections = [head_dim/2, 0, 0]`
//! is the usual one-dimensional form. A source cell and the target cell at the same place have the
//! same row and column, so that copying is one attention head. Angles are computed on the host with
//! `libm`, the same on every machine. Half-split layout, as Llama and Emu3 checkpoints have it.

use super::Chunk;
use crate::config::LmConfig;
use burn::tensor::{Device, Tensor, TensorData};
use rustc_hash::FxHashMap;

/// Cosines and sines of one chunk, `[batch, seq, head_dim / 2]` each.
pub struct Rotary {
    cos: Tensor<3>,
    sin: Tensor<3>,
}

/// Cosines and sines of a section's pairs, by position.
type Turns = FxHashMap<usize, (Vec<f32>, Vec<f32>)>;

/// Cosines and sines of one section at one position.
fn turns(config: &LmConfig, pairs: usize, position: usize) -> (Vec<f32>, Vec<f32>) {
    let angle =
        |pair: usize| position as f64 * libm::pow(config.rope_theta, -(pair as f64) / pairs as f64);
    let of = |function: fn(f64) -> f64| (0..pairs).map(move |pair| function(angle(pair)) as f32);
    (of(libm::cos).collect(), of(libm::sin).collect())
}

impl Rotary {
    /// The turns of every token of the chunk; a missing row or column does not turn.
    #[must_use]
    pub fn new(config: &LmConfig, chunk: &Chunk, device: &Device) -> Self {
        let mut known: [Turns; 3] = Default::default();
        let places = chunk.slots.iter().zip(&chunk.times);
        let capacity = chunk.ids.len() * config.head_dim / 2;
        let (mut cos, mut sin) = (Vec::with_capacity(capacity), Vec::with_capacity(capacity));
        for (slot, &time) in places {
            let at = [time, slot.row.unwrap_or(0), slot.col.unwrap_or(0)];
            for ((known, position), pairs) in known.iter_mut().zip(at).zip(config.rope_sections) {
                let turns = known.entry(position).or_insert_with(|| turns(config, pairs, position));
                cos.extend_from_slice(&turns.0);
                sin.extend_from_slice(&turns.1);
            }
        }
        let shape = [chunk.batch, chunk.seq, config.head_dim / 2];
        let tensor = |values: Vec<f32>| Tensor::from_data(TensorData::new(values, shape), device);
        Self { cos: tensor(cos), sin: tensor(sin) }
    }

    /// Cosines and sines, `[batch, seq, head_dim / 2]` each.
    #[must_use]
    pub(super) fn angles(&self) -> [Tensor<3>; 2] {
        [self.cos.clone(), self.sin.clone()]
    }

    /// Turns `[batch, seq, heads, head_dim]`.
    #[must_use]
    pub fn apply(&self, x: Tensor<4>) -> Tensor<4> {
        earl_kernels::rope(x, self.cos.clone(), self.sin.clone())
    }
}
