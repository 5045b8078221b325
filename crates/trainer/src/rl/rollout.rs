//! Rollouts: prompts of one iteration in, sampled programs and the pictures they make out; and the
//! file they are kept in.
//!
//! Place in the flow: **rollout** → reward → advantage → loss → optimizer step.
//! Every prompt is read once; its rollouts share that prefix. Everything is a function of
//! (weights, seed, iteration). Start at [`Rollouts::make`] and [`Rollouts::from_lines`].

use super::config::RlConfig;
use super::verify::{Asked, Reward};
use crate::hint;
use anyhow::{Context, Result, bail, ensure};
use earl_model::batch::{Choice, Draw, Prompt, Written, write_programs};
use earl_model::compose::Composed;
use earl_model::sequence::{Expect, Grammar, Vocabulary};
use earl_model::{Editor, Mode, Seed, TokenId};
use earl_scenes::{Example, TRAINING_REPEATS, render, scene_edits};
use image::RgbImage;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::path::Path;

/// One iteration's rollouts, group after group.
pub(crate) struct Rollouts {
    /// What was asked.
    pub cases: Vec<Case>,
    /// The rollouts of each case, as indices of `written`.
    pub groups: Vec<Range<usize>>,
    /// Programs, group after group.
    pub written: Vec<Written>,
    /// Rewards that came with them.
    pub given: Vec<Option<Reward>>,
}

/// A prompt: an example, its picture, and what the model reads of both.
pub(crate) struct Case {
    /// The example.
    pub example: Example,
    /// Its source picture.
    pub picture: RgbImage,
    /// Codes and words.
    pub prompt: Prompt,
}

/// One prompt and its rollouts as a line of `rollouts.jsonl`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RolloutLine {
    /// Iteration, from 0.
    #[serde(default)]
    pub iteration: u64,
    /// The prompt.
    pub example: Example,
    /// What the rollouts wrote.
    pub mode: Mode,
    /// The rollouts.
    pub rollouts: Vec<SavedRollout>,
}

/// One rollout in a file.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SavedRollout {
    /// Ids of the whole program.
    pub program: Vec<u32>,
    /// Log-probability of each free choice when it was made, in nats.
    pub log_probs: Vec<f64>,
    /// Entropy of each free choice, in nats; empty if it is not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entropies: Vec<f64>,
    /// Its reward, 0–10; absent if its verifier failed or it was not judged yet.
    #[serde(default)]
    pub reward: Option<f64>,
    /// Is the edit right? Absent, a reward of 7 and more means so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub success: Option<bool>,
}

impl SavedRollout {
    fn new(written: &Written, reward: Option<Reward>) -> Self {
        let entropies: Vec<f64> = written.choices.iter().map(|choice| choice.entropy).collect();
        let known = entropies.iter().all(|entropy| entropy.is_finite());
        Self {
            program: written.program.iter().map(|token| token.0).collect(),
            log_probs: written.choices.iter().map(|choice| choice.log_prob).collect(),
            entropies: if known { entropies } else { Vec::new() },
            reward: reward.map(|reward| reward.overall),
            success: reward.map(|reward| reward.success),
        }
    }

    /// Its reward, if it has one.
    #[must_use]
    pub(crate) fn reward(&self) -> Option<Reward> {
        self.reward.map(|overall| Reward::new(overall, self.success))
    }

    /// The program and its free choices; entropies that are not known are NaN.
    ///
    /// # Errors
    /// If the grammar does not accept the program, or its numbers are not one for each free choice.
    pub(crate) fn read(&self, vocabulary: &Vocabulary, mode: Mode) -> Result<Written> {
        let program: Vec<TokenId> = self.program.iter().map(|&id| TokenId(id)).collect();
        let free = free_choices(vocabulary, mode, &program)?;
        for (what, values) in [("log_probs", &self.log_probs), ("entropies", &self.entropies)] {
            let absent = what == "entropies" && values.is_empty();
            ensure!(
                absent || values.len() == free.len(),
                "{} `{what}` for a program with {} free choices",
                values.len(),
                free.len()
            );
        }
        if let Some(bad) = self.log_probs.iter().find(|value| value.is_nan() || **value > 1e-6) {
            bail!("a log-probability is {bad}; it can't be above 0");
        }
        if let Some(bad) = self.reward.filter(|reward| !(0.0..=10.0).contains(reward)) {
            bail!("a reward is {bad}; it must lie in 0..=10");
        }
        let entropies = self.entropies.iter().copied().chain(std::iter::repeat(f64::NAN));
        let choices = free.into_iter().zip(&self.log_probs).zip(entropies);
        let choices = choices
            .map(|(((at, is_code), &log_prob), entropy)| Choice { at, log_prob, entropy, is_code })
            .collect();
        Ok(Written { program, choices })
    }
}

/// The free choices of a program: index, and whether it is a code.
fn free_choices(
    vocabulary: &Vocabulary,
    mode: Mode,
    program: &[TokenId],
) -> Result<Vec<(usize, bool)>> {
    let mut free = Vec::new();
    let mut grammar = Grammar::new(vocabulary, mode);
    for (at, &token) in program.iter().enumerate() {
        match grammar.expect() {
            Expect::Control(allowed) if allowed.len() > 1 => free.push((at, false)),
            Expect::Code(_) => free.push((at, true)),
            _ => {}
        }
        grammar.push(token).with_context(|| format!("token {at} of a program"))?;
    }
    ensure!(grammar.expect() == Expect::Nothing, "a program is not complete");
    Ok(free)
}

impl RolloutLine {
    /// Checks a line against the model that is to be trained on it.
    ///
    /// # Errors
    /// Says which part does not fit.
    pub(crate) fn check(&self, vocabulary: &Vocabulary, mode: Mode) -> Result<()> {
        ensure!(self.mode == mode, "its mode is {:?}, the run's (`rl.mode`) {mode:?}", self.mode);
        ensure!(self.rollouts.len() > 1, "a group needs two rollouts at least");
        self.example.verified().map_err(anyhow::Error::msg).context("`example`")?;
        vocabulary.text().encode(&self.example.instruction).context("`example.instruction`")?;
        for (at, rollout) in self.rollouts.iter().enumerate() {
            rollout.read(vocabulary, mode).with_context(|| format!("rollout {at}"))?;
        }
        Ok(())
    }
}

/// Most bad lines that are told.
const TOLD: usize = 5;

/// All lines of a file of rollouts, each accepted by `check`.
///
/// # Errors
/// Names the file and its bad lines by number; nothing is left out silently.
pub(crate) fn read_lines(
    path: &Path,
    check: &dyn Fn(&RolloutLine) -> Result<()>,
) -> Result<Vec<RolloutLine>> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("reading `{}`", path.display()))?;
    let (mut lines, mut bad) = (Vec::new(), Vec::new());
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let read = serde_json::from_str::<RolloutLine>(line).context("no line of rollouts");
        match read.and_then(|line| check(&line).map(|()| line)) {
            Ok(line) => lines.push(line),
            Err(problem) => bad.push(format!("line {}: {problem:#}", at + 1)),
        }
    }
    if bad.is_empty() && !lines.is_empty() {
        return Ok(lines);
    }
    let more = bad.len().saturating_sub(TOLD);
    bad.truncate(TOLD);
    let told =
        if lines.is_empty() && bad.is_empty() { "it is empty".into() } else { bad.join("\n  ") };
    let more = if more > 0 { format!("\n  and {more} more") } else { String::new() };
    Err(hint::error(
        format!("`{}` can't be used:\n  {told}{more}", path.display()),
        "write it with `trainer rl --save-rollouts` and the same model, or as docs/training.md says",
    ))
}

impl Case {
    /// Renders and encodes an example.
    ///
    /// # Errors
    /// If its sentence or picture can't be read.
    pub(crate) fn new(editor: &Editor, example: Example) -> Result<Self> {
        let picture = render(&example.scene, example.style);
        let source = editor.tokenizer().encode(&picture)?;
        let words = editor.vocabulary().text().encode(&example.instruction)?;
        Ok(Self { example, picture, prompt: Prompt { source, words } })
    }
}

impl Rollouts {
    /// Groups of equal size without rewards.
    #[must_use]
    pub(crate) fn new(cases: Vec<Case>, group_size: usize, written: Vec<Written>) -> Self {
        let groups = (0..cases.len()).map(|at| at * group_size..(at + 1) * group_size).collect();
        let given = vec![None; written.len()];
        Self { cases, groups, written, given }
    }

    /// What rollout `at` was asked.
    #[must_use]
    pub(crate) fn case(&self, at: usize) -> &Case {
        &self.cases[self.groups.partition_point(|group| group.end <= at)]
    }

    /// The prompts by their examples' ids, for errors.
    #[must_use]
    pub(crate) fn ids(&self) -> String {
        let ids: Vec<&str> = self.cases.iter().map(|case| case.example.id.as_str()).collect();
        ids.join(", ")
    }

    /// Samples an iteration's rollouts at temperature 1; prompts are spread over the cores.
    ///
    /// # Errors
    /// If the model is broken.
    pub(crate) fn make(editor: &Editor, config: &RlConfig, iteration: u64) -> Result<Self> {
        let weights = config.op_weights();
        let first = iteration * config.prompts as u64;
        let cases = (first..first + config.prompts as u64)
            .into_par_iter()
            .flat_map_iter(|index| {
                let scene =
                    if config.data.scenes == 0 { index } else { index % config.data.scenes };
                scene_edits(config.data.seed, scene, 1, &weights, TRAINING_REPEATS)
            })
            .map(|example| Case::new(editor, example))
            .collect::<Result<Vec<Case>>>()?;
        let seeds = first * config.group_size as u64;
        let share = cases.len().div_ceil(rayon::current_num_threads()).max(1);
        let written = cases
            .par_chunks(share)
            .enumerate()
            .map(|(at, cases)| {
                let seed = (config.seed << 40) + seeds + (at * share * config.group_size) as u64;
                write(editor, cases, config, seed)
            })
            .collect::<Result<Vec<_>>>();
        let written = written.with_context(|| {
            let ids: Vec<&str> = cases.iter().map(|case| case.example.id.as_str()).collect();
            format!("sampling for prompts {}", ids.join(", "))
        })?;
        let written = written.into_iter().flatten().collect();
        Ok(Self::new(cases, config.group_size, written))
    }

    /// Rollouts that were written before, here or elsewhere; lines were checked.
    ///
    /// # Errors
    /// If a line does not fit the model.
    pub(crate) fn from_lines(editor: &Editor, mode: Mode, lines: &[RolloutLine]) -> Result<Self> {
        let cases = lines
            .par_iter()
            .map(|line| Case::new(editor, line.example.clone()))
            .collect::<Result<Vec<Case>>>()?;
        let (mut groups, mut written, mut given) = (Vec::new(), Vec::new(), Vec::new());
        for line in lines {
            let first = written.len();
            for rollout in &line.rollouts {
                written.push(rollout.read(editor.vocabulary(), mode)?);
                given.push(rollout.reward());
            }
            groups.push(first..written.len());
        }
        Ok(Self { cases, groups, written, given })
    }

    /// What every rollout makes of its source, in order.
    ///
    /// # Errors
    /// If a program is none of the grammar's.
    pub(crate) fn composed(&self, editor: &Editor, mode: Mode) -> Result<Vec<Composed>> {
        let composed = |(at, written): (usize, &Written)| {
            let case = self.case(at);
            let composed =
                editor.compose(&case.picture, &case.prompt.source, mode, &written.program);
            Ok(composed.with_context(|| format!("rollout {at}"))?.1)
        };
        self.written.par_iter().enumerate().map(composed).collect()
    }

    /// The picture of every rollout, in order.
    ///
    /// # Errors
    /// As [`Rollouts::composed`].
    pub(crate) fn pictures(&self, editor: &Editor, mode: Mode) -> Result<Vec<RgbImage>> {
        let composed = self.composed(editor, mode)?;
        Ok(composed.into_iter().map(|composed| composed.picture).collect())
    }

    /// What a verifier is asked; `first` is the number of the first rollout in the run.
    #[must_use]
    pub(crate) fn asked<'a>(&'a self, pictures: &'a [RgbImage], first: u64) -> Vec<Asked<'a>> {
        let asked = |(at, picture)| Asked {
            at,
            case: self.case(at),
            written: &self.written[at],
            picture,
            number: first + at as u64,
            given: self.given[at],
        };
        pictures.iter().enumerate().map(asked).collect()
    }

    /// The iteration as lines of `rollouts.jsonl`.
    #[must_use]
    pub(crate) fn lines(
        &self,
        iteration: u64,
        mode: Mode,
        rewards: &[Option<Reward>],
    ) -> Vec<RolloutLine> {
        let saved = |at| SavedRollout::new(&self.written[at], rewards[at]);
        let line = |(case, group): (&Case, &Range<usize>)| RolloutLine {
            iteration,
            example: case.example.clone(),
            mode,
            rollouts: group.clone().map(saved).collect(),
        };
        self.cases.iter().zip(&self.groups).map(line).collect()
    }
}

/// The programs of some prompts; seeds count up from `seed`.
fn write(editor: &Editor, cases: &[Case], config: &RlConfig, seed: u64) -> Result<Vec<Written>> {
    let prompts: Vec<Prompt> = cases.iter().map(|case| case.prompt.clone()).collect();
    let draws: Vec<Draw> = (0..cases.len() * config.group_size)
        .map(|at| Draw { prompt: at / config.group_size, seed: Seed(seed + at as u64) })
        .collect();
    let (lm, vocabulary) = (editor.lm(), editor.vocabulary());
    let written = write_programs(lm, vocabulary, &prompts, &draws, config.mode, 1.0);
    Ok(pollster::block_on(written)?)
}
