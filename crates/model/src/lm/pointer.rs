//! The pointer: a cell token's logit looks at the source cell itself.

use super::LanguageModel;
use burn::tensor::{Int, Tensor, TensorData};
use std::ops::Range;

/// Width of the pointer's query and key.
pub(super) const POINTER_DIM: usize = 64;

impl LanguageModel {
    /// Pointer keys of the source cells, from the source chunk's last hidden states.
    ///
    /// # Shapes
    /// - `source`: `[batch, cells, hidden]`; returns `[batch, cells, pointer]`
    #[must_use]
    pub fn pointer_keys(&self, source: Tensor<3>) -> Tensor<3> {
        self.pointer_key.forward(source)
    }

    /// Pointer logits of program tokens towards the source cells.
    ///
    /// # Shapes
    /// - `hidden`: `[batch, seq, hidden]`, `keys`: `[batch, cells, pointer]`
    /// - returns: `[batch, seq, cells]`
    #[must_use]
    pub fn pointer_logits(&self, hidden: Tensor<3>, keys: Tensor<3>) -> Tensor<3> {
        let queries = self.pointer_query.forward(hidden); // [batch, seq, pointer]
        earl_kernels::scores(queries, keys).div_scalar((POINTER_DIM as f64).sqrt())
    }

    /// Pointer logits of some tokens of a packed row, each towards the cells of its source.
    ///
    /// # Shapes
    /// - `hidden`: `[tokens, hidden]`
    /// - `sources`: the tokens of each source, all of one length
    /// - `rows`: for each wanted token, the index of its source and its own
    /// - returns: `[rows, cells]`
    #[must_use]
    pub fn packed_pointers(
        &self,
        hidden: &Tensor<2>,
        sources: &[Range<usize>],
        rows: &[(usize, usize)],
    ) -> Tensor<2> {
        let [_, width] = hidden.dims();
        let cells = sources.first().map_or(0, ExactSizeIterator::len);
        let indices = |values: Vec<i32>| {
            let len = values.len();
            Tensor::<1, Int>::from_data(TensorData::new(values, [len]), &hidden.device())
        };
        let cell_rows = sources.iter().cloned().flatten().map(|row| row as i32).collect();
        let cell_states = hidden.clone().select(0, indices(cell_rows));
        let keys = self.pointer_keys(cell_states.reshape([sources.len(), cells, width]));

        // Each source's tokens side by side, padded to the most that one has.
        let mut of_source = vec![Vec::new(); sources.len()];
        let place = |&(source, row): &(usize, usize)| {
            of_source[source].push(row as i32);
            (source, of_source[source].len() - 1)
        };
        let places: Vec<(usize, usize)> = rows.iter().map(place).collect();
        let most = of_source.iter().map(Vec::len).max().unwrap_or(0);
        for rows in &mut of_source {
            rows.resize(most, 0);
        }
        let states = hidden.clone().select(0, indices(of_source.concat()));
        let logits = self.pointer_logits(states.reshape([sources.len(), most, width]), keys);
        let places = places.iter().map(|(source, at)| (source * most + at) as i32).collect();
        logits.reshape([sources.len() * most, cells]).select(0, indices(places))
    }
}
