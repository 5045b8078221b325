//! Draws from a random stream that the language needs.

use rand_chacha::rand_core::RngCore;

/// An even draw from `0..n`; 0 for `n` = 0.
pub(super) fn below(rng: &mut impl RngCore, n: usize) -> usize {
    ((u64::from(rng.next_u32()) * n as u64) >> 32) as usize
}

/// True with this probability.
pub(super) fn chance(rng: &mut impl RngCore, probability: f64) -> bool {
    f64::from(rng.next_u32()) < probability * 4_294_967_296.0
}

/// One of the items; `""` if there are none.
pub(super) fn pick<'a>(rng: &mut impl RngCore, items: &'a [String]) -> &'a str {
    items
        .get(below(rng, items.len()))
        .map_or("", String::as_str)
}
