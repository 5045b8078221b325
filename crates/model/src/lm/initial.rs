//! Initial weights: a function of (seed, name, shape) alone, the same on every machine.

use crate::checkpoint::{HostTensor, TensorMap};
use crate::sample::rng::{Key, uniform};

/// Initial values for tensors of these names and shapes.
///
/// Gains are 1, tables have variance `1 / width`, matrices `1 / inputs`; maps that write to
/// the residual stream are scaled down by `1 / sqrt(2 · layers)`.
#[must_use]
pub fn initial_tensors(shapes: &TensorMap, layers: usize, seed: u64) -> TensorMap {
    shapes
        .iter()
        .map(|(name, tensor)| (name.clone(), initial(name, tensor, layers, seed)))
        .collect()
}

fn initial(name: &str, like: &HostTensor, layers: usize, seed: u64) -> HostTensor {
    let is = |ends: &[&str]| ends.iter().any(|end| name.ends_with(end));
    let count = like.data.len();
    let data = if is(&["norm"]) {
        vec![1.0; count]
    } else {
        let inputs = like.shape[0] as f32;
        let width = like.shape.get(1).map_or(1.0, |&width| width as f32);
        let residual = 1.0 / (2.0 * layers.max(1) as f32).sqrt();
        let std = if is(&["rows", "cols", "parts"]) {
            0.5 / width.sqrt()
        } else if is(&["control", "codes"]) {
            1.0 / width.sqrt()
        } else if is(&["o_proj.weight", "down_proj.weight"]) {
            residual / inputs.sqrt()
        } else {
            1.0 / inputs.sqrt()
        };
        seeded_normal(name, seed, count).map(|value| value * std).collect()
    };
    HostTensor { shape: like.shape.clone(), data }
}

/// `count` standard normal numbers of the stream (seed, name).
pub fn seeded_normal(name: &str, seed: u64, count: usize) -> impl Iterator<Item = f32> {
    let stream = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (0..count as u64).map(move |at| {
        let key = |half| Key { seed, purpose: stream, index: at, position: 0, token: half };
        let radius = libm::sqrt(-2.0 * libm::log(uniform(key(0))));
        (radius * libm::cos(std::f64::consts::TAU * uniform(key(1)))) as f32
    })
}
