//! The table of an experiment: what its folder holds of scores, side by side, with intervals.
//!
//! An example's value is its mean over seeds; intervals are bootstrapped over examples. A difference
//! of two rows is taken example by example (paired) before the bootstrap.

use super::plan::{Plan, Row};
use super::run::run_folder;
use super::score::{self, Line};
use crate::cmd::eval::SplitName;
use crate::eval::stats::{Mean, mean};
use crate::run_dir::RunDir;
use anyhow::Result;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// Scores of one row on one split.
struct Scored {
    /// Seeds that are there.
    seeds: Vec<u64>,
    /// `[seed][example]`.
    lines: Vec<Vec<Line>>,
}

impl Scored {
    fn read(plan: &Plan, out: &Path, row: &Row, split: SplitName) -> Result<Self> {
        let (mut seeds, mut lines) = (Vec::new(), Vec::new());
        for &seed in plan.seeds_of(row)? {
            if let Some(found) = score::read(&score::path(out, row, seed, split))? {
                seeds.push(seed);
                lines.push(found);
            }
        }
        Ok(Self { seeds, lines })
    }

    /// Each example's mean over the given seeds (all, if `None`).
    fn examples(&self, seeds: Option<&[u64]>, of: fn(&Line) -> f64) -> Vec<f64> {
        let chosen: Vec<&Vec<Line>> = self
            .seeds
            .iter()
            .zip(&self.lines)
            .filter(|(seed, _)| seeds.is_none_or(|seeds| seeds.contains(seed)))
            .map(|(_, lines)| lines)
            .collect();
        let count = chosen.iter().map(|lines| lines.len()).min().unwrap_or(0);
        let example = |at: usize| {
            chosen.iter().map(|lines| of(&lines[at])).sum::<f64>() / chosen.len() as f64
        };
        (0..count).map(example).collect()
    }
}

fn success(line: &Line) -> f64 {
    f64::from(u8::from(line.success))
}

fn overall(line: &Line) -> f64 {
    line.overall
}

/// Markdown of all that has been scored.
///
/// # Errors
/// If a file of scores is damaged.
pub(crate) fn markdown(plan: &Plan, out: &Path) -> Result<String> {
    Ok([
        scores(plan, out, "Right edits, %", 100.0, success)?,
        scores(plan, out, "Overall score, 0–10", 1.0, overall)?,
        differences(plan, out)?,
        operations(plan, out)?,
        costs(plan, out)?,
    ]
    .join("\n"))
}

/// One figure of every row on every split.
fn scores(plan: &Plan, out: &Path, title: &str, unit: f64, of: fn(&Line) -> f64) -> Result<String> {
    let splits = &plan.scores.splits;
    let names: Vec<&str> = splits.iter().map(|split| split.split().name()).collect();
    let mut text = format!("**{title}** (mean, 95 % interval; seeds apart below it)\n\n");
    text +=
        &format!("| | {} | paper |\n|---|{}---|\n", names.join(" | "), "---|".repeat(names.len()));
    for row in &plan.rows {
        let mut cells = Vec::new();
        for &split in splits {
            let scored = Scored::read(plan, out, row, split)?;
            cells.push(cell(&scored, unit, of));
        }
        let paper = row.paper.map_or_else(|| "–".to_owned(), |score| format!("{score:.2}"));
        text += &format!("| {} | {} | {paper} |\n", row.name, cells.join(" | "));
    }
    Ok(text)
}

fn cell(scored: &Scored, unit: f64, of: fn(&Line) -> f64) -> String {
    if scored.seeds.is_empty() {
        return "–".to_owned();
    }
    let all = mean(&scored.examples(None, of));
    let digits = if unit > 1.0 { 1 } else { 2 };
    let number = |value: f64| format!("{:.*}", digits, unit * value);
    let apart: Vec<String> = scored
        .seeds
        .iter()
        .map(|&seed| number(plain(&scored.examples(Some(&[seed]), of))))
        .collect();
    let Mean { mean, lo, hi } = all;
    format!("**{}** ({}–{})<br>{}", number(mean), number(lo), number(hi), apart.join(", "))
}

fn plain(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// Paired differences of the rows the plan compares, in points of success.
fn differences(plan: &Plan, out: &Path) -> Result<String> {
    let splits = &plan.scores.splits;
    let names: Vec<&str> = splits.iter().map(|split| split.split().name()).collect();
    let mut text = "**Differences**, points of right edits (paired over examples and seeds, 95 % interval)\n\n".to_owned();
    text +=
        &format!("| | {} | all |\n|---|{}---|\n", names.join(" | "), "---|".repeat(names.len()));
    for [a, b] in &plan.compare {
        let (mut cells, mut every) = (Vec::new(), Vec::new());
        for &split in splits {
            let apart = paired(plan, out, plan.row(a)?, plan.row(b)?, split)?;
            cells.push(difference(&apart));
            every.extend(apart);
        }
        cells.push(difference(&every));
        text += &format!("| {a} − {b} | {} |\n", cells.join(" | "));
    }
    Ok(text)
}

/// Differences in success, example by example, over the seeds that both rows have.
fn paired(plan: &Plan, out: &Path, a: &Row, b: &Row, split: SplitName) -> Result<Vec<f64>> {
    let (a, b) = (Scored::read(plan, out, a, split)?, Scored::read(plan, out, b, split)?);
    let shared: Vec<u64> = a.seeds.iter().copied().filter(|seed| b.seeds.contains(seed)).collect();
    let of = |scored: &Scored| scored.examples(Some(&shared), success);
    Ok(of(&a).iter().zip(of(&b)).map(|(a, b)| a - b).collect())
}

fn difference(apart: &[f64]) -> String {
    if apart.is_empty() {
        return "–".to_owned();
    }
    let Mean { mean, lo, hi } = mean(apart);
    format!("{:+.1} ({:+.1} … {:+.1})", 100.0 * mean, 100.0 * lo, 100.0 * hi)
}

/// Right edits of every operation on the first split.
fn operations(plan: &Plan, out: &Path) -> Result<String> {
    let split = plan.scores.splits[0];
    let mut columns: Vec<(&str, BTreeMap<String, Vec<f64>>)> = Vec::new();
    for row in &plan.rows {
        let mut by_op: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for line in Scored::read(plan, out, row, split)?.lines.into_iter().flatten() {
            by_op.entry(line.op.clone()).or_default().push(success(&line));
        }
        columns.push((&row.name, by_op));
    }
    let ops: Vec<String> = columns.iter().flat_map(|(_, ops)| ops.keys().cloned()).collect();
    let ops = std::collections::BTreeSet::from_iter(ops);
    let mut text = format!("**By operation** on `{}`, % right\n\n", split.split().name());
    text += &format!("| | {} |\n", ops.iter().cloned().collect::<Vec<_>>().join(" | "));
    text += &format!("|---|{}\n", "---|".repeat(ops.len()));
    for (name, by_op) in &columns {
        let cell = |op: &String| {
            by_op
                .get(op)
                .map_or_else(|| "–".to_owned(), |right| format!("{:.0}", 100.0 * plain(right)))
        };
        let cells: Vec<String> = ops.iter().map(cell).collect();
        text += &format!("| {name} | {} |\n", cells.join(" | "));
    }
    Ok(text)
}

/// What the runs took: tokens in the loss and minutes, the mean over the seeds that are there.
fn costs(plan: &Plan, out: &Path) -> Result<String> {
    let mut text = "**Cost** of a run\n\n| stage | steps | tokens in the loss | minutes | runs |\n|---|---|---|---|---|\n".to_owned();
    for stage in &plan.stages {
        let seeds = if stage.once { &plan.seeds[..1] } else { &plan.seeds[..] };
        let mut runs = Vec::new();
        for &seed in seeds {
            runs.extend(cost(&run_folder(stage, seed, out))?);
        }
        if runs.is_empty() {
            continue;
        }
        let average = |of: fn(&Cost) -> f64| plain(&runs.iter().map(of).collect::<Vec<_>>());
        text += &format!(
            "| {} | {:.0} | {:.0} | {:.1} | {} |\n",
            stage.name,
            average(|cost| cost.steps as f64),
            average(|cost| cost.tokens),
            average(|cost| cost.seconds) / 60.0,
            runs.len()
        );
    }
    Ok(text)
}

/// What one run took so far.
struct Cost {
    steps: u64,
    tokens: f64,
    seconds: f64,
}

/// A run's cost at its newest checkpoint; none before the first.
fn cost(folder: &Path) -> Result<Option<Cost>> {
    if !folder.join("config.toml").is_file() {
        return Ok(None);
    }
    let run = RunDir::open(folder)?;
    let Some(checkpoint) = run.load::<Value>()? else { return Ok(None) };
    let metrics = std::fs::read_to_string(run.path("metrics.jsonl"))?;
    let tokens = |line: &str| serde_json::from_str::<Value>(line).ok()?["tokens"].as_f64();
    Ok(Some(Cost {
        steps: checkpoint.step,
        tokens: metrics.lines().filter_map(tokens).sum(),
        seconds: checkpoint.state["seconds"].as_f64().unwrap_or(0.0),
    }))
}
