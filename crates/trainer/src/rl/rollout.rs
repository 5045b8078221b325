//! Rollouts: prompts of one iteration in, sampled programs and the pictures they make out.
//!
//! Place in the flow: **rollout** → reward → advantage → loss → optimizer step.
//! Every prompt is read once; its rollouts share that prefix. Everything is a function of
//! (weights, seed, iteration). Start at [`Rollouts::make`].

use super::config::RlConfig;
use anyhow::{Context, Result};
use earl_model::batch::{Draw, Prompt, Written, write_programs};
use earl_model::{Editor, Mode, Seed};
use earl_scenes::{Example, render, scene_edits};
use image::RgbImage;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// One iteration's rollouts, `group_size` for each prompt, in order.
pub(crate) struct Rollouts {
    /// What was asked.
    pub cases: Vec<Case>,
    /// Rollouts in each group.
    pub group_size: usize,
    /// Programs, group after group.
    pub written: Vec<Written>,
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
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RolloutLine {
    /// Iteration, from 0.
    pub iteration: u64,
    /// The prompt.
    pub example: Example,
    /// What the rollouts wrote.
    pub mode: Mode,
    /// The rollouts.
    pub rollouts: Vec<SavedRollout>,
}

/// One rollout in a file.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SavedRollout {
    /// Ids of the whole program.
    pub program: Vec<u32>,
    /// Log-probability of each free choice when it was made, in nats.
    pub log_probs: Vec<f64>,
    /// Its reward, 0–10; absent if its verifier failed.
    pub reward: Option<f64>,
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
    /// What rollout `at` was asked.
    #[must_use]
    pub(crate) fn case(&self, at: usize) -> &Case {
        &self.cases[at / self.group_size]
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
                scene_edits(config.data.seed, scene, 1, &weights)
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
            .collect::<Result<Vec<_>>>()?;
        let written = written.into_iter().flatten().collect();
        Ok(Self { cases, group_size: config.group_size, written })
    }

    /// The picture of every rollout, in order.
    ///
    /// # Errors
    /// If a program is none of the grammar's.
    pub(crate) fn pictures(&self, editor: &Editor, mode: Mode) -> Result<Vec<RgbImage>> {
        let picture = |(at, written): (usize, &Written)| {
            let case = self.case(at);
            let composed =
                editor.compose(&case.picture, &case.prompt.source, mode, &written.program);
            Ok(composed.with_context(|| format!("rollout {at}"))?.1.picture)
        };
        self.written.par_iter().enumerate().map(picture).collect()
    }

    /// The iteration as lines of `rollouts.jsonl`.
    #[must_use]
    pub(crate) fn lines(
        &self,
        iteration: u64,
        mode: Mode,
        rewards: &[Option<f64>],
    ) -> Vec<RolloutLine> {
        let saved = |(written, reward): (&Written, &Option<f64>)| SavedRollout {
            program: written.program.iter().map(|token| token.0).collect(),
            log_probs: written.choices.iter().map(|choice| choice.log_prob).collect(),
            reward: *reward,
        };
        let groups = self.written.chunks(self.group_size).zip(rewards.chunks(self.group_size));
        let line =
            |(case, (written, rewards)): (&Case, (&[Written], &[Option<f64>]))| RolloutLine {
                iteration,
                example: case.example.clone(),
                mode,
                rollouts: written.iter().zip(rewards).map(saved).collect(),
            };
        self.cases.iter().zip(groups).map(line).collect()
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
