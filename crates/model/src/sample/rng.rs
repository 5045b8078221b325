//! Counter-based random numbers: a pure function of a key, so nothing needs to be replayed.
//!
//! The key's words are absorbed one after another by the `SplitMix64` finalizer (Steele, Lea &
//! Flood 2014), which is enough for sampling; it is no cipher.

/// What a random number is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// The edit's seed.
    pub seed: u64,
    /// Kind of draw.
    pub purpose: u64,
    /// Which candidate or example.
    pub index: u64,
    /// Position in the sequence.
    pub position: u64,
    /// Token or half.
    pub token: u64,
}

/// A number in the open interval `0..1`, with 52 random bits.
#[must_use]
pub fn uniform(key: Key) -> f64 {
    let bits = [key.seed, key.purpose, key.index, key.position, key.token]
        .into_iter()
        .fold(0x9e37_79b9_7f4a_7c15, |state, word| mix(state ^ mix(word)));
    ((bits >> 12) as f64 + 0.5) / (1u64 << 52) as f64
}

fn mix(word: u64) -> u64 {
    let mut z = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_spread_and_depend_on_every_word_of_the_key() {
        let base = Key { seed: 1, purpose: 2, index: 3, position: 4, token: 5 };
        let mean: f64 =
            (0..10_000).map(|token| uniform(Key { token, ..base })).sum::<f64>() / 10_000.0;
        assert!((mean - 0.5).abs() < 0.01, "{mean}");
        let others = [
            Key { seed: 2, ..base },
            Key { purpose: 3, ..base },
            Key { index: 4, ..base },
            Key { position: 5, ..base },
            Key { token: 6, ..base },
        ];
        assert!(others.iter().all(|&other| uniform(other).to_bits() != uniform(base).to_bits()));
    }
}
