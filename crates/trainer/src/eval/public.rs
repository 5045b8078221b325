//! Public benches: pictures and instructions in, a served judge's verdicts and likeness to the target out.
//!
//! ```text
//! rows of a bench → pictures on the model's canvas → edits → verdicts, L1, PSNR, SSIM → figures by bench
//! ```
//! There is no oracle here. An instruction that the model does not understand is a failed edit: 0, never left
//! out. Start at [`load`].

use super::compare::{Scores, per_example};
use super::report::{Baseline, ByOp, VERDICT_PARTS, judged, plain_mean, share};
use super::served::Verdicts;
use super::similarity::{Similarity, similarity};
use super::stats::mean;
use crate::rl::verify::RIGHT_FROM;
use anyhow::{Context, Result, bail};
use earl_benches::{BenchMap, Row as Stored};
use earl_model::files::decode;
use earl_model::image::fit;
use earl_model::{EditEvent, EditRequest, Editor, Mode, Seed};
use image::RgbImage;
use rayon::prelude::*;
use serde::Serialize;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

/// An edit that a bench asks for, on the model's canvas.
pub(crate) struct Item {
    /// The bench's name for it.
    pub id: String,
    /// Kind of edit, where the bench says it.
    pub op: String,
    /// What to do.
    pub instruction: String,
    /// The picture.
    pub source: RgbImage,
    /// The edited picture, where the bench has one.
    pub target: Option<RgbImage>,
}

/// A bench, read.
pub(crate) struct Loaded {
    /// Its name.
    pub name: String,
    /// Edits that can be tried.
    pub items: Vec<Item>,
    /// Rows that can't, by file and number.
    pub bad_rows: Vec<String>,
}

/// One edit of a bench, judged and measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PublicRow {
    /// The bench's name for it.
    pub id: String,
    /// Kind of edit.
    pub op: String,
    /// What to do.
    pub instruction: String,
    /// Seed of the sampler.
    pub seed: u64,
    /// Why there is no edit.
    pub failed: Option<String>,
    /// The result against the target.
    pub to_target: Option<Similarity>,
    /// The copied source against the target.
    pub copy_to_target: Option<Similarity>,
    /// What the judge says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdicts: Option<Verdicts>,
    /// Source, result and target.
    #[serde(skip)]
    pub pictures: (RgbImage, RgbImage, Option<RgbImage>),
}

impl PublicRow {
    /// Is the edit right? `None` if nobody says so.
    pub(crate) fn success(&self) -> Option<f64> {
        self.part(|verdict| share(verdict.overall >= RIGHT_FROM))
    }

    /// Overall score, 0–10.
    pub(crate) fn overall(&self) -> Option<f64> {
        self.part(|verdict| verdict.overall)
    }

    fn part(&self, part: fn(&crate::judge::Verdict) -> f64) -> Option<f64> {
        let verdicts = self.verdicts.as_ref()?;
        if self.failed.is_some() { Some(0.0) } else { verdicts.edit.as_ref().map(part) }
    }
}

/// A mean over examples, its interval, and the deviation of the examples.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Spread {
    /// The mean.
    pub mean: f64,
    /// Deviation of the examples (of the population, as EARL reports it).
    pub deviation: f64,
    /// Lower end of the mean's 95 % interval.
    pub lo: f64,
    /// Upper end.
    pub hi: f64,
}

impl Spread {
    fn of(values: &[f64]) -> Option<Self> {
        let found = mean(values);
        let square = values.iter().map(|value| (value - found.mean).powi(2)).sum::<f64>();
        let deviation = (square / values.len().max(1) as f64).sqrt();
        (!values.is_empty()).then_some(Self {
            mean: found.mean,
            deviation,
            lo: found.lo,
            hi: found.hi,
        })
    }
}

/// One model on one bench.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PublicReport {
    /// The bench.
    pub bench: String,
    /// The model's path.
    pub model: String,
    /// Its hash.
    pub model_sha256: String,
    /// Prompt and model of the judge; `none` measures likeness alone.
    pub judge: String,
    /// Edits tried.
    pub n: usize,
    /// Seeds of the sampler.
    pub seeds: Vec<u64>,
    /// Edits the model could not make; each counts as 0.
    pub failed: usize,
    /// Why, and how often.
    pub failures: BTreeMap<String, usize>,
    /// Edits without a verdict; they are in no mean.
    pub unjudged: usize,
    /// `overall`, `sc`, `pq`, the four parts (0–10), and `right` (0–1).
    pub scores: BTreeMap<String, Spread>,
    /// L1, PSNR and SSIM of edits against targets, and of copied sources against them.
    pub to_target: BTreeMap<&'static str, Similarity>,
    /// By kind of edit.
    pub by_op: BTreeMap<String, ByOp>,
    /// The copied source and the target, judged.
    pub baselines: BTreeMap<&'static str, Baseline>,
    /// Rows of the bench that can't be used.
    pub bad_rows: Vec<String>,
    /// Wall-clock.
    pub seconds: f64,
}

/// What stands beside a bench's rows.
pub(crate) struct PublicFacts<'a> {
    /// The model's path.
    pub model: String,
    /// Its hash.
    pub model_sha256: String,
    /// Who judges.
    pub judge: String,
    /// Seeds.
    pub seeds: &'a [u64],
    /// Wall-clock.
    pub seconds: f64,
}

/// Reads up to `limit` usable rows of a bench onto a canvas.
///
/// # Errors
/// If the bench can't be read or holds no usable row.
pub(crate) fn load(map: &BenchMap, data: &Path, limit: usize, canvas: usize) -> Result<Loaded> {
    let (mut items, mut bad_rows) = (Vec::new(), Vec::new());
    earl_benches::read(map, data, &mut |row| {
        match row {
            Ok(row) => match item(&row, canvas) {
                Ok(item) => items.push(item),
                Err(problem) => bad_rows.push(format!("{}: {problem:#}", row.place)),
            },
            Err(bad) => bad_rows.push(bad.to_string()),
        }
        if items.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    if items.is_empty() {
        let first = bad_rows.first().map_or_else(String::new, |bad| format!(" ({bad})"));
        bail!("`{}` holds no row of {} that can be used{first}", data.display(), map.name);
    }
    Ok(Loaded { name: map.name.clone(), items, bad_rows })
}

fn item(row: &Stored, canvas: usize) -> Result<Item> {
    let picture = |bytes: &[u8], what: &'static str| -> Result<RgbImage> {
        let opened = decode(bytes).context(what)?;
        Ok(fit(&opened.picture, canvas)?.picture)
    };
    Ok(Item {
        id: row.id.clone(),
        op: row.op.clone().unwrap_or_else(|| "all".to_owned()),
        instruction: row.instruction.clone(),
        source: picture(&row.source, "source")?,
        target: row.target.as_deref().map(|bytes| picture(bytes, "target")).transpose()?,
    })
}

/// Edits every item with one seed; `done` hears of each.
pub(crate) fn edit(
    editor: &Editor,
    items: &[Item],
    (mode, temperature, seed): (Mode, f32, u64),
    done: &(dyn Fn() + Sync),
) -> Vec<PublicRow> {
    let one = |item: &Item| {
        let request = EditRequest {
            instruction: item.instruction.clone(),
            mode,
            seed: Seed(seed),
            temperature,
            ..EditRequest::default()
        };
        let go_on = &mut |_: &EditEvent| ControlFlow::Continue(());
        let outcome = pollster::block_on(editor.edit(&item.source, &request, go_on));
        let failed = outcome.as_ref().err().map(ToString::to_string);
        let result = outcome.map_or_else(|_| item.source.clone(), |edit| edit.image);
        let against = |picture: &RgbImage| {
            item.target.as_ref().and_then(|target| similarity(picture, target, |_, _| true))
        };
        done();
        PublicRow {
            id: item.id.clone(),
            op: item.op.clone(),
            instruction: item.instruction.clone(),
            seed,
            to_target: if failed.is_some() { None } else { against(&result) },
            failed,
            copy_to_target: against(&item.source),
            verdicts: None,
            pictures: (item.source.clone(), result, item.target.clone()),
        }
    };
    items.par_iter().map(one).collect()
}

impl PublicReport {
    /// Sums a model's rows on a bench up.
    #[must_use]
    pub(crate) fn new(rows: &[PublicRow], bench: &Loaded, facts: PublicFacts<'_>) -> Self {
        let mut failures = BTreeMap::new();
        for problem in rows.iter().filter_map(|row| row.failed.clone()) {
            *failures.entry(problem).or_insert(0) += 1;
        }
        let alike = |value: fn(&PublicRow) -> Option<Similarity>| {
            Similarity::mean(rows.iter().filter_map(value))
        };
        let alike = [
            ("edit", alike(|row| row.to_target)),
            ("copy_source", alike(|row| row.copy_to_target)),
        ];
        let asked = rows.iter().any(|row| row.verdicts.is_some());
        Self {
            bench: bench.name.clone(),
            model: facts.model,
            model_sha256: facts.model_sha256,
            judge: facts.judge,
            n: rows.len(),
            seeds: facts.seeds.to_vec(),
            failed: rows.iter().filter(|row| row.failed.is_some()).count(),
            failures,
            unjudged: rows.iter().filter(|row| asked && row.overall().is_none()).count(),
            scores: scores_of(rows, bench.items.len()),
            to_target: alike.into_iter().filter_map(|(name, found)| Some((name, found?))).collect(),
            by_op: by_op(rows),
            baselines: if asked { baselines(rows) } else { BTreeMap::new() },
            bad_rows: bench.bad_rows.clone(),
            seconds: facts.seconds,
        }
    }

    /// The report as lines for people.
    #[must_use]
    pub(crate) fn table(&self) -> String {
        let mut text = format!(
            "{} on {}: {} edits, {} failed, {} without a verdict, {} bad rows; judge {}\n",
            self.model,
            self.bench,
            self.n,
            self.failed,
            self.unjudged,
            self.bad_rows.len(),
            self.judge
        );
        for (name, Spread { mean, deviation, lo, hi }) in &self.scores {
            text += &format!("{name:<24}{mean:>8.2} ± {deviation:.2} ({lo:.2}–{hi:.2})\n");
        }
        for (name, Similarity { l1, psnr, ssim }) in &self.to_target {
            text += &format!("{name} to target: L1 {l1:.4}, PSNR {psnr:.1} dB, SSIM {ssim:.3}\n");
        }
        for (name, found) in &self.baselines {
            let (right, overall) = (100.0 * found.success, found.overall);
            text += &format!("baseline {name:<15}{right:>8.1} % right{overall:>8.2}\n");
        }
        for (op, found) in &self.by_op {
            text += &format!("{op:<24}{:>6}{:>8.2}\n", found.n, found.overall);
        }
        for (problem, count) in self.failures.iter().take(10) {
            text += &format!("failed {count}: {problem}\n");
        }
        text
    }
}

fn scores_of(rows: &[PublicRow], examples: usize) -> BTreeMap<String, Spread> {
    let spread = |value: &dyn Fn(&PublicRow) -> Option<f64>| {
        let found = per_example(rows, examples, value);
        Spread::of(&found.into_iter().flatten().collect::<Vec<f64>>())
    };
    let parts = VERDICT_PARTS.into_iter().map(|(name, part)| (name, spread(&|row| row.part(part))));
    parts
        .chain([("overall", spread(&PublicRow::overall)), ("right", spread(&PublicRow::success))])
        .filter_map(|(name, found)| Some((name.to_owned(), found?)))
        .collect()
}

fn by_op(rows: &[PublicRow]) -> BTreeMap<String, ByOp> {
    let mut groups: BTreeMap<String, Vec<&PublicRow>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.overall().is_some()) {
        groups.entry(row.op.clone()).or_default().push(row);
    }
    let figures = |rows: &[&PublicRow]| ByOp {
        n: rows.len(),
        success: plain_mean(rows.iter().filter_map(|row| row.success())),
        overall: plain_mean(rows.iter().filter_map(|row| row.overall())),
    };
    groups.iter().map(|(op, rows)| (op.clone(), figures(rows))).collect()
}

fn baselines(rows: &[PublicRow]) -> BTreeMap<&'static str, Baseline> {
    let verdicts = || rows.iter().filter_map(|row| row.verdicts.as_ref());
    let mut found =
        BTreeMap::from([("copy_source", judged(verdicts().filter_map(|found| found.copy)))]);
    if verdicts().any(|found| found.truth.is_some()) {
        found.insert("target", judged(verdicts().filter_map(|found| found.truth)));
    }
    found
}

/// A model's mean of the benches' means, score by score.
#[must_use]
pub(crate) fn average(reports: &[&PublicReport]) -> BTreeMap<String, f64> {
    let mut sums: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for (name, found) in reports.iter().flat_map(|report| &report.scores) {
        sums.entry(name.clone()).or_default().push(found.mean);
    }
    sums.into_iter().map(|(name, means)| (name, plain_mean(means.into_iter()))).collect()
}

/// Rows of one model and bench, to be held against another model's.
#[must_use]
pub(crate) fn scores(rows: &[PublicRow], report: &PublicReport) -> Scores {
    let examples = rows.len() / report.seeds.len().max(1);
    Scores {
        model: report.model.clone(),
        split: report.bench.clone(),
        ops: rows.iter().take(examples).map(|row| row.op.clone()).collect(),
        success: per_example(rows, examples, PublicRow::success),
        overall: per_example(rows, examples, PublicRow::overall),
    }
}
