//! Settings of supervised training, as `configs/*.toml` hold them under `[sft]`.

use crate::optim::OptimConfig;
use anyhow::{Result, bail};
use earl_scenes::{OpWeights, TRAINING_REPEATS};
use serde::{Deserialize, Serialize};

/// Settings of one supervised run; every key has a default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SftConfig {
    /// Optimizer steps of the whole run.
    pub steps: u64,
    /// Seed of the initial weights.
    pub seed: u64,
    /// Steps between checkpoints.
    pub checkpoint_every: u64,
    /// Steps between looks at held-out edits.
    pub probe_every: u64,
    /// Held-out edits of each operation in such a look.
    pub probe_examples: usize,
    /// Weight of picture codes in the loss, beside control tokens (1).
    pub code_weight: f64,
    /// Weight of the seeing loss.
    pub seeing_weight: f64,
    /// Weight of the erase map's loss, if the model has one.
    pub erase_weight: f64,
    /// Multiply in bfloat16 where the CPU does (AVX-512 BF16); sums, weights and gradients stay f32.
    pub mixed_precision: bool,
    /// Batches.
    pub data: DataConfig,
    /// Optimizer.
    pub optim: OptimConfig,
}

/// What a batch holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct DataConfig {
    /// Seed of the scenes.
    pub seed: u64,
    /// Scenes in a step; each is read once.
    pub scenes_per_step: usize,
    /// Edits of each scene.
    pub edits_per_scene: usize,
    /// Edits read at once; fewer need less memory. It changes nothing but the order of sums.
    pub group_size: usize,
    /// Share of edits trained in mode `full`.
    pub full_share: f64,
    /// Which of several right answers mode `full` is taught.
    pub full_answer: Answer,
    /// Which of several alike plans erase, and in which order.
    pub alike: Answer,
    /// Share of edits trained in mode `think`.
    pub think_share: f64,
    /// Share of scenes that hold several alike.
    pub repeats: f64,
    /// Share of words left out of sentences, but for names, tints and backgrounds.
    pub words_left_out: f64,
    /// How often each operation is drawn, by its name; absent ones keep their default.
    pub ops: std::collections::BTreeMap<String, f64>,
}

/// Which of an edit's right answers is taught.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Answer {
    /// A random one.
    Any,
    /// Always the one that comes first in reading order ([`Example::first_answer`], [`Example::first_alike`]).
    ///
    /// [`Example::first_answer`]: earl_scenes::Example::first_answer
    /// [`Example::first_alike`]: earl_scenes::Example::first_alike
    First,
}

impl Default for SftConfig {
    fn default() -> Self {
        Self {
            steps: 3_000,
            seed: 1,
            checkpoint_every: 200,
            probe_every: 500,
            probe_examples: 20,
            code_weight: 1.0,
            seeing_weight: 1.0,
            erase_weight: 1.0,
            mixed_precision: false,
            data: DataConfig::default(),
            optim: OptimConfig::default(),
        }
    }
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            seed: 1,
            scenes_per_step: 32,
            edits_per_scene: 4,
            group_size: 32,
            full_share: 0.06,
            full_answer: Answer::Any,
            alike: Answer::Any,
            think_share: 0.04,
            repeats: TRAINING_REPEATS,
            words_left_out: 0.0,
            ops: std::collections::BTreeMap::new(),
        }
    }
}

impl SftConfig {
    /// The first broken rule, if any.
    ///
    /// # Errors
    /// Names the key and the value found.
    pub(crate) fn check(&self) -> Result<()> {
        let data = &self.data;
        for (key, value) in [
            ("sft.steps", self.steps),
            ("sft.checkpoint_every", self.checkpoint_every),
            ("sft.probe_every", self.probe_every),
            ("sft.data.scenes_per_step", data.scenes_per_step as u64),
            ("sft.data.edits_per_scene", data.edits_per_scene as u64),
            ("sft.data.group_size", data.group_size as u64),
        ] {
            if value == 0 {
                bail!("`{key}` is 0; it must be at least 1");
            }
        }
        let shares = [data.full_share, data.think_share];
        if shares.iter().any(|share| !(0.0..=1.0).contains(share))
            || shares.iter().sum::<f64>() > 1.0
        {
            bail!(
                "`sft.data.full_share` and `think_share` are {shares:?}; they must lie in 0..=1 together"
            );
        }
        if !(0.0..1.0).contains(&data.words_left_out) {
            bail!(
                "`sft.data.words_left_out` is {}; it must be at least 0 and below 1",
                data.words_left_out
            );
        }
        if !(0.0..=1.0).contains(&data.repeats) {
            bail!("`sft.data.repeats` is {}; it must lie in 0..=1", data.repeats);
        }
        self.optim.check()
    }
}

impl DataConfig {
    /// The operations' weights.
    #[must_use]
    pub(crate) fn op_weights(&self) -> OpWeights {
        OpWeights::training(&self.ops)
    }
}
