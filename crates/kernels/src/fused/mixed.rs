//! Large matrix products with bfloat16 inputs and f32 sums, for training at twice the speed of f32.
//!
//! `vdpbf16ps` adds two products per lane: a *pair* is two neighbours along the depth, packed into
//! 32 bits. Both sides are packed once into panels of pairs ([`pack_left`], [`pack_right`]); then
//! blocks of output rows are made independently, each element by one core in one order, so that
//! one thread and many give the same bits.
//! Source for the blocking: Goto and van de Geijn, "Anatomy of high-performance matrix
//! multiplication" (2008). Start at [`product`].

use core::arch::x86_64::{
    __m512, __m512bh, _mm512_add_ps, _mm512_dpbf16_ps, _mm512_loadu_si512, _mm512_mask_storeu_ps,
    _mm512_maskz_loadu_ps, _mm512_set1_epi32, _mm512_setzero_ps,
};

use super::linear::Matrix;
use super::parallel::for_each;
use super::room;

/// Rows of the output made at once, each in [`VECTORS`] registers: 24 of 32 hold sums.
const ROWS: usize = 12;
/// Columns of the output made at once.
const COLUMNS: usize = 16 * VECTORS;
const VECTORS: usize = 2;
/// Pairs along the depth between two visits of an output tile: a right panel of 16 KiB stays in
/// the first-level cache.
const DEPTH: usize = 128;
/// Rows packed as one piece of work.
const PACK: usize = 64;

/// `a · b` in row order, inputs rounded to bfloat16.
///
/// # Safety
/// The machine has AVX-512 F and AVX-512 BF16.
pub(super) unsafe fn product(a: Matrix, b: Matrix) -> Vec<f32> {
    let (height, width) = (a.height, b.width);
    // SAFETY: the caller promises the instructions.
    let (left, right) = unsafe { (pack_left(a), pack_right(b)) };
    let mut output = room(height * width);
    // Few rows: cut finer, so that every core gets some.
    let block = if height > 768 { 16 * ROWS } else { 4 * ROWS };
    let pieces = output.chunks_mut(block * width).enumerate().collect();
    for_each(pieces, |(piece, output)| {
        // SAFETY: the caller promises the instructions.
        unsafe { rows(&left, &right, piece * block, width, output) };
    });
    output
}

/// A packed side: slabs of [`DEPTH`] pairs (the last one shorter), each in panels.
struct Packed {
    values: Vec<u32>,
    /// Pairs along the depth.
    pairs: usize,
    /// Rows of the left or columns of the right side, padded to whole panels.
    breadth: usize,
    /// The left side in its own rows, `[breadth, pairs]`, instead of slabs.
    in_rows: bool,
}

/// [`ROWS`] rows of the left side: pair `p` of row `i` is at `i · row + p · column`.
#[derive(Clone, Copy)]
struct Left<'a> {
    values: &'a [u32],
    row: usize,
    column: usize,
}

impl Packed {
    fn zeros(pairs: usize, breadth: usize, in_rows: bool) -> Self {
        Self { values: vec![0; pairs * breadth], pairs, breadth, in_rows }
    }

    /// The slabs for writing, with the number of their first pair.
    fn slabs(&mut self) -> Vec<(usize, &mut [u32])> {
        self.values
            .chunks_mut(DEPTH * self.breadth)
            .enumerate()
            .map(|(i, slab)| (i * DEPTH, slab))
            .collect()
    }

    /// Panel of `size` rows or columns from `first` on, in the slab from pair `deep` on.
    fn panel(&self, deep: usize, depth: usize, first: usize, size: usize) -> &[u32] {
        &self.values[deep * self.breadth + first * depth..][..size * depth]
    }

    /// As [`panel`](Self::panel), of a left side.
    fn left(&self, deep: usize, depth: usize, first: usize) -> Left<'_> {
        if self.in_rows {
            Left { values: &self.values[first * self.pairs + deep..], row: self.pairs, column: 1 }
        } else {
            Left { values: self.panel(deep, depth, first, ROWS), row: 1, column: ROWS }
        }
    }
}

/// Two floats, rounded to the nearest bfloat16 (ties to even); the first in the low bits.
#[inline(always)]
fn pair(first: f32, second: f32) -> u32 {
    let round = |x: f32| {
        let bits = x.to_bits();
        bits.wrapping_add(0x7FFF + ((bits >> 16) & 1))
    };
    (round(first) >> 16) | (round(second) & 0xFFFF_0000)
}

/// Packs `a`, reading it in the order of its memory.
#[target_feature(enable = "avx512f,avx2")]
fn pack_left(a: Matrix) -> Packed {
    let (pairs, breadth) = (a.width.div_ceil(2), a.height.next_multiple_of(ROWS));
    let mut packed = Packed::zeros(pairs, breadth, a.column == 1);
    if packed.in_rows {
        let blocks = packed.values.chunks_mut(PACK * pairs).enumerate().collect();
        for_each(blocks, |(block, values)| {
            let top = block * PACK;
            let rows = values.chunks_exact_mut(pairs).take(a.height.saturating_sub(top));
            for (i, packed) in rows.enumerate() {
                pair_up(&a.values[(top + i) * a.row..][..a.width], packed);
            }
        });
    } else {
        for_each(packed.slabs(), |(deep, slab)| {
            fill_slab::<ROWS>(a.transposed(), deep, slab, breadth);
        });
    }
    packed
}

/// Packs `b`, reading it in the order of its memory.
#[target_feature(enable = "avx512f,avx2")]
fn pack_right(b: Matrix) -> Packed {
    let (pairs, breadth) = (b.height.div_ceil(2), b.width.next_multiple_of(COLUMNS));
    let mut packed = Packed::zeros(pairs, breadth, false);
    if b.column == 1 {
        for_each(packed.slabs(), |(deep, slab)| {
            fill_slab::<COLUMNS>(b, deep, slab, breadth);
        });
        return packed;
    }
    // A transposed right side: pairs lie side by side in its columns.
    let slabs = packed.slabs().into_iter();
    let panels = slabs.flat_map(|(deep, slab)| {
        let depth = slab.len() / breadth;
        slab.chunks_mut(depth * COLUMNS)
            .enumerate()
            .map(move |(panel, values)| (deep, panel, values))
    });
    for_each(panels.collect(), |(deep, panel, values)| {
        let first = panel * COLUMNS;
        let start = 2 * deep;
        let end = b.height.min(start + 2 * values.len() / COLUMNS);
        let mut column = [0; DEPTH];
        for j in 0..COLUMNS.min(b.width - first) {
            let from = (first + j) * b.column;
            let depth = (end - start).div_ceil(2);
            pair_up(&b.values[from + start..from + end], &mut column[..depth]);
            for (packed, &pair) in values.chunks_exact_mut(COLUMNS).zip(&column) {
                packed[j] = pair;
            }
        }
    });
    packed
}

/// Packs rows `2 · deep..` of a matrix in row order into one slab of panels `PANEL` wide.
#[inline(always)]
fn fill_slab<const PANEL: usize>(m: Matrix, deep: usize, slab: &mut [u32], breadth: usize) {
    let depth = slab.len() / breadth;
    for p in 0..depth {
        let row = |at: usize| {
            let inside = at < m.height;
            if inside { &m.values[at * m.row..][..m.width] } else { &[] }
        };
        let (first, second) = (row(2 * (deep + p)), row(2 * (deep + p) + 1));
        for (panel, first) in first.chunks(PANEL).enumerate() {
            let second = match second {
                [] => second,
                _ => &second[panel * PANEL..][..first.len()],
            };
            let at = (panel * depth + p) * PANEL;
            interleave(first, second, &mut slab[at..at + first.len()]);
        }
    }
}

/// Neighbours of `from` as pairs; an odd last element is paired with 0.
#[inline(always)]
fn pair_up(from: &[f32], to: &mut [u32]) {
    let (twos, last) = from.as_chunks::<2>();
    for (to, &[first, second]) in to.iter_mut().zip(twos) {
        *to = pair(first, second);
    }
    if let (&[last], Some(to)) = (last, to.last_mut()) {
        *to = pair(last, 0.0);
    }
}

/// `first[i]` paired with `second[i]`, or with 0 if `second` is empty.
#[inline(always)]
fn interleave(first: &[f32], second: &[f32], to: &mut [u32]) {
    if second.is_empty() {
        for (to, &first) in to.iter_mut().zip(first) {
            *to = pair(first, 0.0);
        }
    }
    for ((to, &first), &second) in to.iter_mut().zip(first).zip(second) {
        *to = pair(first, second);
    }
}

/// Output rows from `first` on, `width` floats each.
#[target_feature(enable = "avx512f,avx512bf16")]
fn rows(left: &Packed, right: &Packed, first: usize, width: usize, output: &mut [f32]) {
    let height = output.len() / width;
    for deep in (0..left.pairs).step_by(DEPTH) {
        let depth = DEPTH.min(left.pairs - deep);
        for column in (0..width).step_by(COLUMNS) {
            let columns = COLUMNS.min(width - column);
            let right = right.panel(deep, depth, column, COLUMNS);
            for top in (0..height).step_by(ROWS) {
                let left = left.left(deep, depth, first + top);
                let to = &mut output[top * width + column..];
                tile(left, right, to, width, [ROWS.min(height - top), columns], deep > 0);
            }
        }
    }
}

/// `size` = rows × columns elements of the output, from `right.len() / COLUMNS` pairs.
#[target_feature(enable = "avx512f,avx512bf16")]
fn tile(
    a: Left,
    right: &[u32],
    to: &mut [f32],
    width: usize,
    [rows, columns]: [usize; 2],
    add: bool,
) {
    let depth = right.len() / COLUMNS;
    assert!(a.values.len() > (ROWS - 1) * a.row + (depth - 1) * a.column, "left panel");
    assert!(to.len() >= (rows - 1) * width + columns, "room for the tile");
    let mut sums: [[__m512; VECTORS]; ROWS] = [[_mm512_setzero_ps(); VECTORS]; ROWS];
    for (p, right) in right.chunks_exact(COLUMNS).enumerate() {
        // SAFETY: the chunk holds COLUMNS pairs; 16 make a register, and a register of bits is a
        // register of pairs.
        let b: [__m512bh; VECTORS] = std::array::from_fn(|v| unsafe {
            core::mem::transmute(_mm512_loadu_si512(right.as_ptr().add(16 * v).cast()))
        });
        for (i, sums) in sums.iter_mut().enumerate() {
            // SAFETY: asserted above, with i below ROWS and p below depth; as above.
            let x: __m512bh = unsafe {
                let pair = *a.values.get_unchecked(i * a.row + p * a.column);
                core::mem::transmute(_mm512_set1_epi32(pair.cast_signed()))
            };
            for (sum, b) in sums.iter_mut().zip(b) {
                *sum = _mm512_dpbf16_ps(*sum, x, b);
            }
        }
    }
    for (i, sums) in sums.iter().take(rows).enumerate() {
        for (v, &sum) in sums.iter().enumerate() {
            let lanes = columns.saturating_sub(16 * v).min(16);
            let mask = ((1u32 << lanes) - 1) as u16;
            // SAFETY: asserted above, with i below rows and 16 · v + lanes at most columns; masked
            // lanes are not touched, and the pointer may lie past the end without lanes.
            unsafe {
                let at = to.as_mut_ptr().wrapping_add(i * width + 16 * v);
                let before =
                    if add { _mm512_maskz_loadu_ps(mask, at) } else { _mm512_setzero_ps() };
                _mm512_mask_storeu_ps(at, mask, _mm512_add_ps(before, sum));
            }
        }
    }
}

#[cfg(all(test, feature = "flex"))]
#[allow(clippy::float_cmp, reason = "rounding is exact")]
mod tests {
    use super::{Matrix, pair, product};
    use crate::testing::{assert_close, noise};

    fn matrix(values: &[f32], height: usize, width: usize, transposed: bool) -> Matrix<'_> {
        if transposed {
            Matrix::rows(values, width, height).transposed()
        } else {
            Matrix::rows(values, height, width)
        }
    }

    fn rounded(x: f32) -> f32 {
        f32::from_bits(pair(x, 0.0) << 16)
    }

    #[test]
    fn pairs_round_to_nearest_even() {
        // 1 + 2⁻⁸ lies between 1 and 1 + 2⁻⁷; a tie goes to the even mantissa.
        assert_eq!(rounded(1.0 + 2f32.powi(-8)), 1.0);
        assert_eq!(rounded(1.0 + 3.0 * 2f32.powi(-8)), 1.0 + 2f32.powi(-6));
        assert_eq!(rounded(-1.0 - 2f32.powi(-8) - 2f32.powi(-20)), -1.0 - 2f32.powi(-7));
        assert_eq!(pair(1.0, -2.0), 0xC000_3F80);
    }

    #[test]
    fn products_of_rounded_inputs_are_exact_to_f32_sums() {
        if !crate::precision::is_supported() {
            return;
        }
        for [height, width, depth] in
            [[1, 1, 1], [13, 33, 5], [12, 32, 256], [25, 70, 515], [900, 31, 64]]
        {
            let (a, b) = (noise(height * depth, 1), noise(depth * width, 2));
            for (a_turned, b_turned) in [(false, false), (true, false), (false, true), (true, true)]
            {
                let left = matrix(&a, height, depth, a_turned);
                let right = matrix(&b, depth, width, b_turned);
                // SAFETY: the instructions were just found.
                let got = unsafe { product(left, right) };
                let at = |m: Matrix, i, j| f64::from(rounded(m.values[i * m.row + j * m.column]));
                let element = |(i, j)| {
                    (0..depth).map(|p| at(left, i, p) * at(right, p, j)).sum::<f64>() as f32
                };
                let want: Vec<f32> = (0..height)
                    .flat_map(|i| (0..width).map(move |j| (i, j)))
                    .map(element)
                    .collect();
                assert_close(&got, &want, 1e-5);
            }
        }
    }

    #[test]
    fn one_thread_or_many() {
        if !crate::precision::is_supported() {
            return;
        }
        let (a, b) = (noise(300 * 200, 3), noise(200 * 100, 4));
        let with = |threads| {
            let pool =
                rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            let (a, b) = (matrix(&a, 300, 200, false), matrix(&b, 200, 100, false));
            // SAFETY: the instructions were found above.
            pool.install(|| unsafe { product(a, b) })
        };
        assert_eq!(with(1), with(5));
    }
}
