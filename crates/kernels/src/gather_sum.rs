//! Embeddings: rows of several tables, chosen by ids, added up.
//!
//! Start at [`gather_sum`].

use burn::Tensor;
use burn::tensor::{Int, TensorData};

/// Stands for "no row of this table" among the ids.
pub const NO_ROW: i32 = -1;

/// `scale · Σ table[ids]` over the tables; an id of [`NO_ROW`] adds nothing.
///
/// # Shapes
/// - `tables`: `[rows, width]` each, rows of their own, one width
/// - `ids`: for each table `n` ids, each in `0..rows` or [`NO_ROW`]
/// - returns: `[n, width]`
///
/// # Panics
/// If numbers of ids or widths disagree, or an id is out of range.
#[must_use]
pub fn gather_sum<const N: usize>(
    tables: [Tensor<2>; N],
    ids: [Vec<i32>; N],
    scale: f32,
) -> Tensor<2> {
    let (count, width) = (ids[0].len(), tables[0].dims()[1]);
    for (table, ids) in tables.iter().zip(&ids) {
        assert_eq!((ids.len(), table.dims()[1]), (count, width), "gather_sum: ids and widths");
        let rows = NO_ROW..table.dims()[0] as i32;
        assert!(ids.iter().all(|id| rows.contains(id)), "gather_sum: ids are rows of their table");
    }
    #[cfg(feature = "flex-forward")]
    if crate::fused::runs_on(&tables[0].device()) {
        return crate::fused::gather_sum::gather_sum(tables, ids, scale);
    }
    #[cfg(feature = "wgpu")]
    if crate::device::operations::gathers(N) && crate::device::infers_on(&tables[0].device()) {
        return crate::device::operations::gather_sum(tables, ids, scale);
    }
    elsewhere!(plain(tables, ids, scale))
}

/// The specification, and what backends other than flex run.
pub(crate) fn plain<const N: usize>(
    tables: [Tensor<2>; N],
    ids: [Vec<i32>; N],
    scale: f32,
) -> Tensor<2> {
    let [count, width] = [ids[0].len(), tables[0].dims()[1]];
    let (device, dtype) = (tables[0].device(), tables[0].dtype());
    let mut sum = Tensor::<2>::zeros([count, width], &device).cast(dtype);
    for (table, ids) in tables.into_iter().zip(ids) {
        let there: Vec<f32> = ids.iter().map(|&id| f32::from(u8::from(id != NO_ROW))).collect();
        let rows: Vec<i32> = ids.into_iter().map(|id| id.max(0)).collect();
        let rows = Tensor::<1, Int>::from_data(TensorData::new(rows, [count]), &device);
        let picked = table.select(0, rows); // [n, width]
        sum = sum
            + if there.contains(&0.0) {
                let there = TensorData::new(there, [count, 1]);
                picked * Tensor::<2>::from_data(there, &device).cast(dtype)
            } else {
                picked
            };
    }
    sum.mul_scalar(scale)
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::{gather_sum, plain};
    use crate::testing::{
        assert_agree, assert_close, assert_same_bits, assert_slopes, noise, trace,
    };
    use burn::Tensor;

    type Operation = fn([Tensor<2>; 2], [Vec<i32>; 2], f32) -> Tensor<2>;

    /// Two tables of these many rows; ids repeat, and now and then there is none.
    fn shaped(
        rows: [usize; 2],
        count: usize,
        width: usize,
        operation: Operation,
    ) -> impl Fn(Vec<Tensor<1>>) -> Tensor<2> + Sync {
        move |x| {
            let table = |at: usize| x[at].clone().reshape([rows[at], width]);
            let ids = |at: usize| {
                let id = |i: usize| {
                    if (i + at).is_multiple_of(3) { -1 } else { (i * i % rows[at]) as i32 }
                };
                (0..count).map(id).collect()
            };
            operation([table(0), table(1)], [ids(0), ids(1)], 1.5)
        }
    }

    fn inputs(rows: [usize; 2], width: usize) -> [Vec<f32>; 2] {
        [noise(rows[0] * width, 1), noise(rows[1] * width, 2)]
    }

    #[test]
    fn worked_by_hand() {
        let tables = [vec![1.0, 2.0, 3.0, 4.0], vec![10.0, 20.0]];
        let traced = trace(&tables, |x| {
            let tables = [x[0].clone().reshape([2, 2]), x[1].clone().reshape([1, 2])];
            gather_sum(tables, [vec![1, -1, 1], vec![0, 0, -1]], 2.0)
        });
        assert_close(&traced.output, &[26.0, 48.0, 20.0, 40.0, 6.0, 8.0], 1e-6);
        let w = noise(6, 99);
        let both = [2.0 * (w[0] + w[4]), 2.0 * (w[1] + w[5])];
        assert_close(&traced.gradients[0], &[0.0, 0.0, both[0], both[1]], 1e-6);
        assert_close(&traced.gradients[1], &[2.0 * (w[0] + w[2]), 2.0 * (w[1] + w[3])], 1e-6);
    }

    #[test]
    fn agrees_with_plain_at_odd_sizes() {
        for (rows, count, width) in [([1, 2], 1, 1), ([5, 3], 20, 7), ([300, 40], 1000, 192)] {
            assert_agree(
                &inputs(rows, width),
                shaped(rows, count, width, gather_sum),
                shaped(rows, count, width, plain),
            );
        }
    }

    #[test]
    fn gradients_are_slopes() {
        let (rows, width) = ([3, 2], 2);
        let plain = shaped(rows, 7, width, plain);
        assert_slopes(&inputs(rows, width), shaped(rows, 7, width, gather_sum), plain);
    }

    #[test]
    fn one_thread_or_many() {
        let (rows, width) = ([300, 40], 192);
        assert_same_bits(&inputs(rows, width), shaped(rows, 1000, width, gather_sum));
    }

    #[test]
    #[should_panic(expected = "ids are rows of their table")]
    fn an_id_outside_its_table_is_refused() {
        let table = Tensor::<2>::zeros([2, 2], &burn::tensor::Device::flex());
        drop(gather_sum([table], [vec![2]], 1.0));
    }
}
