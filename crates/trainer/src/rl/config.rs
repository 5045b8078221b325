//! Settings of reinforcement learning, as `configs/*.toml` hold them under `[rl]`.

use super::verifiers::MixConfig;
use super::verify::VerifierName;
use crate::optim::OptimConfig;
use anyhow::{Result, bail};
use earl_model::Mode;
use earl_scenes::OpWeights;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

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
    /// Which free tokens are in the loss; a list takes turns, an iteration each.
    pub train: TrainTokens,
    /// Who judges the rollouts.
    pub verifier: VerifierName,
    /// Share of a reward that only a right edit earns, 10 or nothing; the rest is the verifier's overall
    /// score. At 0 (EARL's way) half an edit earns 7 of 10, and a policy that is not sure does half.
    pub right_share: f64,
    /// Groups whose rewards deviate by less are dropped: their order is noise.
    pub least_deviation: f64,
    /// The file of rollouts whose rewards verifier `replay` gives.
    pub replay: Option<PathBuf>,
    /// Rollouts come from this file, as `--rollouts` says; none samples them.
    pub rollouts: Option<PathBuf>,
    /// Share of rewards replaced by noise: a judge that can't judge.
    pub corrupt: f64,
    /// Largest difference between a rollout's log-probability and the trainer's, in nats.
    pub gap_limit: f64,
    /// Largest share of rollouts whose verifier may fail.
    pub failed_limit: f64,
    /// Seconds to wait, all in all, for a served judge that is away or broken before giving up.
    pub pause_limit_s: f64,
    /// Iterations between checkpoints.
    pub checkpoint_every: u64,
    /// Iterations between looks at held-out edits.
    pub probe_every: u64,
    /// Held-out edits in such a look.
    pub probe_examples: u64,
    /// Weights of verifier `mix`.
    pub mix: MixConfig,
    /// Prompts.
    pub data: RlData,
    /// Optimizer.
    pub optim: OptimConfig,
}

/// Kinds of tokens a rollout is free to choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum TokenKind {
    /// All of them.
    All,
    /// Control tokens: the plan (EARL's `train_text_tokens_only`).
    Text,
    /// Picture codes.
    Picture,
}

/// What the iterations train, in turns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "`train` is \"all\", \"text\", \"picture\", or a list of these that take turns"
)]
pub(crate) enum TrainTokens {
    /// The same in every iteration.
    Always(TokenKind),
    /// One after the other, from the start again after the last.
    Turns(Vec<TokenKind>),
}

impl TrainTokens {
    /// What an iteration trains.
    #[must_use]
    pub(crate) fn at(&self, iteration: u64) -> TokenKind {
        match self {
            Self::Always(kind) => *kind,
            Self::Turns(turns) if turns.is_empty() => TokenKind::All,
            Self::Turns(turns) => turns[(iteration % turns.len() as u64) as usize],
        }
    }

    /// Does any iteration train this kind alone?
    fn names(&self, kind: TokenKind) -> bool {
        match self {
            Self::Always(own) => *own == kind,
            Self::Turns(turns) => turns.contains(&kind),
        }
    }
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
            train: TrainTokens::Always(TokenKind::All),
            verifier: VerifierName::default(),
            right_share: 0.0,
            least_deviation: 0.0,
            replay: None,
            rollouts: None,
            corrupt: 0.0,
            gap_limit: 1e-2,
            failed_limit: 0.2,
            pause_limit_s: 86_400.0,
            checkpoint_every: 50,
            probe_every: 50,
            probe_examples: 110,
            mix: MixConfig::default(),
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
        if !(self.pause_limit_s >= 0.0 && self.pause_limit_s.is_finite()) {
            bail!("`rl.pause_limit_s` is {}; it must be at least 0", self.pause_limit_s);
        }
        self.check_tokens()?;
        self.check_verifier()?;
        self.optim.check()
    }

    fn check_tokens(&self) -> Result<()> {
        if matches!(&self.train, TrainTokens::Turns(turns) if turns.is_empty()) {
            bail!("`rl.train` is an empty list; name \"all\", \"text\" or \"picture\"");
        }
        if self.mode == Mode::Full && self.train.names(TokenKind::Text) {
            bail!("`rl.train` names \"text\", but `rl.mode` is \"full\", which writes no text");
        }
        Ok(())
    }

    fn check_verifier(&self) -> Result<()> {
        let MixConfig { oracle, mllm, replay } = self.mix;
        for (key, weight) in [("oracle", oracle), ("mllm", mllm), ("replay", replay)] {
            if !(weight >= 0.0 && weight.is_finite()) {
                bail!("`rl.mix.{key}` is {weight}; it must be at least 0");
            }
        }
        if self.verifier == VerifierName::Mix && oracle + mllm + replay <= 0.0 {
            bail!("`rl.verifier` is \"mix\", but `[rl.mix]` gives no part a weight above 0");
        }
        if self.names(VerifierName::Replay) && self.replay.is_none() {
            bail!("verifier `replay` is to be asked, but `rl.replay` names no file of rollouts");
        }
        Ok(())
    }

    /// Is this verifier asked, alone or in the mix?
    #[must_use]
    pub(crate) fn names(&self, verifier: VerifierName) -> bool {
        self.verifier == verifier
            || (self.verifier == VerifierName::Mix && self.mix.of(verifier) > 0.0)
    }

    /// The operations' weights.
    #[must_use]
    pub(crate) fn op_weights(&self) -> OpWeights {
        OpWeights::training(&self.data.ops)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RunConfig;

    #[test]
    fn what_is_trained_takes_turns() {
        let text = "[rl]\ntrain = [\"text\", \"text\", \"all\"]\n";
        let config = RunConfig::parse(text).unwrap().rl;
        let turns: Vec<TokenKind> = (0..4).map(|iteration| config.train.at(iteration)).collect();
        assert_eq!(turns, [TokenKind::Text, TokenKind::Text, TokenKind::All, TokenKind::Text]);
        let config = RunConfig::parse("[rl]\ntrain = \"picture\"\n").unwrap().rl;
        assert_eq!(config.train.at(9), TokenKind::Picture);
    }

    #[test]
    fn contradictions_are_named() {
        for (text, said) in [
            ("train = \"words\"", "or a list of these"),
            ("train = []", "`rl.train` is an empty list"),
            ("train = \"text\"\nmode = \"full\"", "writes no text"),
            ("verifier = \"replay\"", "`rl.replay` names no file"),
            ("verifier = \"mix\"", "gives no part a weight"),
            ("verifier = \"mix\"\n[rl.mix]\nreplay = 1", "`rl.replay` names no file"),
            ("verifier = \"mix\"\n[rl.mix]\nmllm = -1", "`rl.mix.mllm` is -1"),
        ] {
            let error = RunConfig::parse(&format!("[rl]\n{text}\n")).unwrap_err();
            assert!(format!("{error:#}").contains(said), "{text}: {error:#}");
        }
        let text = "[rl]\nverifier = \"mix\"\n[rl.mix]\noracle = 1.0\nmllm = 3.0\n";
        let config = RunConfig::parse(text).unwrap().rl;
        assert!(config.names(VerifierName::Mllm) && !config.names(VerifierName::Replay));
    }
}
