//! Random streams and draws with fixed arithmetic, the same on every machine.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// The stream of (seed, purpose, index).
pub(crate) fn stream(seed: u64, purpose: u64, index: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    for (bytes, word) in key.chunks_exact_mut(8).zip([seed, purpose, index, 0]) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

/// An even draw from `0..n`; 0 for `n` = 0.
pub(crate) fn below(rng: &mut impl RngCore, n: usize) -> usize {
    ((u64::from(rng.next_u32()) * n as u64) >> 32) as usize
}

/// True with this probability.
pub(crate) fn chance(rng: &mut impl RngCore, probability: f64) -> bool {
    f64::from(rng.next_u32()) < probability * 4_294_967_296.0
}

/// One of the items.
pub(crate) fn pick<'a, T>(rng: &mut impl RngCore, items: &'a [T]) -> Option<&'a T> {
    items.get(below(rng, items.len()))
}

/// An index, as often as its weight says; `None` if no weight is above 0.
pub(crate) fn weighted(rng: &mut impl RngCore, weights: &[f64]) -> Option<usize> {
    let total: f64 = weights.iter().sum();
    let mut rest = f64::from(rng.next_u32()) / 4_294_967_296.0 * total;
    let mut last = None;
    for (at, &weight) in weights.iter().enumerate().filter(|(_, weight)| **weight > 0.0) {
        last = Some(at);
        rest -= weight;
        if rest < 0.0 {
            break;
        }
    }
    last
}
