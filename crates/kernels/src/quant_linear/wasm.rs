//! The packed product with WebAssembly's fixed-width vectors: eight blocks at a time, one to a lane.
//!
//! Activations are widened once for all rows of weights, weights once for some rows of activations.
//! A row's last blocks may not fill eight lanes; see `avx2`, whose order this is.

use super::activations::Row;
use super::{Activations, BLOCK, Bits, LANES, SCALE_BYTES, Tile};
use std::arch::wasm32::{
    f32x4_add, f32x4_convert_i32x4, f32x4_extract_lane, f32x4_mul, f32x4_splat,
    i16x8_extend_high_i8x16, i16x8_extend_high_u8x16, i16x8_extend_low_i8x16,
    i16x8_extend_low_u8x16, i32x4, i32x4_add, i32x4_dot_i16x8, i32x4_gt, i32x4_shl, i32x4_shuffle,
    i32x4_splat, i32x4_sub, u8x16_shr, u8x16_splat, u32x4_load_extend_u16x4, u32x4_shl,
    u32x4_splat, v128, v128_and, v128_load, v128_or, v128_xor,
};

/// Rows of activations that meet a row of weights once it is unpacked.
const TOGETHER: usize = 4;
/// 2¹¹²: between the exponents of float16 and float32.
const REBIAS: f32 = 5.192_296_9e33;

/// A row of activations with its codes as 16 bits.
#[derive(Clone, Copy)]
struct Wide<'a> {
    codes: &'a [i16],
    row: Row<'a>,
}

/// Every product of a tile; see `Kernel::run`.
pub(super) fn run(tile: &Tile<'_>, x: &Activations, results: &mut [f32]) {
    let codes = |at| x.row(at).codes.iter().map(|&code| i16::from(code));
    let widened: Vec<i16> = (0..x.rows()).flat_map(codes).collect();
    let stored = tile.blocks.next_multiple_of(LANES);
    let wide = |at: usize| Wide {
        codes: &widened[at * stored * BLOCK..][..stored * BLOCK],
        row: x.row(at),
    };
    let mut at = 0;
    while at + TOGETHER <= x.rows() {
        let rows: [Wide<'_>; TOGETHER] = std::array::from_fn(|n| wide(at + n));
        some_rows(tile, rows, &mut results[at * tile.rows..]);
        at += TOGETHER;
    }
    for at in at..x.rows() {
        some_rows(tile, [wide(at)], &mut results[at * tile.rows..]);
    }
}

fn some_rows<const N: usize>(tile: &Tile<'_>, x: [Wide<'_>; N], results: &mut [f32]) {
    let stored = tile.blocks.next_multiple_of(LANES);
    let [code_bytes, scale_bytes] = [tile.bits.block_bytes(), SCALE_BYTES];
    for Wide { codes, row } in &x {
        assert!(
            codes.len() >= stored * BLOCK && row.scales.len() >= stored && row.sums.len() >= stored
        );
    }
    let mut last = (vec![0; stored * code_bytes], vec![0; stored * scale_bytes]);
    for row in 0..tile.rows {
        let start = row * tile.blocks;
        let inside = (start + stored) * code_bytes <= tile.codes.len()
            && (start + stored) * scale_bytes <= tile.scales.len();
        let (codes, scales) = if inside {
            (&tile.codes[start * code_bytes..], &tile.scales[start * scale_bytes..])
        } else {
            let (codes, scales) = tile.row(row);
            last.0[..codes.len()].copy_from_slice(codes);
            last.1[..scales.len()].copy_from_slice(scales);
            (last.0.as_slice(), last.1.as_slice())
        };
        assert!(codes.len() >= stored * code_bytes && scales.len() >= stored * scale_bytes);
        // SAFETY: just asserted, here and above.
        let sums = unsafe { every_block(tile.bits, codes, scales, x, tile.blocks) };
        for (n, [low, high]) in sums.into_iter().enumerate() {
            results[n * tile.rows + row] = total(f32x4_add(low, high));
        }
    }
}

/// The sum of the lanes, in the order of [`super::scalar::total`], from the sums of lanes `l` and
/// `l + 4`.
#[inline]
fn total(half: v128) -> f32 {
    let even = f32x4_extract_lane::<0>(half) + f32x4_extract_lane::<2>(half);
    even + (f32x4_extract_lane::<1>(half) + f32x4_extract_lane::<3>(half))
}

/// Lanes 0 to 3 and 4 to 7 of all `blocks`, for each row of `x`.
///
/// # Safety
/// `codes`, `scales` and the rows of `x` hold `blocks`, rounded up to a multiple of eight; there the
/// codes of `x` are zero.
#[inline]
unsafe fn every_block<const N: usize>(
    bits: Bits,
    codes: &[u8],
    scales: &[u8],
    x: [Wide<'_>; N],
    blocks: usize,
) -> [[v128; 2]; N] {
    let mut lanes = [[f32x4_splat(0.0); 2]; N];
    for first in (0..blocks).step_by(LANES / 2) {
        // Lanes beyond the last block count for nothing.
        let there = i32x4_gt(i32x4_splat((blocks - first) as i32), i32x4(0, 1, 2, 3));
        // SAFETY: four blocks from `first` on are there, says the caller; loads ask for no alignment.
        unsafe {
            let halves = u32x4_load_extend_u16x4(scales.as_ptr().add(first * SCALE_BYTES).cast());
            let weights = f32x4_mul(magnitudes(v128_and(halves, there)), f32x4_splat(REBIAS));
            let sums = match bits {
                Bits::Four => four_bits(codes, x, first),
                Bits::Eight => eight_bits(codes, x, first),
            };
            for n in 0..N {
                let scale =
                    f32x4_mul(weights, v128_load(x[n].row.scales.as_ptr().add(first).cast()));
                let product = f32x4_mul(f32x4_convert_i32x4(sums[n]), scale);
                let lanes = &mut lanes[n][first / (LANES / 2) % 2];
                *lanes = f32x4_add(*lanes, product);
            }
        }
    }
    lanes
}

/// Float16 bits as float32, too small by [`REBIAS`]; infinity and NaN are no scales.
#[inline]
fn magnitudes(halves: v128) -> v128 {
    let sign = u32x4_shl(v128_and(halves, u32x4_splat(0x8000)), 16);
    v128_or(sign, u32x4_shl(v128_and(halves, u32x4_splat(0x7fff)), 13))
}

/// Sums of four blocks of 8-bit weights with each row of activations.
///
/// # Safety
/// Four blocks from `first` on are in `codes` and in each row of `x`.
#[inline]
unsafe fn eight_bits<const N: usize>(codes: &[u8], x: [Wide<'_>; N], first: usize) -> [v128; N] {
    let mut blocks = [[i32x4_splat(0); 4]; N];
    for at in 0..4 {
        let block = (first + at) * BLOCK;
        for half in [0, 16] {
            // SAFETY: 16 bytes of the block are there, says the caller.
            let bytes = unsafe { v128_load(codes.as_ptr().add(block + half).cast()) };
            let centred = v128_xor(bytes, u8x16_splat(128));
            let (low, high) = (i16x8_extend_low_i8x16(centred), i16x8_extend_high_i8x16(centred));
            for n in 0..N {
                // SAFETY: as above.
                let dot = unsafe { pair(low, high, x[n].codes.as_ptr().add(block + half)) };
                blocks[n][at] = i32x4_add(blocks[n][at], dot);
            }
        }
    }
    blocks.map(transposed)
}

/// Sums of four blocks of 4-bit weights with each row of activations; see `avx2::four_bits` for the
/// order of the codes.
///
/// # Safety
/// As [`eight_bits`].
#[inline]
unsafe fn four_bits<const N: usize>(codes: &[u8], x: [Wide<'_>; N], first: usize) -> [v128; N] {
    let mut blocks = [[i32x4_splat(0); 4]; N];
    for at in 0..4 {
        let block = first + at;
        // SAFETY: the block's 16 bytes are there, says the caller.
        let bytes = unsafe { v128_load(codes.as_ptr().add(block * BLOCK / 2).cast()) };
        let start = block / 2 * 2 * BLOCK + block % 2 * (BLOCK / 2);
        for (nibbles, start) in
            [(v128_and(bytes, u8x16_splat(15)), start), (u8x16_shr(bytes, 4), start + BLOCK)]
        {
            let (low, high) = (i16x8_extend_low_u8x16(nibbles), i16x8_extend_high_u8x16(nibbles));
            for n in 0..N {
                // SAFETY: as above.
                let dot = unsafe { pair(low, high, x[n].codes.as_ptr().add(start)) };
                blocks[n][at] = i32x4_add(blocks[n][at], dot);
            }
        }
    }
    let mut sums = blocks.map(transposed);
    for n in 0..N {
        // SAFETY: four sums lie there, says the caller.
        let zero = unsafe { v128_load(x[n].row.sums.as_ptr().add(first).cast()) };
        sums[n] = i32x4_sub(sums[n], i32x4_shl(zero, 3));
    }
    sums
}

/// Products of 16 weights with the 16 activations at `x`, in four sums.
///
/// # Safety
/// They are there.
#[inline]
unsafe fn pair(low: v128, high: v128, x: *const i16) -> v128 {
    // SAFETY: the caller promises 16 of them; loads ask for no alignment.
    let (x, y) = unsafe { (v128_load(x.cast()), v128_load(x.add(8).cast())) };
    i32x4_add(i32x4_dot_i16x8(low, x), i32x4_dot_i16x8(high, y))
}

/// The sum of each of four vectors.
#[inline]
fn transposed([a, b, c, d]: [v128; 4]) -> v128 {
    let two =
        |a, b| i32x4_add(i32x4_shuffle::<0, 4, 1, 5>(a, b), i32x4_shuffle::<2, 6, 3, 7>(a, b));
    let (ab, cd) = (two(a, b), two(c, d)); // [a02, b02, a13, b13]
    i32x4_add(i32x4_shuffle::<0, 1, 4, 5>(ab, cd), i32x4_shuffle::<2, 3, 6, 7>(ab, cd))
}
