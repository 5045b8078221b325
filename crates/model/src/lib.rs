//! EARL's model: everything one edit needs, for training and for the browser alike.
//!
//! ```text
//! picture ──vision──▶ codes ─┐
//! instruction ──text──▶ words ─┴─sequence──▶ tokens ──lm──▶ logits ──sample──▶ program ──compose──▶ picture
//! ```
//! [`editor`] reads like this arrow: start there. No Burn backend is named here: callers pass a
//! [`burn::tensor::Device`]. No file, clock or thread either: bytes in, bytes out.
//!
//! Source: EARL, arXiv 2508.01119; what the tiny tier does differently is in `docs/ARCHITECTURE.md`.

pub mod batch;
pub mod checkpoint;
pub mod compose;
pub mod config;
pub mod editor;
pub mod emu3;
pub mod error;
pub mod files;
pub mod ids;
pub mod image;
pub mod lm;
pub mod plan;
mod region;
pub mod sample;
pub mod sequence;
mod session;
pub mod sight;
pub mod text;
pub mod verifier;
pub mod vision;
mod within;

pub use config::ModelConfig;
pub use editor::{EditEvent, EditOutcome, EditRequest, Editor, Mode};
pub use error::ModelError;
pub use ids::{CodeGrid, CodeId, Seed, TokenId};
pub use plan::PlanStep;
pub use region::Region;
