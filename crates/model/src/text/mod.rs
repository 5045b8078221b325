//! Text tokenizers: an instruction ↔ token ids. Today `words`, the tiny tier's.

pub mod words;

pub use words::WordTokenizer;
