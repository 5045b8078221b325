//! Picture tokenizers: pixels ↔ picture codes. Today `layered_vq`, the tiny tier's.

pub mod layered_vq;

pub use layered_vq::{Layer, LayeredVq};
