//! Models on splits of the scene world.

use super::judging::Served;
use super::{Args, Contestant};
use crate::eval::compare::{self, Difference, differences};
use crate::eval::measured::Measured;
use crate::eval::report::{Facts, Report, scores};
use crate::eval::served::{Asked, Verdicts, verdicts};
use crate::eval::{Settings, evaluate, page};
use crate::picture;
use crate::progress::Counter;
use anyhow::{Context, Result, bail};
use earl_scenes::Example;
use serde::Serialize;
use serde_json::Value;
use std::path::Path;
use std::time::Instant;

/// Examples that are asked for.
struct Suite {
    /// Split, or `file`.
    name: String,
    examples: Vec<Example>,
    bad_lines: Vec<String>,
}

/// What several models or splits print as JSON; one model on one split prints its report alone.
#[derive(Serialize)]
struct Compared<'a> {
    reports: Vec<&'a Report>,
    differences: &'a [Difference],
}

/// Scores every model on every split.
///
/// # Errors
/// For a bench file that can't be read, a model that is broken, and a judge that never answers.
pub(super) fn run(args: &Args, models: &[Contestant], judge: Option<&Served>) -> Result<()> {
    let mut found: Vec<(Report, Vec<Measured>)> = Vec::new();
    for suite in suites(args)? {
        for line in &suite.bad_lines {
            eprintln!("warning: bench file {line}");
        }
        let mut known: Option<Vec<Verdicts>> = None;
        for model in models {
            let start = Instant::now();
            let mut rows = edits(args, model, &suite.examples)?;
            if let Some(Served { judge, .. }) = judge {
                ask(judge, &mut rows, known.as_deref())?;
                known.get_or_insert_with(|| {
                    rows.iter().filter_map(|measured| measured.verdicts.clone()).collect()
                });
            }
            found.push((Report::new(&rows, facts(args, model, &suite, judge, start)), rows));
        }
    }
    let scored: Vec<_> = found.iter().map(|(report, rows)| scores(rows, report)).collect();
    let differences = differences(&scored);
    let json = match &found[..] {
        [(report, _)] => serde_json::to_value(report)?,
        _ => serde_json::to_value(Compared {
            reports: found.iter().map(|(report, _)| report).collect(),
            differences: &differences,
        })?,
    };
    if let Some(folder) = &args.out {
        write(folder, &found, &differences, &json)?;
    }
    if args.json {
        return crate::cmd::print_json(&json);
    }
    let tables: Vec<String> = found.iter().map(|(report, _)| report.table()).collect();
    crate::cmd::print_lines(&(tables.join("\n") + &compare::table(&differences)));
    Ok(())
}

/// Every example once a seed, seed after seed.
fn edits(args: &Args, model: &Contestant, examples: &[Example]) -> Result<Vec<Measured>> {
    let progress = Counter::new("eval", examples.len() * args.seed.len());
    let (mode, temperature, best_of) = (args.mode.mode(), args.temperature, args.best_of);
    let mut rows = Vec::new();
    for &seed in &args.seed {
        let settings = Settings { mode, temperature, seed, best_of };
        let made = evaluate(&model.editor, examples, settings, &|| progress.step())?;
        rows.extend(made.into_iter().zip(examples).map(|(row, of)| Measured::new(row, of)));
    }
    Ok(rows)
}

/// Asks the served judge about every row.
fn ask(
    judge: &crate::judge::Judge,
    rows: &mut [Measured],
    known: Option<&[Verdicts]>,
) -> Result<()> {
    let asked: Vec<Asked<'_>> = rows
        .iter()
        .map(|Measured { row, .. }| {
            let [source, edit, truth] = &row.pictures;
            let edit = row.failed.is_none().then_some(edit);
            Asked { instruction: &row.instruction, source, edit, truth: Some(truth) }
        })
        .collect();
    let found = verdicts(judge, &asked, known)?;
    for (measured, found) in rows.iter_mut().zip(found) {
        measured.verdicts = Some(found);
    }
    Ok(())
}

fn facts(
    args: &Args,
    model: &Contestant,
    suite: &Suite,
    judge: Option<&Served>,
    start: Instant,
) -> Facts {
    Facts {
        split: suite.name.clone(),
        model: model.name.clone(),
        model_sha256: model.sha256.clone(),
        mode: args.mode.mode(),
        temperature: args.temperature,
        seeds: args.seed.clone(),
        best_of: args.best_of,
        judge: judge.map_or_else(|| "oracle".to_owned(), |served| served.name.clone()),
        examples: suite.examples.len(),
        seconds: start.elapsed().as_secs_f64(),
        bad_lines: suite.bad_lines.clone(),
    }
}

/// Scenes of a split or file unless told otherwise.
const LIMIT: usize = 500;

fn suites(args: &Args) -> Result<Vec<Suite>> {
    let limit = args.limit.unwrap_or(LIMIT);
    let Some(path) = &args.bench_file else {
        let suite = |split: earl_scenes::Split| {
            let make = |index| earl_scenes::example(args.data_seed, index, split, None);
            let examples = (0..limit as u64).map(make).collect();
            Suite { name: split.name().to_owned(), examples, bad_lines: Vec::new() }
        };
        return Ok(args.split.iter().map(|split| suite(split.split())).collect());
    };
    let text =
        std::fs::read_to_string(path).with_context(|| format!("reading `{}`", path.display()))?;
    let (mut examples, bad) = earl_scenes::read_bench(&text);
    examples.truncate(limit);
    if examples.is_empty() {
        let first = bad.first().map_or_else(String::new, |line| format!(" ({line})"));
        bail!("`{}` holds no example{first}; `docs/SCENES.md` gives the format", path.display());
    }
    let bad_lines = bad.iter().map(ToString::to_string).collect();
    Ok(vec![Suite { name: "file".to_owned(), examples, bad_lines }])
}

/// Rows, report, page, and sheets of wrong and right edits of the first model and split.
fn write(
    folder: &Path,
    found: &[(Report, Vec<Measured>)],
    differences: &[Difference],
    json: &Value,
) -> Result<()> {
    let mut lines = Vec::new();
    for (report, rows) in found {
        for measured in rows {
            let mut line = serde_json::to_value(measured)?;
            line["model"] = report.model.clone().into();
            line["split"] = report.split.clone().into();
            lines.push(line);
        }
    }
    let shown: Vec<(&Report, &[Measured])> =
        found.iter().map(|(report, rows)| (report, &rows[..])).collect();
    let page = page::scenes(&shown, differences)?;
    super::write_out(folder, &lines, &serde_json::to_string_pretty(json)?, &page)?;
    let Some((_, rows)) = found.first() else { return Ok(()) };
    for (name, success) in [("wrong.png", false), ("right.png", true)] {
        let chosen: Vec<&Measured> =
            rows.iter().filter(|measured| measured.success() == Some(success)).take(48).collect();
        let sheet: Vec<Vec<image::RgbImage>> = chosen
            .chunks(3)
            .map(|chunk| chunk.iter().flat_map(|measured| measured.row.pictures.clone()).collect())
            .collect();
        picture::write(&folder.join(name), &picture::sheet(&sheet, 2))?;
    }
    Ok(())
}
