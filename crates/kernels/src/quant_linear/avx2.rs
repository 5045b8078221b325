//! The packed product with AVX2 and F16C: eight blocks at a time, one to a lane.
//!
//! A row's last blocks may not fill eight lanes. The weights that follow them, of the next row, meet
//! activations of zero, and their scales are masked, so that nothing is added.

use super::activations::Row;
use super::{Activations, BLOCK, Bits, LANES, SCALE_BYTES, Tile};
use std::arch::x86_64::{
    __m128i, __m256, __m256i, _MM_HINT_T0, _mm_add_ps, _mm_add_ss, _mm_and_si128, _mm_cmpgt_epi16,
    _mm_cvtss_f32, _mm_loadu_si128, _mm_movehdup_ps, _mm_movehl_ps, _mm_prefetch, _mm_set1_epi16,
    _mm_setr_epi16, _mm256_abs_epi8, _mm256_add_epi16, _mm256_add_epi32, _mm256_add_ps,
    _mm256_and_si256, _mm256_castps256_ps128, _mm256_cvtepi32_ps, _mm256_cvtph_ps,
    _mm256_extractf128_ps, _mm256_hadd_epi32, _mm256_loadu_ps, _mm256_loadu_si256,
    _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_mul_ps, _mm256_permute2x128_si256,
    _mm256_permutevar8x32_epi32, _mm256_set1_epi8, _mm256_set1_epi16, _mm256_setr_epi32,
    _mm256_setzero_ps, _mm256_setzero_si256, _mm256_sign_epi8, _mm256_slli_epi32,
    _mm256_srli_epi16, _mm256_sub_epi32, _mm256_xor_si256,
};

/// Rows of activations that meet a row of weights once it is unpacked.
const TOGETHER: usize = 4;
/// How far ahead weights are asked for, in bytes.
const AHEAD: usize = 2048;

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
    let stored = tile.blocks.next_multiple_of(LANES);
    let [code_bytes, scale_bytes] = [tile.bits.block_bytes(), SCALE_BYTES];
    for x in &x {
        assert!(
            x.codes.len() >= stored * BLOCK && x.scales.len() >= stored && x.sums.len() >= stored
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
        let sums = unsafe {
            match tile.bits {
                Bits::Four => every_block::<N, 4>(codes, scales, x, tile.blocks),
                Bits::Eight => every_block::<N, 8>(codes, scales, x, tile.blocks),
            }
        };
        for n in 0..N {
            results[n * tile.rows + row] = total(sums[n]);
        }
    }
}

/// The sum of the lanes, in the order of [`super::scalar::total`].
#[inline]
#[target_feature(enable = "avx2")]
fn total(lanes: __m256) -> f32 {
    let half = _mm_add_ps(_mm256_castps256_ps128(lanes), _mm256_extractf128_ps::<1>(lanes));
    let pair = _mm_add_ps(half, _mm_movehl_ps(half, half));
    _mm_cvtss_f32(_mm_add_ss(pair, _mm_movehdup_ps(pair)))
}

/// Lanes of all `blocks`, for weights of `BITS` bits.
///
/// # Safety
/// `codes`, `scales` and the rows of `x` hold `blocks`, rounded up to a multiple of eight; there the
/// codes of `x` are zero.
#[inline]
#[target_feature(enable = "avx2,f16c")]
unsafe fn every_block<const N: usize, const BITS: usize>(
    codes: &[u8],
    scales: &[u8],
    x: [Row<'_>; N],
    blocks: usize,
) -> [__m256; N] {
    let numbers = _mm_setr_epi16(0, 1, 2, 3, 4, 5, 6, 7);
    let mut sums = [_mm256_setzero_ps(); N];
    let mut first = 0;
    while first < blocks {
        // SAFETY: `first + 8` blocks are there, says the caller; loads ask for no alignment.
        unsafe {
            let codes = codes.as_ptr().add(first * BLOCK * BITS / 8);
            if N == 1 {
                ask_ahead::<BITS>(codes);
            }
            let dots =
                if BITS == 4 { four_bits(codes, x, first) } else { eight_bits(codes, x, first) };
            let halves: *const __m128i = scales.as_ptr().add(first * SCALE_BYTES).cast();
            let weights = _mm256_cvtph_ps(_mm_and_si128(
                _mm_loadu_si128(halves),
                _mm_cmpgt_epi16(_mm_set1_epi16((blocks - first).min(LANES) as i16), numbers),
            ));
            for n in 0..N {
                let scale =
                    _mm256_mul_ps(weights, _mm256_loadu_ps(x[n].scales.as_ptr().add(first)));
                let product = _mm256_mul_ps(_mm256_cvtepi32_ps(dots[n]), scale);
                sums[n] = _mm256_add_ps(sums[n], product);
            }
        }
        first += LANES;
    }
    sums
}

/// Asks for the weights `AHEAD` bytes further on: one row of activations waits for memory, not for sums.
#[inline]
#[target_feature(enable = "avx2")]
fn ask_ahead<const BITS: usize>(codes: *const u8) {
    for line in (0..LANES * BLOCK * BITS / 8).step_by(64) {
        _mm_prefetch::<_MM_HINT_T0>(codes.wrapping_add(AHEAD + line).cast()); // any address will do
    }
}

/// Sums of eight blocks of 4-bit weights with each row of activations, in order.
///
/// 32 bytes hold two blocks: their low halves are both blocks' even weights, their high halves the
/// odd ones, and activations lie in the same order. Products of codes 0 to 15 fit 16 bits.
///
/// # Safety
/// Eight blocks lie at `codes`, and in each row of `x` from `first` on.
#[inline]
#[target_feature(enable = "avx2,f16c")]
unsafe fn four_bits<const N: usize>(
    codes: *const u8,
    x: [Row<'_>; N],
    first: usize,
) -> [__m256i; N] {
    let (low, ones) = (_mm256_set1_epi8(15), _mm256_set1_epi16(1));
    let nothing = _mm256_setzero_si256();
    let mut fours = [[nothing; 2]; N];
    for half in 0..2 {
        let mut twos = [[nothing; 2]; N];
        for pair in 0..2 {
            // SAFETY: within the eight blocks that the caller promises.
            let bytes = unsafe { load(codes.add((2 * half + pair) * BLOCK)) };
            let even = _mm256_and_si256(bytes, low);
            let odd = _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), low);
            for n in 0..N {
                // SAFETY: within the eight blocks that the caller promises.
                let (x, y) = unsafe {
                    let x = x[n].codes.as_ptr().add((first + 4 * half + 2 * pair) * BLOCK);
                    (load(x.cast()), load(x.add(BLOCK).cast()))
                };
                let (even, odd) = (_mm256_maddubs_epi16(even, x), _mm256_maddubs_epi16(odd, y));
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
        // SAFETY: eight sums lie there.
        let zero = _mm256_slli_epi32::<3>(unsafe { load(x[n].sums.as_ptr().add(first).cast()) });
        sums[n] = _mm256_sub_epi32(products, zero);
    }
    sums
}

/// Sums of eight blocks of 8-bit weights with each row of activations, in order.
///
/// Signs are moved from the weights to the activations, so that a product is one of an unsigned and
/// a signed byte; two of at most 128 · 127 fit 16 bits.
///
/// # Safety
/// Eight blocks lie at `codes`, and in each row of `x` from `first` on.
#[inline]
#[target_feature(enable = "avx2,f16c")]
unsafe fn eight_bits<const N: usize>(
    codes: *const u8,
    x: [Row<'_>; N],
    first: usize,
) -> [__m256i; N] {
    let (zero, ones) = (_mm256_set1_epi8(-128), _mm256_set1_epi16(1));
    let nothing = _mm256_setzero_si256();
    let mut fours = [[nothing; 2]; N];
    for half in 0..2 {
        let mut twos = [[nothing; 2]; N];
        for pair in 0..2 {
            let mut blocks = [[nothing; 2]; N];
            for at in 0..2 {
                let block = 4 * half + 2 * pair + at;
                // SAFETY: within the eight blocks that the caller promises.
                let bytes = unsafe { load(codes.add(block * BLOCK)) };
                let weights = _mm256_xor_si256(bytes, zero);
                let sizes = _mm256_abs_epi8(weights);
                for n in 0..N {
                    // SAFETY: within the eight blocks that the caller promises.
                    let x =
                        unsafe { load(x[n].codes.as_ptr().add((first + block) * BLOCK).cast()) };
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

/// 32 bytes.
///
/// # Safety
/// They are there.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn load(from: *const u8) -> __m256i {
    // SAFETY: the caller promises the bytes; the load asks for no alignment.
    unsafe { _mm256_loadu_si256(from.cast()) }
}
