//! Fused embeddings: one pass over the output; backward, each table's gradient is one piece of work.

use burn::Tensor;
use burn_flex::FlexTensor;

use super::parallel::{for_each, rows_in_piece};
use super::simd::Level;
use super::{Operation, contiguous, floats, room, run, tensor};
use crate::gather_sum::NO_ROW;

/// Floats in a piece of work.
const PIECE: usize = 16_384;

/// See [`crate::gather_sum()`]; the caller has checked ids and sizes.
pub(crate) fn gather_sum<const N: usize>(
    tables: [Tensor<2>; N],
    ids: [Vec<i32>; N],
    scale: f32,
) -> Tensor<2> {
    let rows = tables.each_ref().map(|table| table.dims()[0]);
    let width = tables[0].dims()[1];
    run(&GatherSum { ids, rows, width, scale }, tables.map(Tensor::into_dispatch))
}

#[derive(Clone, Debug)]
struct GatherSum<const N: usize> {
    ids: [Vec<i32>; N],
    /// Rows of each table.
    rows: [usize; N],
    width: usize,
    scale: f32,
}

impl<const N: usize> GatherSum<N> {
    /// The floats of row `id` of a table, if it is one.
    fn row(&self, id: i32) -> Option<std::ops::Range<usize>> {
        (id != NO_ROW).then(|| id as usize * self.width..(id as usize + 1) * self.width)
    }
}

impl<const N: usize> Operation<N> for GatherSum<N> {
    type Saved = ();

    fn forward(&self, tables: [FlexTensor; N], _: Level) -> (FlexTensor, ()) {
        let tables = tables.map(contiguous);
        let given = tables.each_ref().map(floats);
        let count = self.ids[0].len();
        let rows = rows_in_piece(self.width, PIECE);
        let mut output = room(count * self.width);
        let pieces = output.chunks_mut((rows * self.width).max(1)).enumerate().collect();
        for_each(pieces, |(piece, output): (usize, &mut [f32])| {
            output.fill(0.0);
            for (at, output) in output.chunks_exact_mut(self.width).enumerate() {
                for (table, ids) in given.iter().zip(&self.ids) {
                    if let Some(row) = self.row(ids[piece * rows + at]) {
                        output.iter_mut().zip(&table[row]).for_each(|(sum, x)| *sum += x);
                    }
                }
                for sum in output.iter_mut() {
                    *sum *= self.scale;
                }
            }
        });
        (tensor(output, [count, self.width]), ())
    }

    fn backward(&self, (): (), gradient: FlexTensor, wanted: [bool; N]) -> [Option<FlexTensor>; N] {
        let gradient = contiguous(gradient);
        let given = floats(&gradient);
        let mut made = std::array::from_fn::<_, N, _>(|at| {
            wanted[at].then(|| vec![0.0f32; self.rows[at] * self.width])
        });
        let pieces =
            made.iter_mut().zip(&self.ids).filter_map(|(made, ids)| Some((made.as_mut()?, ids)));
        for_each(pieces.collect(), |(made, ids): (&mut Vec<f32>, &Vec<i32>)| {
            for (&id, gradient) in ids.iter().zip(given.chunks_exact(self.width)) {
                if let Some(row) = self.row(id) {
                    let sums = made[row].iter_mut();
                    sums.zip(gradient).for_each(|(sum, x)| *sum += x * self.scale);
                }
            }
        });
        let mut rows = self.rows.iter();
        made.map(|made| {
            let rows = *rows.next()?;
            made.map(|made| tensor(made, [rows, self.width]))
        })
    }
}
