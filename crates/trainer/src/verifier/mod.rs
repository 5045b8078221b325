//! Training the model's own verifier: judged rollouts in, what tells right edits from wrong ones out.
//!
//! ```text
//! prompts → rollouts (+ true edit, + source) → oracle: right or wrong → the decoder's reading → pool → optimizer steps
//! ```
//! The decoder stays as it is; so a verifier belongs to the weights it was trained beside, and training those
//! drops it. Every step brings new rollouts: what it reports was measured before anything was learnt from them.
//! Start at [`batch::Batch::make`] and [`train::Student::step`].

pub(crate) mod batch;
pub(crate) mod config;
pub(crate) mod train;
