//! The specification of a packed product, and what machines without a kernel of their own run.
//!
//! ```text
//! lane[l] = Σ float(Σ (code − zero) · activation) · (weight scale · activation scale)   blocks l, l+8, …
//! result  = ((lane0 + lane4) + (lane2 + lane6)) + ((lane1 + lane5) + (lane3 + lane7))
//! ```
//! The inner sum is exact: 32 products of at most 128 · 127 stay below 2²⁴, where every integer is a
//! float32. Each float operation rounds once; none is fused with another.

use super::activations::{Row, place};
use super::{Activations, BLOCK, Bits, LANES, SCALE_BYTES, Tile};
use half::f16;

/// Every product of a tile; see `Kernel::run`.
pub(super) fn run(tile: &Tile<'_>, x: &Activations, results: &mut [f32]) {
    for (at, results) in results.chunks_exact_mut(tile.rows).enumerate() {
        for (row, result) in results.iter_mut().enumerate() {
            let mut lanes = [0.0; LANES];
            add_blocks(tile, row, x.row(at), &mut lanes);
            *result = total(&lanes);
        }
    }
}

/// Adds the products of all blocks to the lanes.
fn add_blocks(tile: &Tile<'_>, row: usize, x: Row<'_>, lanes: &mut [f32; LANES]) {
    let (codes, scales) = tile.row(row);
    let bytes = tile.bits.block_bytes();
    for block in 0..tile.blocks {
        let codes = &codes[block * bytes..][..bytes];
        let mut sum = 0;
        for at in 0..BLOCK {
            let activation = x.codes[place(tile.bits, block, at)];
            sum += centred(tile.bits, codes, at) * i32::from(activation);
        }
        let scale = scale(scales, block) * x.scales[block];
        lanes[block % LANES] += sum as f32 * scale;
    }
}

/// The sum of the lanes.
#[inline]
pub(super) fn total(lanes: &[f32; LANES]) -> f32 {
    ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6]))
        + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]))
}

/// A row's weights.
pub(super) fn values(tile: &Tile<'_>, row: usize) -> Vec<f32> {
    let (codes, scales) = tile.row(row);
    let bytes = tile.bits.block_bytes();
    let value = |block: usize, at| {
        let codes = &codes[block * bytes..][..bytes];
        scale(scales, block) * centred(tile.bits, codes, at) as f32
    };
    (0..tile.blocks).flat_map(|block| (0..BLOCK).map(move |at| value(block, at))).collect()
}

/// A code of a block, less the zero point.
#[inline]
fn centred(bits: Bits, codes: &[u8], at: usize) -> i32 {
    match bits {
        Bits::Four => i32::from(codes[at / 2] >> (at % 2 * 4) & 15) - 8,
        Bits::Eight => i32::from(codes[at]) - 128,
    }
}

/// A block's scale.
#[inline]
pub(super) fn scale(scales: &[u8], block: usize) -> f32 {
    let bytes = &scales[block * SCALE_BYTES..];
    f16::from_le_bytes([bytes[0], bytes[1]]).to_f32()
}
