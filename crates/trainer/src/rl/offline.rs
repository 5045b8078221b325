//! Rollouts from a file: sampled elsewhere or earlier, trained on here, an iteration's worth at a time.
//!
//! Place in the flow: **file** → reward → advantage → loss → optimizer step.
//! All lines are checked against the model before anything is trained. Start at [`Offline::read`].

use super::rollout::{RolloutLine, read_lines};
use anyhow::{Context, Result};
use earl_model::checkpoint::bundle::hex_sha256;
use earl_model::sequence::Vocabulary;
use earl_model::{Mode, ModelConfig};
use std::path::Path;

/// A file of rollouts that fits the model.
pub(crate) struct Offline {
    lines: Vec<RolloutLine>,
    /// Hash of the file, hex.
    pub sha256: String,
}

impl Offline {
    /// Reads a file and checks every line.
    ///
    /// # Errors
    /// Names the file and, by number, lines that are none, or whose mode, example, programs, numbers or
    /// rewards do not fit.
    pub(crate) fn read(path: &Path, model: &ModelConfig, mode: Mode) -> Result<Self> {
        let vocabulary = Vocabulary::new(model);
        let lines = read_lines(path, &|line: &RolloutLine| line.check(&vocabulary, mode))?;
        let bytes = std::fs::read(path).with_context(|| format!("reading `{}`", path.display()))?;
        Ok(Self { lines, sha256: hex_sha256(&bytes) })
    }

    /// Iterations of `prompts` lines it is enough for; the last may be smaller.
    #[must_use]
    pub(crate) fn iterations(&self, prompts: usize) -> u64 {
        self.lines.len().div_ceil(prompts) as u64
    }

    /// The lines of an iteration, in the file's order.
    #[must_use]
    pub(crate) fn lines(&self, iteration: u64, prompts: usize) -> &[RolloutLine] {
        self.lines.chunks(prompts).nth(iteration as usize).unwrap_or_default()
    }
}
