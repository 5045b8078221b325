//! Settings of the verifier's training, as `configs/*.toml` hold them under `[verifier]`.

use crate::optim::OptimConfig;
use crate::rl::config::{RlConfig, RlData};
use anyhow::{Result, bail};
use earl_model::Mode;
use serde::{Deserialize, Serialize};

/// Settings of one run; every key has a default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct VerifierConfig {
    /// Steps; each samples and judges new rollouts, which join the pool of what is learnt from.
    pub steps: u64,
    /// Optimizer steps on the pool, after each batch of rollouts.
    pub updates: u64,
    /// Edits of an optimizer step.
    pub batch: u64,
    /// Width of the hidden layer.
    pub width: usize,
    /// Seed of the head and of the rollouts.
    pub seed: u64,
    /// Prompts of a step.
    pub prompts: usize,
    /// Rollouts of a prompt; its true edit and its source, unchanged, come on top.
    pub group_size: usize,
    /// What the rollouts write; several take turns, a step each.
    pub modes: Vec<Mode>,
    /// Steps between checkpoints.
    pub checkpoint_every: u64,
    /// Prompts.
    pub data: RlData,
    /// Optimizer.
    pub optim: OptimConfig,
}

impl Default for VerifierConfig {
    fn default() -> Self {
        Self {
            steps: 100,
            updates: 20,
            batch: 48,
            width: 16,
            seed: 1,
            prompts: 24,
            group_size: 8,
            modes: vec![Mode::Local, Mode::Full],
            checkpoint_every: 10,
            data: RlData::default(),
            optim: OptimConfig {
                learning_rate: 3e-2,
                warmup_steps: 50,
                muon: false,
                ..OptimConfig::default()
            },
        }
    }
}

impl VerifierConfig {
    /// The first broken rule, if any.
    ///
    /// # Errors
    /// Names the key and the value found.
    pub(crate) fn check(&self) -> Result<()> {
        let counts = [
            ("steps", self.steps),
            ("updates", self.updates),
            ("batch", self.batch),
            ("width", self.width as u64),
            ("prompts", self.prompts as u64),
            ("group_size", self.group_size as u64),
            ("checkpoint_every", self.checkpoint_every),
        ];
        if let Some((key, _)) = counts.iter().find(|(_, count)| *count == 0) {
            bail!("`verifier.{key}` is 0; it must be at least 1");
        }
        if self.modes.is_empty() {
            bail!("`verifier.modes` is empty; name one mode at least");
        }
        self.optim.check()
    }

    /// What the rollouts write in a step (from 0).
    #[must_use]
    pub(crate) fn mode(&self, step: u64) -> Mode {
        self.modes[(step % self.modes.len() as u64) as usize]
    }

    /// How the rollouts of a step are made.
    #[must_use]
    pub(crate) fn rollouts(&self, step: u64) -> RlConfig {
        RlConfig {
            seed: self.seed,
            prompts: self.prompts,
            group_size: self.group_size,
            mode: self.mode(step),
            data: self.data.clone(),
            ..RlConfig::default()
        }
    }
}
