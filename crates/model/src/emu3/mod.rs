//! Emu3 and EARL as published: checkpoints in, picture codes and edited pictures out.
//!
//! ```text
//! directory ─shards─▶ names checked ─load─▶ Emu3Lm, Emu3Vq
//! picture ─pixels─▶ Emu3Vq::encode ─▶ codes ─┐
//! instruction ─text─▶ ids ──────────sequence─┴─▶ prompt ─decode (grammar)─▶ codes ─Emu3Vq::decode─▶ picture
//! ```
//! The decoder is the one of [`crate::lm`]: the same blocks, cache and rotary positions, configured
//! as one-dimensional. What is here is what the tiny tier has not: one table of all ids with an
//! untied head, the convolutional picture tokenizer, the published file layouts and text tokenizer.
//! Nothing but [`directory`] touches a file, and that module is absent from WebAssembly.
//!
//! Source: arXiv 2409.18869 (Emu3), arXiv 2508.01119 (EARL); how agreement with the reference code
//! was measured is in `docs/emu3.md`. Start at [`FullEditor`].

pub mod config;
pub mod decode;
#[cfg(not(target_arch = "wasm32"))]
pub mod directory;
pub mod editor;
pub mod free;
pub mod grammar;
pub mod ids;
pub mod lm;
pub mod load;
pub mod log_probs;
pub mod made_up;
pub mod names;
pub mod pixels;
pub mod plan;
pub mod sequence;
pub mod shards;
pub mod speculate;
pub mod summary;
pub mod text;
pub mod vq;
pub mod wanted;

pub use config::{Emu3Config, Emu3LmConfig, Emu3VqConfig, Layout};
pub use decode::{Guidance, Request, Sampling, Step, generate};
pub use editor::{FullEditor, FullOutcome, FullRequest, Progress};
pub use free::{FreeIds, Limits, Opened, write_freely};
pub use ids::Emu3Ids;
pub use lm::Emu3Lm;
pub use made_up::MadeUp;
pub use plan::{Planned, Precision, plan};
pub use shards::{ReadAt, Shards};
pub use speculate::{Drafted, generate_drafted};
pub use summary::Summary;
pub use text::Emu3Text;
pub use vq::Emu3Vq;
