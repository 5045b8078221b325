//! The packed product with AVX2 and F16C: eight blocks at a time, one to a lane.
//!
//! Blocks that do not fill eight lanes take the scalar way; sums are integers, so nothing differs.

use super::activations::Row;
use super::{Activations, BLOCK, Bits, LANES, SCALE_BYTES, TOGETHER, Tile, scalar};
use std::arch::x86_64::{
    __m128i, __m256, __m256i, _mm_loadu_si128, _mm256_abs_epi8, _mm256_add_epi16, _mm256_add_epi32,
    _mm256_add_ps, _mm256_and_si256, _mm256_cvtepi32_ps, _mm256_cvtph_ps, _mm256_hadd_epi32,
    _mm256_loadu_ps, _mm256_loadu_si256, _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_mul_ps,
    _mm256_permute2x128_si256, _mm256_permutevar8x32_epi32, _mm256_set1_epi8, _mm256_set1_epi16,
    _mm256_setr_epi32, _mm256_setzero_ps, _mm256_setzero_si256, _mm256_sign_epi8,
    _mm256_slli_epi32, _mm256_srli_epi16, _mm256_storeu_ps, _mm256_sub_epi32, _mm256_xor_si256,
};

/// That the instructions are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Proof(());

impl Proof {
    /// Looks for them.
    pub(super) fn find() -> Option<Self> {
        let there = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("f16c");
        there.then_some(Self(()))
    }
}

/// Every product of a tile; see `Kernel::run`.
pub(super) fn run(_: Proof, tile: &Tile<'_>, x: &Activations, results: &mut [f32]) {
    // SAFETY: the proof says that the instructions are there.
    unsafe { every_row(tile, x, results) }
}

#[target_feature(enable = "avx2,f16c")]
fn every_row(tile: &Tile<'_>, x: &Activations, results: &mut [f32]) {
    let mut at = 0;
    while at + TOGETHER <= x.rows() {
        let rows: [Row<'_>; TOGETHER] = std::array::from_fn(|n| x.row(at + n));
        some_rows(tile, rows, &mut results[at * tile.rows..]);
        at += TOGETHER;
    }
    for at in at..x.rows() {
        some_rows(tile, [x.row(at)], &mut results[at * tile.rows..]);
    }
}

#[target_feature(enable = "avx2,f16c")]
fn some_rows<const N: usize>(tile: &Tile<'_>, x: [Row<'_>; N], results: &mut [f32]) {
    let full = tile.blocks / LANES * LANES;
    for row in 0..tile.rows {
        let (codes, scales) = tile.row(row);
        let mut sums = [_mm256_setzero_ps(); N];
        for first in (0..full).step_by(LANES) {
            let codes = &codes[first * tile.bits.block_bytes()..];
            let dots = match tile.bits {
                Bits::Four => four_bits(codes, x, first),
                Bits::Eight => eight_bits(codes, x, first),
            };
            let weights = halves(&scales[first * SCALE_BYTES..]);
            for n in 0..N {
                let scale = _mm256_mul_ps(weights, floats(&x[n].scales[first..]));
                let product = _mm256_mul_ps(_mm256_cvtepi32_ps(dots[n]), scale);
                sums[n] = _mm256_add_ps(sums[n], product);
            }
        }
        for n in 0..N {
            let mut lanes = [0.0; LANES];
            // SAFETY: a vector is eight floats.
            unsafe { _mm256_storeu_ps(lanes.as_mut_ptr(), sums[n]) };
            scalar::add_blocks(tile, row, x[n], full, &mut lanes);
            results[n * tile.rows + row] = scalar::total(&lanes);
        }
    }
}

/// Sums of eight blocks of 4-bit weights with each row of activations, in order.
///
/// 32 bytes hold two blocks: their low halves are both blocks' even weights, their high halves the
/// odd ones, and activations lie in the same order. Products of codes 0 to 15 fit 16 bits.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn four_bits<const N: usize>(codes: &[u8], x: [Row<'_>; N], first: usize) -> [__m256i; N] {
    let (low, ones) = (_mm256_set1_epi8(15), _mm256_set1_epi16(1));
    let nothing = _mm256_setzero_si256();
    let mut fours = [[nothing; 2]; N];
    for half in 0..2 {
        let mut twos = [[nothing; 2]; N];
        for pair in 0..2 {
            let bytes = bytes(&codes[(2 * half + pair) * 32..]);
            let even = _mm256_and_si256(bytes, low);
            let odd = _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), low);
            for n in 0..N {
                let x = &x[n].codes[(first + 4 * half + 2 * pair) * BLOCK..];
                let even = _mm256_maddubs_epi16(even, signed(x));
                let odd = _mm256_maddubs_epi16(odd, signed(&x[32..]));
                // Both blocks, four sums each.
                twos[n][pair] = _mm256_madd_epi16(_mm256_add_epi16(even, odd), ones);
            }
        }
        for n in 0..N {
            fours[n][half] = _mm256_hadd_epi32(twos[n][0], twos[n][1]);
        }
    }
    let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    let mut sums = [nothing; N];
    for n in 0..N {
        let mixed = _mm256_hadd_epi32(fours[n][0], fours[n][1]); // blocks 0 2 4 6 1 3 5 7
        let products = _mm256_permutevar8x32_epi32(mixed, order);
        let zero = _mm256_slli_epi32::<3>(integers(&x[n].sums[first..]));
        sums[n] = _mm256_sub_epi32(products, zero);
    }
    sums
}

/// Sums of eight blocks of 8-bit weights with each row of activations, in order.
///
/// Signs are moved from the weights to the activations, so that a product is one of an unsigned and
/// a signed byte; two of at most 128 · 127 fit 16 bits.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn eight_bits<const N: usize>(codes: &[u8], x: [Row<'_>; N], first: usize) -> [__m256i; N] {
    let (zero, ones) = (_mm256_set1_epi8(-128), _mm256_set1_epi16(1));
    let nothing = _mm256_setzero_si256();
    let mut fours = [[nothing; 2]; N];
    for half in 0..2 {
        let mut twos = [[nothing; 2]; N];
        for pair in 0..2 {
            let mut blocks = [[nothing; 2]; N];
            for at in 0..2 {
                let block = 4 * half + 2 * pair + at;
                let weights = _mm256_xor_si256(bytes(&codes[block * BLOCK..]), zero);
                let sizes = _mm256_abs_epi8(weights);
                for n in 0..N {
                    let x = signed(&x[n].codes[(first + block) * BLOCK..]);
                    let pairs = _mm256_maddubs_epi16(sizes, _mm256_sign_epi8(x, weights));
                    blocks[n][at] = _mm256_madd_epi16(pairs, ones);
                }
            }
            for n in 0..N {
                twos[n][pair] = _mm256_hadd_epi32(blocks[n][0], blocks[n][1]);
            }
        }
        for n in 0..N {
            fours[n][half] = _mm256_hadd_epi32(twos[n][0], twos[n][1]);
        }
    }
    let mut sums = [nothing; N];
    for n in 0..N {
        let [a, b] = fours[n];
        let low = _mm256_permute2x128_si256::<0x20>(a, b);
        sums[n] = _mm256_add_epi32(low, _mm256_permute2x128_si256::<0x31>(a, b));
    }
    sums
}

#[inline]
#[target_feature(enable = "avx2")]
fn bytes(from: &[u8]) -> __m256i {
    let from: &[u8] = &from[..32];
    // SAFETY: 32 bytes are there; the load asks for no alignment.
    unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn signed(from: &[i8]) -> __m256i {
    let from: &[i8] = &from[..32];
    // SAFETY: 32 bytes are there; the load asks for no alignment.
    unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn integers(from: &[i32]) -> __m256i {
    let from: &[i32] = &from[..LANES];
    // SAFETY: eight integers are there; the load asks for no alignment.
    unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn floats(from: &[f32]) -> __m256 {
    let from: &[f32] = &from[..LANES];
    // SAFETY: eight floats are there; the load asks for no alignment.
    unsafe { _mm256_loadu_ps(from.as_ptr()) }
}

/// Eight float16 scales.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn halves(from: &[u8]) -> __m256 {
    let from: &[u8] = &from[..LANES * SCALE_BYTES];
    // SAFETY: 16 bytes are there; the load asks for no alignment.
    let halves: __m128i = unsafe { _mm_loadu_si128(from.as_ptr().cast()) };
    _mm256_cvtph_ps(halves)
}
