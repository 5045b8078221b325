//! Sequences: which id means what, programs ↔ ids, and which ids may come next.

pub mod grammar;
pub mod layout;
mod pack;
pub mod program;
pub mod vocabulary;

pub use grammar::{Expect, Grammar, Slot};
pub use layout::{ProgramLayout, program_chunk, program_layout, source_chunk, words_chunk};
pub use pack::{Packer, Part};
pub use program::{Placed, Step, parse, plan_tokens, write};
pub use vocabulary::{Control, Meaning, Vocabulary};
