//! Where on the canvas an edit may change the picture: a mask of cells that steers it.
//!
//! Codes outside are the source's, unasked, and so are the pixels in the end. Boxes that are erased or drawn are drawn to the mask: what of
//! a box lies inside adds to its logit, so where the sentence leaves the place open the mask decides, and
//! where it says the place the sentence does.

use crate::compose::Composed;
use crate::error::ModelError;
use crate::ids::CodeGrid;
use crate::region::keep_outside;
use crate::sequence::{Slot, Vocabulary};
use image::RgbImage;

/// Added to the logit of a box that lies inside the mask, in nats; to others by their share inside. Of 40
/// things to add, 25, 29, 37 and 40 were drawn inside a quarter of the canvas at 8, 12, 16 and 24; of 40 to
/// remove or replace outside it, 0, 0, 0 and 2 were looked for in the wrong place (`tests/region.rs`).
const WORTH: f32 = 16.0;

/// A mask over the canvas's cells.
#[derive(Clone, Copy)]
pub(crate) struct Within<'a> {
    /// Row by row: may it change?
    cells: &'a [bool],
    grid: usize,
}

impl<'a> Within<'a> {
    /// A mask of a `grid` × `grid` canvas.
    ///
    /// # Errors
    /// [`ModelError::Option`] if it has another size, or no cell may change.
    pub(crate) fn new(cells: &'a [bool], grid: usize) -> Result<Self, ModelError> {
        let refuse = |problem| Err(ModelError::Option { name: "within", problem });
        if cells.len() != grid * grid {
            return refuse(format!("has {} cells; the canvas has {}", cells.len(), grid * grid));
        }
        if !cells.contains(&true) {
            return refuse("lets no cell change".into());
        }
        Ok(Self { cells, grid })
    }

    /// Gives what is outside its source's pixels and codes; did any have others?
    pub(crate) fn restore(
        &self,
        source: &RgbImage,
        source_codes: &CodeGrid,
        patch: usize,
        composed: &mut Composed,
    ) -> bool {
        let before = composed.picture.clone();
        keep_outside(&mut composed.picture, source, self.cells, self.grid, patch as u32);
        for at in (0..self.cells.len()).filter(|&at| !self.cells[at]) {
            composed.codes.codes[at] = source_codes.codes[at];
        }
        composed.picture != before
    }

    /// Does the source's code stay at a place?
    pub(crate) fn keeps(&self, slot: Slot) -> bool {
        slot.row.zip(slot.col).is_some_and(|(row, col)| !self.cells[row * self.grid + col])
    }

    /// Draws boxes of `size` × `size` cells to the mask; `logits` are those of all control ids.
    pub(crate) fn favour(&self, vocabulary: &Vocabulary, size: usize, logits: &mut [f32]) {
        let last = self.grid - size;
        for (row, col) in (0..=last).flat_map(|row| (0..=last).map(move |col| (row, col))) {
            let covered =
                (row..row + size).flat_map(|row| (col..col + size).map(move |col| (row, col)));
            let inside = covered.filter(|(row, col)| self.cells[row * self.grid + col]).count();
            if let Some(logit) = logits.get_mut(vocabulary.cell(row, col).0 as usize) {
                *logit += WORTH * inside as f32 / (size * size) as f32;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ModelConfig;
    use crate::config::WordsConfig;

    #[test]
    fn a_mask_keeps_what_is_outside_and_draws_boxes_in() {
        let vocabulary = Vocabulary::new(&ModelConfig::tiny(WordsConfig {
            words: vec!["cat".into()],
            max_words: 4,
            names: vec!["cat".into()],
            tintable: vec![false],
            tints: Vec::new(),
            backgrounds: Vec::new(),
        }));
        let grid = vocabulary.grid();
        let left: Vec<bool> = (0..grid * grid).map(|at| at % grid < 3).collect();
        let within = Within::new(&left, grid).unwrap();
        assert!(!within.keeps(Slot::cell(5, 2)) && within.keeps(Slot::cell(5, 3)));
        assert!(!within.keeps(Slot::NONE));
        let mut logits = vec![0.0; vocabulary.control_len()];
        within.favour(&vocabulary, 2, &mut logits);
        let share = |col| logits[vocabulary.cell(4, col).0 as usize] / WORTH * 4.0;
        assert_eq!([0, 1, 2, 3].map(|col| share(col) as usize), [4, 4, 2, 0]);
    }

    #[test]
    fn masks_that_fit_no_canvas_are_refused() {
        for cells in [vec![true; 63], vec![false; 64], Vec::new()] {
            assert!(matches!(
                Within::new(&cells, 8),
                Err(ModelError::Option { name: "within", .. })
            ));
        }
    }
}
