//! Picture tokenizers: pixels ↔ picture codes. Today `fsq`, the tiny tier's.

pub mod fsq;
pub mod quantizer;

pub use fsq::{FsqTokenizer, Layer};
pub use quantizer::Quantizer;
