//! The figures of an evaluation, as `eval --json` prints them and as a table for people.

use super::Row;
use super::stats::{Mean, mean};
use serde::Serialize;
use std::collections::BTreeMap;

/// One bench, one model.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// `scenes`.
    pub bench: &'static str,
    /// Split, or `file`.
    pub split: String,
    /// The model's path, as given.
    pub model: String,
    /// SHA-256 of its manifest or file.
    pub model_sha256: String,
    /// Mode of the edits.
    pub mode: earl_model::Mode,
    /// Sampling temperature.
    pub temperature: f32,
    /// Edits scored.
    pub n: usize,
    /// Seeds of the sampler.
    pub seeds: Vec<u64>,
    /// Share of right edits.
    pub success: Mean,
    /// Overall score, 0–10.
    pub overall: Mean,
    /// Score parts, 0–10.
    pub parts: BTreeMap<&'static str, f64>,
    /// Pixels outside the edit that changed.
    pub outside_changed_pixels: Outside,
    /// Share of codes kept where no right answer changes one.
    pub codes_kept: f64,
    /// PSNR there, dB; 99 is equal.
    pub psnr_outside: f64,
    /// By kind of edit.
    pub by_op: BTreeMap<&'static str, ByOp>,
    /// What the numbers are to be held against.
    pub baselines: BTreeMap<String, Baseline>,
    /// Mean tokens of an edit.
    pub tokens_per_edit: f64,
    /// Mean forward passes of an edit.
    pub forwards_per_edit: f64,
    /// Wall-clock of the whole evaluation.
    pub seconds: f64,
    /// Edits the model could not write; each counts as wrong.
    pub failed: usize,
    /// Why, and how often.
    pub failures: BTreeMap<String, usize>,
    /// Lines of the bench file that hold no example.
    pub bad_lines: Vec<String>,
}

/// Changed pixels outside the edit.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Outside {
    /// Mean over edits.
    pub mean: f64,
    /// Worst edit.
    pub max: usize,
}

/// Figures of one kind of edit.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct ByOp {
    /// Edits.
    pub n: usize,
    /// Share of right ones.
    pub success: f64,
    /// Mean overall score.
    pub overall: f64,
}

/// A row to compare with.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Baseline {
    /// Share of successes.
    pub success: f64,
    /// Mean overall score.
    pub overall: f64,
}

/// What stands beside the rows.
pub(crate) struct Facts {
    /// Split, or `file`.
    pub split: String,
    /// The model's path, as given.
    pub model: String,
    /// Its hash.
    pub model_sha256: String,
    /// Mode.
    pub mode: earl_model::Mode,
    /// Temperature.
    pub temperature: f32,
    /// Seeds.
    pub seeds: Vec<u64>,
    /// N of best-of-N.
    pub best_of: u64,
    /// Wall-clock.
    pub seconds: f64,
    /// Lines of the bench file that hold no example.
    pub bad_lines: Vec<String>,
}

impl Report {
    /// Sums rows up.
    #[must_use]
    #[allow(clippy::too_many_lines, reason = "one line a figure")]
    pub(crate) fn new(rows: &[Row], facts: Facts) -> Self {
        let of = |value: &dyn Fn(&Row) -> f64| rows.iter().map(value).collect::<Vec<f64>>();
        let average = |value: &dyn Fn(&Row) -> f64| plain_mean(rows.iter().map(value));
        let some = |value: &dyn Fn(&Row) -> Option<f64>| plain_mean(rows.iter().filter_map(value));
        let mut failures = BTreeMap::new();
        for problem in rows.iter().filter_map(|row| row.failed.clone()) {
            *failures.entry(problem).or_insert(0) += 1;
        }
        Self {
            bench: "scenes",
            split: facts.split,
            model: facts.model,
            model_sha256: facts.model_sha256,
            mode: facts.mode,
            temperature: facts.temperature,
            n: rows.len(),
            seeds: facts.seeds,
            success: mean(&of(&|row| f64::from(u8::from(row.score.success)))),
            overall: mean(&of(&|row| f64::from(row.score.overall))),
            parts: BTreeMap::from([
                ("instruction", average(&|row| f64::from(row.score.instruction))),
                ("preservation", average(&|row| f64::from(row.score.preservation))),
                ("recognisable", average(&|row| f64::from(row.score.recognisable))),
                ("clean", average(&|row| f64::from(row.score.clean))),
            ]),
            outside_changed_pixels: Outside {
                mean: average(&|row| row.score.outside_changed as f64),
                max: rows.iter().map(|row| row.score.outside_changed).max().unwrap_or(0),
            },
            codes_kept: some(&|row| row.codes_kept),
            psnr_outside: some(&|row| row.psnr_outside),
            by_op: by_op(rows),
            baselines: baselines(rows, facts.best_of),
            tokens_per_edit: average(&|row| row.tokens as f64),
            forwards_per_edit: average(&|row| row.forwards as f64),
            seconds: facts.seconds,
            failed: rows.iter().filter(|row| row.failed.is_some()).count(),
            failures,
            bad_lines: facts.bad_lines,
        }
    }

    /// The report as lines for people.
    #[must_use]
    pub(crate) fn table(&self) -> String {
        let mut text = format!(
            "{} `{}` on {} edits, mode {:?}: success {:.1} % ({:.1}–{:.1}), overall {:.2}\n",
            self.model,
            self.split,
            self.n,
            self.mode,
            100.0 * self.success.mean,
            100.0 * self.success.lo,
            100.0 * self.success.hi,
            self.overall.mean,
        );
        text += &format!(
            "outside the edit: {:.2} pixels changed (worst {}), {:.2} % of codes kept\n\n",
            self.outside_changed_pixels.mean,
            self.outside_changed_pixels.max,
            100.0 * self.codes_kept
        );
        text += &format!("{:<24}{:>6}{:>10}{:>10}\n", "", "n", "success", "overall");
        let mut line = |name: &str, n: usize, success: f64, overall: f64| {
            text += &format!("{name:<24}{n:>6}{:>9.1}%{overall:>10.2}\n", 100.0 * success);
        };
        for (op, row) in &self.by_op {
            line(op, row.n, row.success, row.overall);
        }
        for (name, row) in &self.baselines {
            line(&format!("baseline {name}"), self.n, row.success, row.overall);
        }
        for (problem, count) in &self.failures {
            text += &format!("failed {count}: {problem}\n");
        }
        text
    }
}

fn by_op(rows: &[Row]) -> BTreeMap<&'static str, ByOp> {
    let mut groups: BTreeMap<&'static str, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        groups.entry(row.op.name()).or_default().push(row);
    }
    let figures = |rows: Vec<&Row>| ByOp {
        n: rows.len(),
        success: plain_mean(rows.iter().map(|row| f64::from(u8::from(row.score.success)))),
        overall: plain_mean(rows.iter().map(|row| f64::from(row.score.overall))),
    };
    groups.into_iter().map(|(op, rows)| (op, figures(rows))).collect()
}

fn baselines(rows: &[Row], best_of: u64) -> BTreeMap<String, Baseline> {
    let of = |score: &dyn Fn(&Row) -> &earl_scenes::Score| Baseline {
        success: plain_mean(rows.iter().map(|row| f64::from(u8::from(score(row).success)))),
        overall: plain_mean(rows.iter().map(|row| f64::from(score(row).overall))),
    };
    let mut found = BTreeMap::from([
        ("copy_source".to_owned(), of(&|row| &row.copy)),
        ("true_edit".to_owned(), of(&|row| &row.truth)),
        ("true_edit_round_trip".to_owned(), of(&|row| &row.round_trip)),
    ]);
    if best_of > 1 {
        let best = Baseline {
            success: plain_mean(
                rows.iter().filter_map(|row| row.best_of).map(|best| f64::from(u8::from(best))),
            ),
            overall: plain_mean(rows.iter().filter_map(|row| row.best_overall).map(f64::from)),
        };
        found.insert(format!("best_of_{best_of}_by_oracle"), best);
    }
    found
}

fn plain_mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0usize), |(sum, count), value| (sum + value, count + 1));
    if count == 0 { 0.0 } else { sum / count as f64 }
}
