//! What program tokens see of the source cells themselves: the pointer, by which a cell token's logit
//! looks at the source cell, and the erase map, by which the choice of a step after an ERASE knows whether
//! anything is still to be erased.
//!
//! The map says of each cell how sure it is (in log-odds) to be erased from here on; its surest cell that no
//! step has erased is added to the logit of ERASE. Attention alone tells what is there, but not without what
//! is gone, so that models without the map stop after the second of three.

use super::LanguageModel;
use burn::tensor::{Int, Tensor, TensorData};
use std::ops::Range;

/// Width of the queries and keys.
pub(super) const POINTER_DIM: usize = 64;

/// Log-odds of cells that can't be erased any more.
const GONE: f64 = -1e4;

/// What program tokens see of their source, one row a token.
pub struct Look {
    /// Pointer logits towards the source cells, `[n, cells]`.
    pub pointers: Tensor<2>,
    /// `None` if the model has no erase map, or none of the tokens is before a choice that it is for.
    pub erase: Option<Erase>,
}

/// The erase map, one row a token.
pub struct Erase {
    /// Log-odds of each source cell to be erased from here on, `[n, cells]`, [`GONE`] where it is already, and
    /// everywhere where the next token is no choice that the map is for.
    pub map: Tensor<2>,
    /// What is added to the logit of ERASE, `[n, 1]`: the greatest of the map, 0 where it is not for.
    pub most: Tensor<2>,
}

/// What is left of the source before some tokens, as the erase map takes it (see [`LanguageModel::left`]).
pub struct Left {
    /// 0 or [`GONE`], `[batch, seq, cells]`.
    cells: Tensor<3>,
    /// 1 before a choice that the map is for, else 0, `[batch · seq, 1]`; `None` if all are.
    chooses: Option<Tensor<2>>,
}

impl LanguageModel {
    /// Pointer keys of the source cells, from the source chunk's last hidden states.
    ///
    /// # Shapes
    /// - `source`: `[batch, cells, hidden]`; returns `[batch, cells, pointer]`
    #[must_use]
    pub fn pointer_keys(&self, source: Tensor<3>) -> Tensor<3> {
        self.pointer_key.forward(source)
    }

    /// What is left before some tokens, a row of cells for each (`Grammar::left`); it is empty where the map is not
    /// for the token's choice. `None` if that is so everywhere, or the model has no erase map.
    #[must_use]
    pub fn left(&self, left: &[&[bool]], batch: usize) -> Option<Left> {
        self.erase_query.as_ref().filter(|_| left.iter().any(|left| !left.is_empty()))?;
        let cells = self.config.vision.grid * self.config.vision.grid;
        let mut mask = vec![GONE as f32; left.len() * cells];
        for (mask, left) in mask.chunks_mut(cells).zip(left) {
            mask.iter_mut().zip(*left).filter(|(_, left)| **left).for_each(|(mask, _)| *mask = 0.0);
        }
        let shape = [batch, left.len() / batch, cells];
        let cells = Tensor::from_data(TensorData::new(mask, shape), &self.device());
        let chooses = left.iter().any(|left| left.is_empty()).then(|| {
            let chooses = left.iter().map(|left| f32::from(u8::from(!left.is_empty()))).collect();
            Tensor::from_data(TensorData::new(chooses, [left.len(), 1]), &self.device())
        });
        Some(Left { cells, chooses })
    }

    /// What program tokens see of their source.
    ///
    /// # Shapes
    /// - `hidden`: `[batch, seq, hidden]`, `keys`: `[batch, cells, pointer]`
    /// - `left`: of the same tokens
    /// - returns rows of `batch · seq` tokens
    #[must_use]
    pub fn look(&self, hidden: Tensor<3>, keys: Tensor<3>, left: Option<Left>) -> Look {
        let [batch, seq, _] = hidden.dims();
        let cells = keys.dims()[1];
        let likeness = |queries: Tensor<3>| {
            earl_kernels::scores(queries, keys.clone()).div_scalar((POINTER_DIM as f64).sqrt())
        };
        let pointers = likeness(self.pointer_query.forward(hidden.clone()));
        let flat = |x: Tensor<3>| x.reshape([batch * seq, cells]);
        let erase = self.erase_query.as_ref().zip(left);
        let erase = erase.map(|(query, left)| {
            let map = flat(likeness(query.forward(hidden)) + left.cells);
            let most = earl_kernels::greatest(map.clone());
            let most = left.chooses.map_or(most.clone(), |chooses| most * chooses);
            Erase { map, most }
        });
        Look { pointers: flat(pointers), erase }
    }

    /// What some tokens of a packed row see, each of its own source.
    ///
    /// # Shapes
    /// - `hidden`: `[tokens, hidden]`
    /// - `sources`: the tokens of each source, all of one length
    /// - `rows`: for each wanted token, the index of its source and its own
    /// - `left`: for each wanted token, what is left (see [`LanguageModel::left`])
    /// - returns rows of the wanted tokens
    #[must_use]
    pub fn packed_look(
        &self,
        hidden: &Tensor<2>,
        sources: &[Range<usize>],
        rows: &[(usize, usize)],
        left: &[&[bool]],
    ) -> Look {
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
        let mut of_source: Vec<Vec<(i32, &[bool])>> = vec![Vec::new(); sources.len()];
        let mut places = Vec::with_capacity(rows.len());
        for (&(source, row), left) in rows.iter().zip(left) {
            places.push((source, of_source[source].len()));
            of_source[source].push((row as i32, left));
        }
        let most = of_source.iter().map(Vec::len).max().unwrap_or(0);
        for rows in &mut of_source {
            rows.resize(most, (0, &[]));
        }
        let (states, left): (Vec<i32>, Vec<&[bool]>) = of_source.concat().into_iter().unzip();
        let states = hidden.clone().select(0, indices(states));
        let left = self.left(&left, sources.len());
        let look = self.look(states.reshape([sources.len(), most, width]), keys, left);
        let places =
            indices(places.iter().map(|(source, at)| (source * most + at) as i32).collect());
        Look {
            pointers: look.pointers.select(0, places.clone()),
            erase: look.erase.map(|erase| Erase {
                map: erase.map.select(0, places.clone()),
                most: erase.most.select(0, places),
            }),
        }
    }
}
