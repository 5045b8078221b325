//! Edits to learn from: rollouts of a step, judged by the oracle and read by the decoder.

use super::config::VerifierConfig;
use crate::rl::rollout::{Case, Rollouts};
use crate::rl::verify::{Oracle, Verifier as _};
use anyhow::{Context, Result};
use earl_model::batch::Prompt;
use earl_model::compose;
use earl_model::verifier::{CellFacts, read};
use earl_model::{CodeGrid, Editor, Mode};
use earl_scenes::render;
use rayon::prelude::*;

/// A judged edit as the verifier sees it.
#[derive(Clone, Debug)]
pub(crate) struct Judged {
    /// Of each cell.
    pub facts: Vec<CellFacts>,
    /// Is it right?
    pub right: bool,
}

/// The edits of a step: of each prompt its rollouts, then its true edit, then its source.
pub(crate) struct Batch {
    /// Edits of a prompt.
    pub group: usize,
    /// How many of them the model wrote.
    pub written: usize,
    /// All edits.
    pub edits: Vec<Judged>,
    /// Of the rollouts, their log-probability; of the others NaN.
    pub log_probs: Vec<f64>,
}

/// An edited picture, judged.
struct Edit {
    codes: CodeGrid,
    right: bool,
    log_prob: f64,
}

impl Batch {
    /// Samples, judges and reads the edits of a step (from 0), spread over the cores.
    ///
    /// # Errors
    /// If the model is broken.
    pub(crate) fn make(editor: &Editor, config: &VerifierConfig, step: u64) -> Result<Self> {
        let rollouts = Rollouts::make(editor, &config.rollouts(step), step)?;
        let edits = edits(editor, &rollouts, config.mode(step))?;
        let group = config.group_size + 2;
        let share = rollouts.cases.len().div_ceil(rayon::current_num_threads()).max(1);
        let parts = rollouts.cases.par_chunks(share).zip(edits.par_chunks(share * group));
        let facts = parts.map(|(cases, edits)| facts(editor, cases, edits, group));
        let facts: Vec<_> = facts
            .collect::<Result<_>>()
            .with_context(|| format!("reading the rollouts of prompts {}", rollouts.ids()))?;
        let judged = facts.into_iter().flatten().zip(&edits);
        Ok(Self {
            group,
            written: config.group_size,
            edits: judged.map(|(facts, edit)| Judged { facts, right: edit.right }).collect(),
            log_probs: edits.iter().map(|edit| edit.log_prob).collect(),
        })
    }
}

/// Every edit of a step, judged.
fn edits(editor: &Editor, rollouts: &Rollouts, mode: Mode) -> Result<Vec<Edit>> {
    let composed = rollouts.composed(editor, mode)?;
    let pictures: Vec<_> = composed.iter().map(|composed| composed.picture.clone()).collect();
    let asked = rollouts.asked(&pictures, 0);
    let rewards = Oracle { editor, mode }.rewards(&asked.iter().collect::<Vec<_>>());
    let mut written = Vec::with_capacity(composed.len());
    for (at, (composed, reward)) in composed.into_iter().zip(rewards).enumerate() {
        let log_prob = rollouts.written[at].log_prob();
        written.push(Edit { codes: composed.codes, right: reward?.success, log_prob });
    }
    let mut written = written.into_iter();
    let mut all = Vec::new();
    for (case, group) in rollouts.cases.iter().zip(&rollouts.groups) {
        all.extend(written.by_ref().take(group.len()));
        all.push(truth(editor, case)?);
        let codes = case.prompt.source.clone();
        all.push(Edit { codes, right: false, log_prob: f64::NAN });
    }
    Ok(all)
}

/// The true edit, as far as it survives the picture tokenizer.
fn truth(editor: &Editor, case: &Case) -> Result<Edit> {
    let (tokenizer, example) = (editor.tokenizer(), &case.example);
    let codes = tokenizer.encode(&render(&example.target, example.style))?;
    let oracle = Oracle { editor, mode: Mode::Full };
    let right = oracle.reward(case, &compose::paint(tokenizer, &codes)).success;
    Ok(Edit { codes, right, log_prob: f64::NAN })
}

/// What the decoder makes of some prompts' edits.
fn facts(
    editor: &Editor,
    cases: &[Case],
    edits: &[Edit],
    group: usize,
) -> Result<Vec<Vec<CellFacts>>> {
    let prompts: Vec<Prompt> = cases.iter().map(|case| case.prompt.clone()).collect();
    let asked: Vec<(usize, &CodeGrid)> =
        edits.iter().enumerate().map(|(at, edit)| (at / group, &edit.codes)).collect();
    Ok(pollster::block_on(read(editor.lm(), editor.vocabulary(), &prompts, &asked))?)
}
