//! Verifiers: a prompt and an edited picture in, a reward out.
//!
//! Place in the flow: rollout → **reward** → advantage → loss → optimizer step.
//! A verifier that fails gives no reward: such a rollout is dropped and counted, never 0.
//! Source: EARL's reward is `VIEScore`'s overall, 0–10; the oracle's has the same form and range.
//! Start at [`Verifier`].

use super::rollout::Case;
use earl_model::Editor;
use earl_model::Mode;
use earl_model::compose;
use earl_model::sample::rng::{Key, uniform};
use earl_scenes::judge;
use image::RgbImage;

/// What a rollout is worth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Reward {
    /// 0–10.
    pub overall: f64,
    /// Is the edit right?
    pub success: bool,
}

/// Judges edits.
pub(crate) trait Verifier: Sync {
    /// The reward of one rollout, or `None` if it can't be told. `rollout` is its number in the run.
    fn reward(&self, case: &Case, picture: &RgbImage, rollout: u64) -> Option<Reward>;
}

/// The scene world's own judge, by rule.
pub(crate) struct Oracle<'a> {
    /// For the way of a source through the tokenizer, against which whole pictures are held.
    pub editor: &'a Editor,
    /// What the rollouts wrote.
    pub mode: Mode,
}

impl Verifier for Oracle<'_> {
    fn reward(&self, case: &Case, picture: &RgbImage, _rollout: u64) -> Option<Reward> {
        let tokenizer = self.editor.tokenizer();
        let reference =
            (self.mode != Mode::Local).then(|| compose::paint(tokenizer, &case.prompt.source));
        let example = &case.example;
        let score = judge(
            &case.picture,
            picture,
            reference.as_ref(),
            &example.scene,
            &example.check,
            example.style,
        );
        Some(Reward { overall: f64::from(score.overall), success: score.success })
    }
}

/// A judge that answers at random in a share of cases: what a weak judge does to training.
pub(crate) struct Corrupted<'a> {
    /// The judge behind it.
    pub inner: &'a dyn Verifier,
    /// Share of rewards replaced by uniform noise in 0–10.
    pub share: f64,
    /// Seed of the noise.
    pub seed: u64,
}

/// Purpose of the noise's random numbers.
const NOISE: u64 = 31;

impl Verifier for Corrupted<'_> {
    fn reward(&self, case: &Case, picture: &RgbImage, rollout: u64) -> Option<Reward> {
        let reward = self.inner.reward(case, picture, rollout)?;
        let draw = |position| {
            let key = Key { seed: self.seed, purpose: NOISE, index: rollout, position, token: 0 };
            uniform(key)
        };
        let overall = if draw(0) < self.share { 10.0 * draw(1) } else { reward.overall };
        Some(Reward { overall, ..reward })
    }
}
