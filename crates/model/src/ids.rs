//! Numbers that must not be mixed up, and the conversions between them.
//!
//! [`TokenId`] counts the whole vocabulary, [`CodeId`] the picture codebook alone; only
//! `sequence::Vocabulary` knows how the two relate.

use serde::{Deserialize, Serialize};

/// Index into the whole vocabulary: control tokens, words, cells and picture codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenId(pub u32);

/// Index into the picture tokenizer's codebook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CodeId(pub u32);

/// The one seed of an edit; every random draw is keyed by it, a purpose and an index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seed(pub u64);

/// Picture codes, row by row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeGrid {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// `height * width` codes, row-major.
    pub codes: Vec<CodeId>,
}

impl CodeGrid {
    /// The code that occurs most often (lowest id on a tie): in a scene, that of the background.
    #[must_use]
    pub fn most_frequent(&self) -> Option<CodeId> {
        let mut sorted = self.codes.clone();
        sorted.sort_unstable();
        sorted
            .chunk_by(|a, b| a == b)
            .max_by_key(|run| (run.len(), std::cmp::Reverse(run[0])))
            .map(|run| run[0])
    }

    /// Index of a cell in `codes`.
    #[must_use]
    pub fn index(&self, row: usize, col: usize) -> usize {
        row * self.width + col
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_frequent_code_takes_the_lowest_id_on_a_tie() {
        let grid = |codes: &[u32]| CodeGrid {
            height: 1,
            width: codes.len(),
            codes: codes.iter().map(|&c| CodeId(c)).collect(),
        };
        assert_eq!(grid(&[7, 3, 7, 3, 9]).most_frequent(), Some(CodeId(3)));
        assert_eq!(grid(&[]).most_frequent(), None);
    }
}
