//! Pictures, sentences and programs as one packed row: every token once, none of it padding.
//!
//! Place in the flow: layout → **pack** → `LanguageModel::forward_packed`; training only, an edit reads
//! chunk by chunk. Start at [`Packer`].

use super::layout::{ProgramLayout, program_chunk, source_chunk, words_chunk};
use super::vocabulary::Vocabulary;
use crate::ids::CodeGrid;
use crate::lm::{Chunk, Packed};
use earl_kernels::{Packing, Segment};
use std::ops::Range;
use std::sync::Arc;

/// Puts sequences into one row. What is added together shares what stands before it: a picture's
/// sentences follow the picture, a sentence's programs follow the sentence, then comes the next
/// picture.
pub struct Packer<'a> {
    vocabulary: &'a Vocabulary,
    max_words: usize,
    chunk: Chunk,
    packing: Packing,
}

/// A segment of the row, for what follows it, and its tokens.
pub type Part = (usize, Range<usize>);

impl<'a> Packer<'a> {
    /// An empty row. `max_words` is the model's.
    #[must_use]
    pub fn new(vocabulary: &'a Vocabulary, max_words: usize) -> Self {
        let chunk = Chunk { batch: 1, ..Chunk::default() };
        Self { vocabulary, max_words, chunk, packing: Packing::default() }
    }

    /// Adds a picture, whose cells see each other.
    pub fn source(&mut self, picture: &CodeGrid) -> Part {
        self.append(source_chunk(self.vocabulary, &[picture]), None, false)
    }

    /// Adds a sentence about the picture added last, whose segment is `source`.
    ///
    /// # Panics
    /// If another picture has been added since.
    pub fn words(&mut self, source: usize, words: &[usize]) -> Part {
        self.append(words_chunk(self.vocabulary, &[words]), Some(source), false)
    }

    /// Adds a program that answers a sentence about the picture added last; causal.
    ///
    /// # Panics
    /// If another picture has been added since.
    pub fn program(&mut self, words: usize, program: &ProgramLayout) -> Part {
        self.append(program_chunk(self.max_words, &[program]), Some(words), true)
    }

    /// The row.
    #[must_use]
    pub fn finish(self) -> Packed {
        Packed { chunk: self.chunk, packing: Arc::new(self.packing) }
    }

    fn append(&mut self, part: Chunk, parent: Option<usize>, causal: bool) -> Part {
        self.chunk.seq += part.seq;
        self.chunk.ids.extend(part.ids);
        self.chunk.times.extend(part.times);
        self.chunk.slots.extend(part.slots);
        self.packing.push(Segment { len: part.seq, parent, causal })
    }
}
