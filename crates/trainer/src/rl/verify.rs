//! Verifiers: rollouts and their pictures in, a reward for each out.
//!
//! Place in the flow: rollout → **reward** → advantage → loss → optimizer step.
//! A verifier that fails gives no reward: such a rollout is dropped and counted, never 0.
//! Source: EARL's reward is `VIEScore`'s overall, 0–10; the oracle's has the same form and range.
//! Start at [`Verifier`].

use super::rollout::{Case, Rollouts};
use crate::judge::{Judge, Question};
use anyhow::Result;
use earl_model::sample::rng::{Key, uniform};
use earl_model::{Editor, Mode, compose};
use earl_scenes::judge;
use image::RgbImage;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// What a rollout is worth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Reward {
    /// 0–10.
    pub overall: f64,
    /// Is the edit right?
    pub success: bool,
}

/// Kinds of verifiers a run may name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum VerifierName {
    /// The scene world's own judge, by rule.
    #[default]
    Oracle,
    /// A served multimodal model, asked as `[judge]` says.
    Mllm,
}

/// Judges edits.
pub(crate) trait Verifier {
    /// A reward or the reason why there is none, for each rollout in order. `first` is the number of
    /// the first one in the run.
    fn rewards(
        &self,
        rollouts: &Rollouts,
        pictures: &[RgbImage],
        first: u64,
    ) -> Vec<Result<Reward>>;
}

/// The scene world's own judge, by rule.
pub(crate) struct Oracle<'a> {
    /// For the way of a source through the tokenizer, against which whole pictures are held.
    pub editor: &'a Editor,
    /// What the rollouts wrote.
    pub mode: Mode,
}

impl Oracle<'_> {
    fn reward(&self, case: &Case, picture: &RgbImage) -> Reward {
        let tokenizer = self.editor.tokenizer();
        let whole = self.mode != Mode::Local;
        let reference = whole.then(|| compose::paint(tokenizer, &case.prompt.source));
        let (source, example) = (&case.picture, &case.example);
        let (scene, check) = (&example.scene, &example.check);
        let score = judge(source, picture, reference.as_ref(), scene, check, example.style);
        Reward { overall: f64::from(score.overall), success: score.success }
    }
}

impl Verifier for Oracle<'_> {
    fn rewards(
        &self,
        rollouts: &Rollouts,
        pictures: &[RgbImage],
        _first: u64,
    ) -> Vec<Result<Reward>> {
        let reward = |(at, picture)| Ok(self.reward(rollouts.case(at), picture));
        pictures.par_iter().enumerate().map(reward).collect()
    }
}

/// A served multimodal model.
pub(crate) struct Mllm<'a> {
    /// Whom to ask.
    pub judge: &'a Judge,
}

/// Overall score from which an edit judged by a model counts as right in the figures; rewards are
/// the score itself.
pub(crate) const RIGHT_FROM: f64 = 7.0;

impl Verifier for Mllm<'_> {
    fn rewards(
        &self,
        rollouts: &Rollouts,
        pictures: &[RgbImage],
        _first: u64,
    ) -> Vec<Result<Reward>> {
        let questions: Vec<Question> = pictures
            .iter()
            .enumerate()
            .map(|(at, edit)| {
                let case = rollouts.case(at);
                Question { source: &case.picture, edit, instruction: &case.example.instruction }
            })
            .collect();
        let verdicts = self.judge.score_all(&questions, &|| ());
        let reward = |overall| Reward { overall, success: overall >= RIGHT_FROM };
        verdicts.into_iter().map(|verdict| Ok(reward(verdict?.overall))).collect()
    }
}

/// A judge that keeps a share of the reward for right edits.
pub(crate) struct Strict<'a> {
    /// The judge behind it.
    pub inner: &'a dyn Verifier,
    /// Share of the reward that is 10 for a right edit and 0 for any other.
    pub share: f64,
}

impl Verifier for Strict<'_> {
    fn rewards(
        &self,
        rollouts: &Rollouts,
        pictures: &[RgbImage],
        first: u64,
    ) -> Vec<Result<Reward>> {
        let strict = |reward: Result<Reward>| {
            let reward = reward?;
            let right = if reward.success { 10.0 } else { 0.0 };
            let overall = (1.0 - self.share) * reward.overall + self.share * right;
            Ok(Reward { overall, ..reward })
        };
        self.inner.rewards(rollouts, pictures, first).into_iter().map(strict).collect()
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
    fn rewards(
        &self,
        rollouts: &Rollouts,
        pictures: &[RgbImage],
        first: u64,
    ) -> Vec<Result<Reward>> {
        let draw = |index, position| {
            uniform(Key { seed: self.seed, purpose: NOISE, index, position, token: 0 })
        };
        let noisy = |(reward, index): (Result<Reward>, u64)| {
            let reward = reward?;
            let overall =
                if draw(index, 0) < self.share { 10.0 * draw(index, 1) } else { reward.overall };
            Ok(Reward { overall, ..reward })
        };
        self.inner.rewards(rollouts, pictures, first).into_iter().zip(first..).map(noisy).collect()
    }
}
