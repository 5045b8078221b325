//! Token ids → chunks: which position in time and which place on the canvas each token has.
//!
//! The source picture stands at time 0, words follow from 1, the program from `1 + max_words`, so
//! that a program's positions do not depend on the length of its instruction. A program token
//! carries the place of the code it predicts, so that "copy the source's code" means "look at the
//! same place".

use super::grammar::{Expect, Grammar, Slot};
use super::vocabulary::{Meaning, Vocabulary};
use crate::editor::Mode;
use crate::error::ModelError;
use crate::ids::{CodeGrid, TokenId};
use crate::lm::Chunk;

/// The source chunk of a batch of pictures of equal size.
#[must_use]
pub fn source_chunk(vocabulary: &Vocabulary, pictures: &[&CodeGrid]) -> Chunk {
    let seq = pictures.first().map_or(0, |picture| picture.codes.len());
    let mut chunk = Chunk { batch: pictures.len(), seq, ..Chunk::default() };
    for picture in pictures {
        for (at, &code) in picture.codes.iter().enumerate() {
            chunk.ids.push(vocabulary.code(code));
            chunk.times.push(0);
            chunk.slots.push(Slot::cell(at / picture.width, at % picture.width));
        }
    }
    chunk
}

/// The instruction chunk of a batch of sentences (indices of words), padded to the longest.
#[must_use]
pub fn words_chunk(vocabulary: &Vocabulary, sentences: &[&[usize]]) -> Chunk {
    let seq = sentences.iter().map(|words| words.len()).max().unwrap_or(0);
    let mut chunk = Chunk { batch: sentences.len(), seq, ..Chunk::default() };
    for words in sentences {
        for at in 0..seq {
            let word = words.get(at);
            chunk.ids.push(vocabulary.word(word.copied().unwrap_or(0)));
            chunk.times.push(1 + at);
            chunk.slots.push(Slot::NONE);
            chunk.padding.push(word.is_none());
        }
    }
    chunk
}

/// A whole program laid out for training: token `i` is the input that predicts `targets[i]`.
#[derive(Clone, Debug, Default)]
pub struct ProgramLayout {
    /// Inputs: every token but the last.
    pub inputs: Vec<TokenId>,
    /// Place of each input.
    pub slots: Vec<Slot>,
    /// Every token but the first.
    pub targets: Vec<TokenId>,
    /// Is the target a code (second softmax) rather than a control token?
    pub is_code: Vec<bool>,
    /// [`Grammar::left`] before each target.
    pub left: Vec<Vec<bool>>,
    /// [`Grammar::kept`] after the whole.
    pub kept: Vec<bool>,
}

/// Lays out a complete program.
///
/// # Errors
/// [`ModelError::Format`] if the grammar does not accept it.
pub fn program_layout(
    vocabulary: &Vocabulary,
    mode: Mode,
    tokens: &[TokenId],
) -> Result<ProgramLayout, ModelError> {
    let mut grammar = Grammar::new(vocabulary, mode);
    let mut layout = ProgramLayout::default();
    for (at, &token) in tokens.iter().enumerate() {
        if at > 0 {
            layout.targets.push(token);
            layout.is_code.push(matches!(grammar.expect(), Expect::Code(_)));
            layout.left.push(grammar.left().to_vec());
        }
        grammar.push(token)?;
        if at + 1 < tokens.len() {
            layout.inputs.push(token);
            layout.slots.push(input_slot(vocabulary, &grammar, token));
        }
    }
    layout.kept = grammar.kept().to_vec();
    Ok(layout)
}

/// Place of an input token, after the grammar took it: that of the code to come, else its own cell.
#[must_use]
pub fn input_slot(vocabulary: &Vocabulary, grammar: &Grammar<'_>, token: TokenId) -> Slot {
    match (grammar.slot(), vocabulary.meaning(token)) {
        (Slot::NONE, Some(Meaning::Cell(row, col))) => Slot::cell(row, col),
        (slot, _) => slot,
    }
}

/// Programs as one chunk, padded at the end, which no real token sees. `max_words` is the model's.
#[must_use]
pub fn program_chunk(max_words: usize, programs: &[&ProgramLayout]) -> Chunk {
    let seq = programs.iter().map(|program| program.inputs.len()).max().unwrap_or(0);
    let mut chunk = Chunk { batch: programs.len(), seq, ..Chunk::default() };
    for ProgramLayout { inputs, slots, .. } in programs {
        for at in 0..seq {
            chunk.ids.push(inputs.get(at).copied().unwrap_or(inputs[0]));
            chunk.slots.push(slots.get(at).copied().unwrap_or(Slot::NONE));
            chunk.times.push(1 + max_words + at);
        }
    }
    chunk
}
