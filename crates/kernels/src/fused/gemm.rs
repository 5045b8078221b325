//! Small matrix products inside attention: everything fits the cache, so nothing is packed.
//!
//! The right side and the output have rows padded to [`PADDING`] floats; the left side may be
//! read along rows or columns. Start at [`multiply`].

use super::simd::{MAX_LANES, Simd};

/// Rows of right sides and outputs are padded to a multiple of this many floats.
pub(crate) const PADDING: usize = 2 * MAX_LANES;

/// `n`, rounded up to whole padded steps.
pub(crate) fn padded(n: usize) -> usize {
    n.next_multiple_of(PADDING)
}

/// The left side: element `(i, p)` is `values[i · row + p · column]`.
#[derive(Clone, Copy)]
pub(crate) struct Left<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) row: usize,
    pub(crate) column: usize,
}

/// The right side or the output: element `(p, j)` is `values[p · row + j]`.
pub(crate) struct Right<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) row: usize,
}

/// Rows of the output made at once: with two vectors each they fill AVX2's registers.
const TILE: usize = 6;

/// `output = a · b`, or `output += a · b`, for `height × depth` by `depth × width`.
///
/// `width` is a multiple of [`PADDING`]; output rows lie `output_row` floats apart.
#[inline(always)]
pub(crate) fn multiply<S: Simd>(
    s: S,
    [height, width, depth]: [usize; 3],
    a: Left,
    b: &Right,
    output: &mut [f32],
    output_row: usize,
    add: bool,
) {
    if height == 0 || width == 0 {
        return;
    }
    assert!(width.is_multiple_of(PADDING) && width <= b.row.min(output_row), "padded widths");
    assert!(output.len() >= (height - 1) * output_row + width, "room for the product");
    if depth > 0 {
        assert!(a.values.len() > (height - 1) * a.row + (depth - 1) * a.column, "left side");
        assert!(b.values.len() >= (depth - 1) * b.row + width, "right side");
    }
    for column in (0..width).step_by(2 * S::LANES) {
        let mut top = 0;
        while top < height {
            let rows = (height - top).min(TILE);
            // SAFETY: the assertions above cover rows top..top + rows of `a` and `output`, and
            // columns column..column + 2 · LANES, which divides PADDING, of `b` and `output`.
            unsafe {
                let a_at = a.values.as_ptr().add(top * a.row);
                let b_at = b.values.as_ptr().add(column);
                let to = output.as_mut_ptr().add(top * output_row + column);
                let steps = [a.row, a.column, b.row, output_row];
                match rows {
                    1 => tile::<S, 1>(s, depth, a_at, b_at, to, steps, add),
                    2 => tile::<S, 2>(s, depth, a_at, b_at, to, steps, add),
                    3 => tile::<S, 3>(s, depth, a_at, b_at, to, steps, add),
                    4 => tile::<S, 4>(s, depth, a_at, b_at, to, steps, add),
                    5 => tile::<S, 5>(s, depth, a_at, b_at, to, steps, add),
                    _ => tile::<S, TILE>(s, depth, a_at, b_at, to, steps, add),
                }
            }
            top += rows;
        }
    }
}

/// `ROWS × 2 · LANES` elements of the product, kept in registers.
///
/// # Safety
/// With `steps` = floats between rows of a, columns of a, rows of b, rows of `to`: `ROWS × depth`
/// elements from `a`, `depth × 2 · LANES` from `b` are readable, `ROWS × 2 · LANES` from `to`
/// writable.
#[inline(always)]
unsafe fn tile<S: Simd, const ROWS: usize>(
    s: S,
    depth: usize,
    a: *const f32,
    b: *const f32,
    to: *mut f32,
    [a_row, a_column, b_row, to_row]: [usize; 4],
    add: bool,
) {
    let mut sums = [[s.splat(0.0); 2]; ROWS];
    for p in 0..depth {
        // SAFETY: the caller's promise, with p below depth.
        let (left, right) =
            unsafe { (s.load(b.add(p * b_row)), s.load(b.add(p * b_row + S::LANES))) };
        for (i, sum) in sums.iter_mut().enumerate() {
            // SAFETY: the caller's promise, with i below ROWS.
            let x = s.splat(unsafe { *a.add(i * a_row + p * a_column) });
            *sum = [s.fma(x, left, sum[0]), s.fma(x, right, sum[1])];
        }
    }
    for (i, &[left, right]) in sums.iter().enumerate() {
        // SAFETY: the caller's promise, with i below ROWS.
        unsafe {
            let to = to.add(i * to_row);
            let next = to.add(S::LANES);
            if add {
                s.store(to, s.add(s.load(to), left));
                s.store(next, s.add(s.load(next), right));
            } else {
                s.store(to, left);
                s.store(next, right);
            }
        }
    }
}
