//! Activations as codes of 8 bits: one scale for each block of 32, in the order kernels read them.

use super::{BLOCK, Bits, LANES, TINY};

/// Largest code.
const LARGEST: f32 = 127.0;
/// Added and taken away again, this rounds a small float to an integer, ties to even.
const ROUND: f32 = 12_582_912.0; // 1.5 · 2²³

/// Rows of quantized activations.
///
/// A value is `scale · code`, codes are −127 to 127, the scale is the block's largest magnitude over
/// 127. A block with a number that is not finite has the scale NaN, so that products tell.
#[derive(Clone, Debug)]
pub struct Activations {
    bits: Bits,
    rows: usize,
    blocks: usize,
    /// For [`Bits::Eight`] the codes of each block in order. For [`Bits::Four`], whose weights come
    /// out of their bytes as even and odd ones, pairs of blocks: both blocks' even codes, then both
    /// blocks' odd ones. Rows are filled up with blocks of zeros to whole groups of [`LANES`].
    codes: Vec<i8>,
    /// `[rows, stored blocks]`.
    scales: Vec<f32>,
    /// Sum of each block's codes, `[rows, stored blocks]`.
    sums: Vec<i32>,
}

/// One row of [`Activations`].
#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    pub(super) codes: &'a [i8],
    pub(super) scales: &'a [f32],
    pub(super) sums: &'a [i32],
}

impl Activations {
    /// Quantizes rows of `width` values for weights of `bits`; an incomplete last row is left out.
    #[must_use]
    pub fn quantize(values: &[f32], width: usize, bits: Bits) -> Self {
        let blocks = width.div_ceil(BLOCK);
        let rows = values.len().checked_div(width).unwrap_or(0);
        let stored = stored(blocks);
        let mut this = Self {
            bits,
            rows,
            blocks,
            codes: vec![0; rows * stored * BLOCK],
            scales: vec![0.0; rows * stored],
            sums: vec![0; rows * stored],
        };
        for (at, row) in values.chunks_exact(width.max(1)).enumerate() {
            let codes = &mut this.codes[at * stored * BLOCK..][..stored * BLOCK];
            for (block, values) in row.chunks(BLOCK).enumerate() {
                let (scale, block_codes) = quantize_block(values);
                this.scales[at * stored + block] = scale;
                this.sums[at * stored + block] = block_codes.iter().map(|&c| i32::from(c)).sum();
                match bits {
                    Bits::Eight => codes[block * BLOCK..][..BLOCK].copy_from_slice(&block_codes),
                    Bits::Four => {
                        for (at, code) in block_codes.into_iter().enumerate() {
                            codes[place(bits, block, at)] = code;
                        }
                    }
                }
            }
        }
        this
    }

    /// Rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Blocks a row.
    pub(super) fn blocks(&self) -> usize {
        self.blocks
    }

    /// Weights they are arranged for.
    pub(super) fn bits(&self) -> Bits {
        self.bits
    }

    /// Row `at`.
    pub(super) fn row(&self, at: usize) -> Row<'_> {
        let stored = stored(self.blocks);
        Row {
            codes: &self.codes[at * stored * BLOCK..][..stored * BLOCK],
            scales: &self.scales[at * stored..][..stored],
            sums: &self.sums[at * stored..][..stored],
        }
    }
}

/// Blocks that a row takes.
fn stored(blocks: usize) -> usize {
    blocks.next_multiple_of(LANES)
}

/// Where the code `at` of a block stands in its row.
pub(super) fn place(bits: Bits, block: usize, at: usize) -> usize {
    match bits {
        Bits::Four => (block / 2 * 4 + at % 2 * 2 + block % 2) * (BLOCK / 2) + at / 2,
        Bits::Eight => block * BLOCK + at,
    }
}

fn quantize_block(values: &[f32]) -> (f32, [i8; BLOCK]) {
    // Magnitudes compare like their bits; what is not finite is above every number.
    let peak = values.iter().fold(0, |peak, value| peak.max(value.to_bits() & 0x7fff_ffff));
    let peak = f32::from_bits(peak);
    let mut codes = [0; BLOCK];
    if !peak.is_finite() {
        return (f32::NAN, codes);
    }
    if peak < TINY {
        return (0.0, codes);
    }
    let inverse = LARGEST / peak;
    for (code, value) in codes.iter_mut().zip(values) {
        *code = ((value * inverse + ROUND) - ROUND) as i8;
    }
    (peak / LARGEST, codes)
}
