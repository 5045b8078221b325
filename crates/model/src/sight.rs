//! What the source shows, by the seeing head, and whether a plan speaks of things that are not there.
//!
//! A sentence about something that is not in the picture still leads to some plan: the decoder was
//! never taught to refuse. So the editor looks for itself: a box that is looked at or erased should
//! show what the plan calls it. A doubt is told with the edit, it does not stop it.
//! Start at [`Sight::read`].

use crate::error::ModelError;
use crate::ids::TokenId;
use crate::lm::{LanguageModel, SeeingHead, to_host};
use crate::sequence::{Placed, Step, Vocabulary};
use burn::tensor::Tensor;

/// The name each source cell shows, row by row; of a bare cell its background's.
pub struct Sight {
    cells: Vec<TokenId>,
    side: usize,
}

impl Sight {
    /// Names every cell from the source chunk's middle layer, `[1, cells, hidden]`.
    ///
    /// # Errors
    /// [`ModelError::Device`] if the device fails.
    pub async fn read(
        head: &SeeingHead,
        lm: &LanguageModel,
        vocabulary: &Vocabulary,
        seen: Tensor<3>,
    ) -> Result<Self, ModelError> {
        let logits = head.names(seen, lm); // [cells, control]
        let width = logits.dims()[1];
        let logits = to_host(logits).await?;
        let known = || vocabulary.names().iter().chain(vocabulary.backgrounds()).copied();
        let likeliest = |logits: &[f32]| {
            let higher =
                |a: &TokenId, b: &TokenId| logits[a.0 as usize].total_cmp(&logits[b.0 as usize]);
            known().max_by(higher).unwrap_or(TokenId(0))
        };
        let cells = logits.chunks(width).map(likeliest).collect();
        Ok(Self { cells, side: vocabulary.grid() })
    }

    /// The things in the picture, each name once, from the top left on.
    #[must_use]
    pub fn things(&self, vocabulary: &Vocabulary) -> Vec<TokenId> {
        let mut things = Vec::new();
        for &name in &self.cells {
            if vocabulary.names().contains(&name) && !things.contains(&name) {
                things.push(name);
            }
        }
        things
    }

    /// Names in the plan that no cell of their box shows, each once.
    #[must_use]
    pub fn doubted(&self, steps: &[Step]) -> Vec<TokenId> {
        let mut doubted = Vec::new();
        for step in steps {
            if let Step::See(placed) | Step::Erase(placed) = step
                && !self.shows(placed)
                && !doubted.contains(&placed.name)
            {
                doubted.push(placed.name);
            }
        }
        doubted
    }

    fn shows(&self, placed: &Placed) -> bool {
        let Placed { row, col, cells, .. } = *placed;
        (row..row + cells)
            .flat_map(|row| (col..col + cells).map(move |col| row * self.side + col))
            .any(|cell| self.cells.get(cell) == Some(&placed.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn erase(name: u32, row: usize, col: usize, cells: usize) -> Step {
        Step::Erase(Placed { name: TokenId(name), tint: None, row, col, cells })
    }

    #[test]
    fn a_box_without_the_named_thing_is_doubted() {
        // 4 × 4 cells of background 9, a thing 5 in the lower right corner.
        let mut cells = vec![TokenId(9); 16];
        cells[15] = TokenId(5);
        let sight = Sight { cells, side: 4 };
        assert!(sight.doubted(&[erase(5, 2, 2, 2)]).is_empty());
        let steps = [erase(5, 0, 0, 2), erase(6, 2, 2, 2), erase(6, 0, 2, 2)];
        assert_eq!(sight.doubted(&steps), [TokenId(5), TokenId(6)]);
    }
}
