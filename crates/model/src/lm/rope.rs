//! Rotary positions in three sections: time, row, column.
//!
//! Each pair of a head's numbers turns with one of the three; `rope_sections = [head_dim/2, 0, 0]`
//! is the usual one-dimensional form. A source cell and the target cell at the same place have the
//! same row and column, so that copying is one attention head. Angles are computed on the host with
//! `libm`, the same on every machine. Half-split layout, as Llama and Emu3 checkpoints have it.

use super::Chunk;
use crate::config::LmConfig;
use burn::tensor::{Device, Tensor, TensorData};

/// Cosines and sines of one chunk, `[batch, seq, head_dim / 2]` each.
pub struct Rotary {
    cos: Tensor<3>,
    sin: Tensor<3>,
}

impl Rotary {
    /// The turns of every token of the chunk; a missing row or column does not turn.
    #[must_use]
    pub fn new(config: &LmConfig, chunk: &Chunk, device: &Device) -> Self {
        let angles: Vec<f64> = chunk
            .slots
            .iter()
            .zip(&chunk.times)
            .flat_map(|(slot, &time)| {
                let at = [time, slot.row.unwrap_or(0), slot.col.unwrap_or(0)];
                config.rope_sections.into_iter().zip(at).flat_map(|(pairs, position)| {
                    (0..pairs).map(move |pair| {
                        position as f64
                            * libm::pow(config.rope_theta, -(pair as f64) / pairs as f64)
                    })
                })
            })
            .collect();
        let shape = [chunk.batch, chunk.seq, config.head_dim / 2];
        let tensor = |of: fn(f64) -> f64| {
            let values: Vec<f32> = angles.iter().map(|&angle| of(angle) as f32).collect();
            Tensor::from_data(TensorData::new(values, shape), device)
        };
        Self { cos: tensor(libm::cos), sin: tensor(libm::sin) }
    }

    /// Turns `[batch, seq, heads, head_dim]`.
    #[must_use]
    pub fn apply(&self, x: Tensor<4>) -> Tensor<4> {
        earl_kernels::rope(x, self.cos.clone(), self.sin.clone())
    }
}
