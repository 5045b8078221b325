//! Finite scalar quantization: a few numbers in, one code out, no learned codebook.
//!
//! A latent number is squashed to `0..1`, cut into its levels, and the digits are read as one
//! mixed-radix number. Plain arithmetic on the host; the trainer does the same with tensors.
//! Source: arXiv 2309.15505, with the logistic approximation of the Gaussian's distribution
//! function as squashing, so that normally distributed latents use every level equally often.

use crate::ids::CodeId;

/// Slope that makes the logistic function follow the Gaussian's distribution function.
pub const SQUASH: f32 = 1.702;

/// Levels of each latent number, and the arithmetic between digits and codes.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantizer {
    levels: Vec<usize>,
}

impl Quantizer {
    /// A quantizer of these levels; the first digit counts fastest.
    #[must_use]
    pub fn new(levels: &[usize]) -> Self {
        Self { levels: levels.to_vec() }
    }

    /// Levels of each digit.
    #[must_use]
    pub fn levels(&self) -> &[usize] {
        &self.levels
    }

    /// The code of squashed latents (each in `0..=1`).
    #[must_use]
    pub fn code(&self, squashed: &[f32]) -> CodeId {
        let mut code = 0;
        for (&level, &value) in self.levels.iter().zip(squashed).rev() {
            let digit = ((value * level as f32) as usize).min(level - 1);
            code = code * level + digit;
        }
        CodeId(code as u32)
    }

    /// The middle of each digit's level, in `-1..1`: what a decoder sees of a code.
    pub fn centres(&self, code: CodeId) -> impl Iterator<Item = f32> + '_ {
        let mut rest = code.0 as usize;
        self.levels.iter().map(move |&level| {
            let digit = rest % level;
            rest /= level;
            (digit as f32 + 0.5) / level as f32 * 2.0 - 1.0
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_count_in_mixed_radix() {
        let quantizer = Quantizer::new(&[3, 5]);
        assert_eq!(quantizer.code(&[0.0, 0.0]), CodeId(0));
        assert_eq!(quantizer.code(&[0.5, 0.0]), CodeId(1));
        assert_eq!(quantizer.code(&[1.0, 1.0]), CodeId(14));
        assert_eq!(quantizer.code(&[0.99, 0.21]), CodeId(2 + 3));
        let centres: Vec<f32> = quantizer.centres(CodeId(5)).collect();
        assert_eq!(centres, [2.5 / 3.0 * 2.0 - 1.0, 1.5 / 5.0 * 2.0 - 1.0]);
    }

    #[test]
    fn every_code_survives_its_own_centres() {
        let quantizer = Quantizer::new(&[8, 8, 8, 5, 5]);
        for code in (0..12_800).map(CodeId) {
            let squashed: Vec<f32> = quantizer.centres(code).map(|c| (c + 1.0) / 2.0).collect();
            assert_eq!(quantizer.code(&squashed), code);
        }
    }
}
