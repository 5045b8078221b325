//! The packed product with WebAssembly's fixed-width vectors: a block at a time, summed as integers.

use super::activations::Row;
use super::{Activations, BLOCK, Bits, LANES, Tile, scalar};
use std::arch::wasm32::{
    i16x8_extend_high_i8x16, i16x8_extend_low_i8x16, i32x4_add, i32x4_dot_i16x8,
    i32x4_extract_lane, u8x16_shr, u8x16_splat, v128, v128_and, v128_load, v128_xor,
};

/// Every product of a tile; see `Kernel::run`.
pub(super) fn run(tile: &Tile<'_>, x: &Activations, results: &mut [f32]) {
    for row in 0..tile.rows {
        let (codes, scales) = tile.row(row);
        for at in 0..x.rows() {
            let x = x.row(at);
            let mut lanes = [0.0; LANES];
            for block in 0..tile.blocks {
                let sum = match tile.bits {
                    Bits::Four => four_bits(&codes[block * BLOCK / 2..], x, block),
                    Bits::Eight => eight_bits(&codes[block * BLOCK..], x, block),
                };
                let scale = scalar::scale(scales, block) * x.scales[block];
                lanes[block % LANES] += sum as f32 * scale;
            }
            results[at * tile.rows + row] = scalar::total(&lanes);
        }
    }
}

/// Sum of one block of 4-bit weights; see `avx2::four_bits` for the order.
#[inline]
fn four_bits(codes: &[u8], x: Row<'_>, block: usize) -> i32 {
    let bytes = unsigned(codes);
    let pair = &x.codes[block / 2 * 2 * BLOCK + block % 2 * (BLOCK / 2)..];
    let even = dot(v128_and(bytes, u8x16_splat(15)), signed(pair));
    let odd = dot(u8x16_shr(bytes, 4), signed(&pair[BLOCK..]));
    lanes(i32x4_add(even, odd)) - 8 * x.sums[block]
}

/// Sum of one block of 8-bit weights.
#[inline]
fn eight_bits(codes: &[u8], x: Row<'_>, block: usize) -> i32 {
    let x = &x.codes[block * BLOCK..];
    let centred = |from: &[u8]| v128_xor(unsigned(from), u8x16_splat(128));
    let low = dot(centred(codes), signed(x));
    lanes(i32x4_add(low, dot(centred(&codes[16..]), signed(&x[16..]))))
}

/// Products of 16 signed bytes, in four sums.
#[inline]
fn dot(a: v128, b: v128) -> v128 {
    let low = i32x4_dot_i16x8(i16x8_extend_low_i8x16(a), i16x8_extend_low_i8x16(b));
    i32x4_add(low, i32x4_dot_i16x8(i16x8_extend_high_i8x16(a), i16x8_extend_high_i8x16(b)))
}

#[inline]
fn lanes(v: v128) -> i32 {
    let pairs = i32x4_extract_lane::<0>(v) + i32x4_extract_lane::<1>(v);
    pairs + (i32x4_extract_lane::<2>(v) + i32x4_extract_lane::<3>(v))
}

#[inline]
fn unsigned(from: &[u8]) -> v128 {
    let from: &[u8] = &from[..16];
    // SAFETY: 16 bytes are there; the load asks for no alignment.
    unsafe { v128_load(from.as_ptr().cast()) }
}

#[inline]
fn signed(from: &[i8]) -> v128 {
    let from: &[i8] = &from[..16];
    // SAFETY: 16 bytes are there; the load asks for no alignment.
    unsafe { v128_load(from.as_ptr().cast()) }
}
