//! The figures of an evaluation, as `eval --json` prints them and as a table for people.

use super::compare::{Scores, per_example};
use super::measured::Measured;
use super::similarity::Similarity;
use super::stats::{Mean, mean};
use super::{Best, Row};
use crate::judge::Verdict;
use crate::rl::verify::RIGHT_FROM;
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
    /// Who says what is right: `oracle`, or prompt and model of a served one.
    pub judge: String,
    /// Edits scored.
    pub n: usize,
    /// Seeds of the sampler.
    pub seeds: Vec<u64>,
    /// Share of right edits; the interval resamples examples.
    pub success: Mean,
    /// Overall score, 0–10.
    pub overall: Mean,
    /// Score parts, 0–10: the oracle's, or the served judge's.
    pub parts: BTreeMap<&'static str, f64>,
    /// Pixels outside the edit that changed.
    pub outside_changed_pixels: Outside,
    /// Share of codes kept where no right answer changes one.
    pub codes_kept: f64,
    /// PSNR there, dB; 99 is equal.
    pub psnr_outside: f64,
    /// L1, PSNR and SSIM: `inside` the edit and of the `whole` against the true edit, `outside` against the source.
    pub similarity: BTreeMap<&'static str, Similarity>,
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
    /// Edits without a verdict of the served judge; they are in no mean.
    pub unjudged: usize,
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
    /// Who judges.
    pub judge: String,
    /// Different examples; each was edited once a seed.
    pub examples: usize,
    /// Wall-clock.
    pub seconds: f64,
    /// Lines of the bench file that hold no example.
    pub bad_lines: Vec<String>,
}

impl Report {
    /// Sums rows up.
    #[must_use]
    #[allow(clippy::too_many_lines, reason = "one line a figure")]
    pub(crate) fn new(rows: &[Measured], facts: Facts) -> Self {
        let by_example = |value: fn(&Measured) -> Option<f64>| {
            let found = per_example(rows, facts.examples, value);
            mean(&found.into_iter().flatten().collect::<Vec<f64>>())
        };
        let average = |value: &dyn Fn(&Row) -> f64| plain_mean(rows.iter().map(|m| value(&m.row)));
        let some = |value: &dyn Fn(&Row) -> Option<f64>| {
            plain_mean(rows.iter().filter_map(|measured| value(&measured.row)))
        };
        let mut failures = BTreeMap::new();
        for problem in rows.iter().filter_map(|measured| measured.row.failed.clone()) {
            *failures.entry(problem).or_insert(0) += 1;
        }
        Self {
            bench: "scenes",
            split: facts.split,
            model: facts.model,
            model_sha256: facts.model_sha256,
            mode: facts.mode,
            temperature: facts.temperature,
            judge: facts.judge,
            n: rows.len(),
            seeds: facts.seeds,
            success: by_example(|measured| measured.success().map(share)),
            overall: by_example(Measured::overall),
            parts: parts(rows),
            outside_changed_pixels: Outside {
                mean: average(&|row| row.score.outside_changed as f64),
                max: rows.iter().map(|m| m.row.score.outside_changed).max().unwrap_or(0),
            },
            codes_kept: some(&|row| row.codes_kept),
            psnr_outside: some(&|row| row.psnr_outside),
            similarity: similarities(rows),
            by_op: by_op(rows),
            baselines: baselines(rows, facts.best_of),
            tokens_per_edit: average(&|row| row.tokens as f64),
            forwards_per_edit: average(&|row| row.forwards as f64),
            seconds: facts.seconds,
            failed: rows.iter().filter(|measured| measured.row.failed.is_some()).count(),
            failures,
            unjudged: rows.iter().filter(|measured| measured.overall().is_none()).count(),
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
            "outside the edit: {:.2} pixels changed (worst {}), {:.2} % of codes kept\n",
            self.outside_changed_pixels.mean,
            self.outside_changed_pixels.max,
            100.0 * self.codes_kept
        );
        for (place, found) in &self.similarity {
            let Similarity { l1, psnr, ssim } = found;
            text += &format!("{place}: L1 {l1:.4}, PSNR {psnr:.1} dB, SSIM {ssim:.3}\n");
        }
        text.push('\n');
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

/// Rows of one model and split, example by example, to be held against another model's.
#[must_use]
pub(crate) fn scores(rows: &[Measured], report: &Report) -> Scores {
    let examples = rows.len() / report.seeds.len().max(1);
    Scores {
        model: report.model.clone(),
        split: report.split.clone(),
        ops: rows.iter().take(examples).map(|m| m.row.op.name().to_owned()).collect(),
        success: per_example(rows, examples, |measured| measured.success().map(share)),
        overall: per_example(rows, examples, Measured::overall),
    }
}

/// The oracle's parts, or the served judge's where one was asked. An edit that was not made has 0 in each.
fn parts(rows: &[Measured]) -> BTreeMap<&'static str, f64> {
    let oracle = |value: fn(&earl_scenes::Score) -> f32| {
        plain_mean(rows.iter().map(|measured| f64::from(value(&measured.row.score))))
    };
    if rows.iter().all(|measured| measured.verdicts.is_none()) {
        return BTreeMap::from([
            ("instruction", oracle(|score| score.instruction)),
            ("preservation", oracle(|score| score.preservation)),
            ("recognisable", oracle(|score| score.recognisable)),
            ("clean", oracle(|score| score.clean)),
        ]);
    }
    let value = |measured: &Measured, part: fn(&Verdict) -> f64| {
        let verdict = measured.verdicts.as_ref().and_then(|verdicts| verdicts.edit.as_ref());
        if measured.row.failed.is_some() { Some(0.0) } else { verdict.map(part) }
    };
    VERDICT_PARTS
        .into_iter()
        .map(|(name, part)| {
            (name, plain_mean(rows.iter().filter_map(|measured| value(measured, part))))
        })
        .collect()
}

/// A part of a verdict: its name, and where it stands.
type VerdictPart = (&'static str, fn(&Verdict) -> f64);

/// What a verdict is made of.
pub(crate) const VERDICT_PARTS: [VerdictPart; 6] = [
    ("success", |verdict| verdict.success),
    ("overediting", |verdict| verdict.overediting),
    ("naturalness", |verdict| verdict.naturalness),
    ("artifacts", |verdict| verdict.artifacts),
    ("sc", |verdict| verdict.success.min(verdict.overediting)),
    ("pq", |verdict| verdict.naturalness.min(verdict.artifacts)),
];

fn similarities(rows: &[Measured]) -> BTreeMap<&'static str, Similarity> {
    let of = |value: fn(&Measured) -> Option<Similarity>| {
        Similarity::mean(rows.iter().filter_map(value))
    };
    let all = [
        ("inside", of(|measured| measured.inside)),
        ("outside", of(|measured| measured.outside)),
        ("whole", of(|measured| measured.whole)),
    ];
    all.into_iter().filter_map(|(place, found)| Some((place, found?))).collect()
}

fn by_op(rows: &[Measured]) -> BTreeMap<&'static str, ByOp> {
    let mut groups: BTreeMap<&'static str, Vec<&Measured>> = BTreeMap::new();
    for measured in rows {
        groups.entry(measured.row.op.name()).or_default().push(measured);
    }
    let figures = |rows: Vec<&Measured>| ByOp {
        n: rows.len(),
        success: plain_mean(rows.iter().filter_map(|measured| measured.success()).map(share)),
        overall: plain_mean(rows.iter().filter_map(|measured| measured.overall())),
    };
    groups.into_iter().map(|(op, rows)| (op, figures(rows))).collect()
}

/// How one of several candidates did, by what picked it.
type Pick = fn(&Row) -> Option<Best>;

fn baselines(rows: &[Measured], best_of: u64) -> BTreeMap<String, Baseline> {
    let of = |score: fn(&Row) -> &earl_scenes::Score| Baseline {
        success: plain_mean(rows.iter().map(|measured| share(score(&measured.row).success))),
        overall: plain_mean(rows.iter().map(|measured| f64::from(score(&measured.row).overall))),
    };
    let mut found = BTreeMap::from([
        ("copy_source".to_owned(), of(|row| &row.copy)),
        ("true_edit".to_owned(), of(|row| &row.truth)),
        ("true_edit_round_trip".to_owned(), of(|row| &row.round_trip)),
    ]);
    if rows.iter().any(|measured| measured.verdicts.is_some()) {
        let verdicts = || rows.iter().filter_map(|measured| measured.verdicts.as_ref());
        found = BTreeMap::from([
            ("copy_source".to_owned(), judged(verdicts().filter_map(|found| found.copy))),
            ("true_edit".to_owned(), judged(verdicts().filter_map(|found| found.truth))),
            ("edits_by_oracle".to_owned(), of(|row| &row.score)),
        ]);
    }
    if best_of > 1 {
        let by: [(&str, Pick); 3] = [
            ("likelihood", |row| row.best_by_likelihood),
            ("verifier", |row| row.best_by_verifier),
            ("oracle", |row| row.best_by_oracle),
        ];
        for (name, best) in by {
            let best = || rows.iter().filter_map(move |measured| best(&measured.row));
            if best().next().is_some() {
                let baseline = Baseline {
                    success: plain_mean(best().map(|best| share(best.success))),
                    overall: plain_mean(best().map(|best| f64::from(best.overall))),
                };
                found.insert(format!("best_of_{best_of}_by_{name}"), baseline);
            }
        }
    }
    found
}

/// A baseline of verdicts.
pub(crate) fn judged(verdicts: impl Iterator<Item = Verdict>) -> Baseline {
    let all: Vec<f64> = verdicts.map(|verdict| verdict.overall).collect();
    Baseline {
        success: plain_mean(all.iter().map(|overall| share(*overall >= RIGHT_FROM))),
        overall: plain_mean(all.iter().copied()),
    }
}

/// 1 for right, 0 for wrong.
pub(crate) fn share(right: bool) -> f64 {
    f64::from(u8::from(right))
}

/// The mean; 0 for nothing.
pub(crate) fn plain_mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0usize), |(sum, count), value| (sum + value, count + 1));
    if count == 0 { 0.0 } else { sum / count as f64 }
}
