//! Verifiers: rollouts and their pictures in, a reward for each out.
//!
//! Place in the flow: rollout → **reward** → advantage → loss → optimizer step.
//! A verifier that fails gives no reward: such a rollout is dropped and counted, never 0.
//! Source: EARL's reward is `VIEScore`'s overall, 0–10; the oracle's has the same form and range.
//! Start at [`Verifier`]; [`super::verifiers`] puts together those a run names.

use super::rollout::Case;
use crate::judge::{Judge, Question};
use anyhow::{Context, Result};
use earl_model::batch::Written;
use earl_model::sample::rng::{Key, uniform};
use earl_model::{Editor, Mode, compose};
use earl_scenes::judge;
use image::RgbImage;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// What a rollout is worth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Reward {
    /// 0–10; what training sees.
    pub overall: f64,
    /// Is the edit right?
    pub success: bool,
    /// What the verifier said, before `rl.right_share` weighed it and `rl.corrupt` put noise in its place.
    pub clean: f64,
}

/// Overall score from which an edit judged by a model counts as right in the figures; rewards are
/// the score itself.
pub(crate) const RIGHT_FROM: f64 = 7.0;

impl Reward {
    /// A score, and whether it means that the edit is right; without a word on that, as [`RIGHT_FROM`] says.
    #[must_use]
    pub(crate) fn new(overall: f64, success: Option<bool>) -> Self {
        Self { overall, success: success.unwrap_or(overall >= RIGHT_FROM), clean: overall }
    }
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
    /// Rewards kept in a file of rollouts (`rl.replay`).
    Replay,
    /// A weighted mean of the others (`[rl.mix]`).
    Mix,
}

/// A rollout to be judged.
pub(crate) struct Asked<'a> {
    /// Its place among the iteration's rollouts.
    pub at: usize,
    /// What was asked for.
    pub case: &'a Case,
    /// What was written.
    pub written: &'a Written,
    /// The picture it makes.
    pub picture: &'a RgbImage,
    /// Number of the rollout in the run.
    pub number: u64,
    /// Its reward, if it came with one.
    pub given: Option<Reward>,
}

/// Judges edits.
pub(crate) trait Verifier {
    /// A reward or the reason why there is none, for each rollout in order. The same rollout gets the
    /// same reward whatever it is asked with.
    fn rewards(&self, asked: &[&Asked<'_>]) -> Vec<Result<Reward>>;
}

/// The scene world's own judge, by rule.
pub(crate) struct Oracle<'a> {
    /// For the way of a source through the tokenizer, against which whole pictures are held.
    pub editor: &'a Editor,
    /// What the rollouts wrote.
    pub mode: Mode,
}

impl Oracle<'_> {
    /// The reward of one edit.
    pub(crate) fn reward(&self, case: &Case, picture: &RgbImage) -> Reward {
        let tokenizer = self.editor.tokenizer();
        let whole = self.mode != Mode::Local;
        let reference = whole.then(|| compose::paint(tokenizer, &case.prompt.source));
        let (source, example) = (&case.picture, &case.example);
        let (scene, check) = (&example.scene, &example.check);
        let score = judge(source, picture, reference.as_ref(), scene, check, example.style);
        Reward::new(f64::from(score.overall), Some(score.success))
    }
}

impl Verifier for Oracle<'_> {
    fn rewards(&self, asked: &[&Asked<'_>]) -> Vec<Result<Reward>> {
        asked.par_iter().map(|asked| Ok(self.reward(asked.case, asked.picture))).collect()
    }
}

/// A served multimodal model.
pub(crate) struct Mllm<'a> {
    /// Whom to ask.
    pub judge: &'a Judge,
}

impl Verifier for Mllm<'_> {
    fn rewards(&self, asked: &[&Asked<'_>]) -> Vec<Result<Reward>> {
        let questions: Vec<Question> = asked
            .iter()
            .map(|asked| {
                let Case { example, picture, .. } = asked.case;
                Question { source: picture, edit: asked.picture, instruction: &example.instruction }
            })
            .collect();
        let verdicts = self.judge.score_all(&questions, &|| ());
        verdicts.into_iter().map(|verdict| Ok(Reward::new(verdict?.overall, None))).collect()
    }
}

/// Several verifiers as one: the weighted mean of their scores.
pub(crate) struct Mix<'a> {
    /// Name, weight and verifier of each part.
    pub parts: Vec<(&'static str, f64, Box<dyn Verifier + 'a>)>,
}

impl Verifier for Mix<'_> {
    /// A part that fails leaves no reward: a mean of what is left would be another scale. Right is what
    /// every part calls right.
    fn rewards(&self, asked: &[&Asked<'_>]) -> Vec<Result<Reward>> {
        let sum: f64 = self.parts.iter().map(|(_, weight, _)| weight).sum();
        let mut mixed: Vec<Result<Reward>> =
            asked.iter().map(|_| Ok(Reward::new(0.0, Some(true)))).collect();
        for (name, weight, verifier) in &self.parts {
            for (mixed, part) in mixed.iter_mut().zip(verifier.rewards(asked)) {
                let Ok(so_far) = mixed else { continue };
                match part.with_context(|| format!("the part `{name}` of the mix")) {
                    Ok(part) => {
                        let overall = so_far.overall + weight / sum * part.overall;
                        *so_far = Reward::new(overall, Some(so_far.success && part.success));
                    }
                    Err(problem) => *mixed = Err(problem),
                }
            }
        }
        mixed
    }
}

/// Rewards that came with the rollouts; the judge behind is asked for the others alone.
pub(crate) struct Given<'a> {
    /// The judge behind it.
    pub inner: &'a dyn Verifier,
}

impl Verifier for Given<'_> {
    fn rewards(&self, asked: &[&Asked<'_>]) -> Vec<Result<Reward>> {
        let open: Vec<&Asked> =
            asked.iter().filter(|asked| asked.given.is_none()).copied().collect();
        let mut judged = self.inner.rewards(&open).into_iter();
        let missing = || Err(anyhow::anyhow!("the verifier left a rollout out"));
        let reward = |asked: &&Asked<'_>| match asked.given {
            Some(reward) => Ok(reward),
            None => judged.next().unwrap_or_else(missing),
        };
        asked.iter().map(reward).collect()
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
    fn rewards(&self, asked: &[&Asked<'_>]) -> Vec<Result<Reward>> {
        let strict = |reward: Result<Reward>| {
            let reward = reward?;
            let right = if reward.success { 10.0 } else { 0.0 };
            let overall = (1.0 - self.share) * reward.overall + self.share * right;
            Ok(Reward { overall, ..reward })
        };
        self.inner.rewards(asked).into_iter().map(strict).collect()
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
    fn rewards(&self, asked: &[&Asked<'_>]) -> Vec<Result<Reward>> {
        let draw = |index, position| {
            uniform(Key { seed: self.seed, purpose: NOISE, index, position, token: 0 })
        };
        let noisy = |(reward, asked): (Result<Reward>, &&Asked<'_>)| {
            let (reward, index) = (reward?, asked.number);
            let is_noise = draw(index, 0) < self.share;
            let overall = if is_noise { 10.0 * draw(index, 1) } else { reward.overall };
            Ok(Reward { overall, ..reward })
        };
        self.inner.rewards(asked).into_iter().zip(asked).map(noisy).collect()
    }
}
