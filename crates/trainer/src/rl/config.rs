//! Settings of reinforcement learning, as `configs/*.toml` hold them under `[rl]`.

use super::verify::VerifierName;
use crate::optim::OptimConfig;
use anyhow::{Result, bail};
use earl_model::Mode;
use earl_scenes::OpWeights;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Settings of one run; every key has a default. EARL's own values, for 8.5 B parameters: 16 prompts
/// of 8 rollouts, learning rate 3e-6, β 3e-4, 2,000 iterations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RlConfig {
    /// Iterations; each is one batch of rollouts and one optimizer step.
    pub iterations: u64,
    /// Seed of the rollouts.
    pub seed: u64,
    /// Prompts of an iteration.
    pub prompts: usize,
    /// Rollouts of a prompt.
    pub group_size: usize,
    /// Rollouts whose gradients are taken together; only memory depends on it.
    pub micro_batch: usize,
    /// Weight of the KL penalty to the starting model (β).
    pub kl: f64,
    /// What the rollouts write.
    pub mode: Mode,
    /// Who judges the rollouts.
    pub verifier: VerifierName,
    /// Share of a reward that only a right edit earns, 10 or nothing; the rest is the verifier's overall
    /// score. At 0 (EARL's way) half an edit earns 7 of 10, and a policy that is not sure does half.
    pub right_share: f64,
    /// Groups whose rewards deviate by less are dropped: their order is noise.
    pub least_deviation: f64,
    /// Share of rewards replaced by noise: a judge that can't judge.
    pub corrupt: f64,
    /// Largest difference between a rollout's log-probability and the trainer's, in nats.
    pub gap_limit: f64,
    /// Largest share of rollouts whose verifier may fail.
    pub failed_limit: f64,
    /// Iterations between checkpoints.
    pub checkpoint_every: u64,
    /// Iterations between looks at held-out edits.
    pub probe_every: u64,
    /// Held-out edits in such a look.
    pub probe_examples: u64,
    /// Prompts.
    pub data: RlData,
    /// Optimizer.
    pub optim: OptimConfig,
}

/// Where prompts come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RlData {
    /// Seed of the scenes.
    pub seed: u64,
    /// Prompts come from this many scenes, again and again; 0 never shows one twice.
    pub scenes: u64,
    /// How often each operation is drawn, by its name; absent ones keep their default.
    pub ops: BTreeMap<String, f64>,
}

impl Default for RlConfig {
    fn default() -> Self {
        Self {
            iterations: 300,
            seed: 1,
            prompts: 16,
            group_size: 8,
            micro_batch: 32,
            kl: 1e-3,
            mode: Mode::Local,
            verifier: VerifierName::default(),
            right_share: 0.0,
            least_deviation: 0.0,
            corrupt: 0.0,
            gap_limit: 1e-2,
            failed_limit: 0.2,
            checkpoint_every: 50,
            probe_every: 50,
            probe_examples: 110,
            data: RlData::default(),
            optim: OptimConfig {
                learning_rate: 1e-5,
                final_share: 1.0,
                warmup_steps: 10,
                weight_decay: 0.0,
                muon: false,
                ..OptimConfig::default()
            },
        }
    }
}

impl Default for RlData {
    fn default() -> Self {
        Self { seed: 1_000, scenes: 0, ops: BTreeMap::new() }
    }
}

impl RlConfig {
    /// The first broken rule, if any.
    ///
    /// # Errors
    /// Names the key and the value found.
    pub(crate) fn check(&self) -> Result<()> {
        for (key, value, least) in [
            ("rl.iterations", self.iterations, 1),
            ("rl.prompts", self.prompts as u64, 1),
            ("rl.group_size", self.group_size as u64, 2),
            ("rl.micro_batch", self.micro_batch as u64, 1),
            ("rl.checkpoint_every", self.checkpoint_every, 1),
            ("rl.probe_every", self.probe_every, 1),
        ] {
            if value < least {
                bail!("`{key}` is {value}; it must be at least {least}");
            }
        }
        for (key, value) in [
            ("rl.corrupt", self.corrupt),
            ("rl.failed_limit", self.failed_limit),
            ("rl.right_share", self.right_share),
        ] {
            if !(0.0..=1.0).contains(&value) {
                bail!("`{key}` is {value}; it must lie in 0..=1");
            }
        }
        for (key, value) in [("rl.kl", self.kl), ("rl.least_deviation", self.least_deviation)] {
            if !(value >= 0.0 && value.is_finite()) {
                bail!("`{key}` is {value}; it must be at least 0");
            }
        }
        self.optim.check()
    }

    /// The operations' weights.
    #[must_use]
    pub(crate) fn op_weights(&self) -> OpWeights {
        OpWeights::training(&self.data.ops)
    }
}
