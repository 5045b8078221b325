//! Models on public benches.

use super::judging::Served;
use super::{Args, Contestant};
use crate::eval::compare::{self, Difference, differences};
use crate::eval::page::{Card, differences_table, sheets};
use crate::eval::public::{self, Loaded, PublicFacts, PublicReport, PublicRow};
use crate::eval::served::{Asked, Verdicts, verdicts};
use crate::page::{escape, head, table};
use crate::progress::Counter;
use anyhow::{Context, Result, bail};
use earl_benches::BenchMap;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What is printed as JSON.
#[derive(Serialize)]
struct Outcome<'a> {
    benches: Vec<&'a PublicReport>,
    /// By model: the mean of the benches' means.
    average: BTreeMap<&'a str, BTreeMap<String, f64>>,
    differences: &'a [Difference],
}

/// Scores every model on every bench.
///
/// # Errors
/// For data that can't be read, and a judge that never answers.
pub(super) fn run(
    args: &Args,
    maps: &[(String, BenchMap)],
    models: &[Contestant],
    judge: Option<&Served>,
) -> Result<()> {
    let canvas = canvas(models)?;
    let mut found: Vec<(PublicReport, Vec<PublicRow>)> = Vec::new();
    for (stem, map) in maps {
        let data = data_of(args, stem, maps.len())?;
        let bench = public::load(map, &data, args.limit.unwrap_or(usize::MAX), canvas)?;
        warn(args, map, &bench);
        let mut known: Option<Vec<Verdicts>> = None;
        for model in models {
            let start = Instant::now();
            let mut rows = edits(args, model, &bench);
            if let Some(Served { judge, .. }) = judge {
                ask(judge, &mut rows, known.as_deref())?;
                known.get_or_insert_with(|| {
                    rows.iter().filter_map(|row| row.verdicts.clone()).collect()
                });
            }
            let facts = PublicFacts {
                model: model.name.clone(),
                model_sha256: model.sha256.clone(),
                judge: judge.map_or_else(|| "none".to_owned(), |served| served.name.clone()),
                seeds: &args.seed,
                seconds: start.elapsed().as_secs_f64(),
            };
            found.push((PublicReport::new(&rows, &bench, facts), rows));
        }
    }
    finish(args, models, &found)
}

fn canvas(models: &[Contestant]) -> Result<usize> {
    let sides: Vec<usize> =
        models.iter().map(|model| model.editor.config().vision.canvas()).collect();
    match &sides[..] {
        [first, rest @ ..] if rest.iter().all(|side| side == first) => Ok(*first),
        _ => bail!("the models' pictures differ in size ({sides:?}); compare equal ones"),
    }
}

/// Where a bench's files are.
fn data_of(args: &Args, stem: &str, benches: usize) -> Result<PathBuf> {
    let data = args.data.as_ref().context(
        "no data: `--data` names the file of a public bench, or the folder of its files",
    )?;
    let own = data.join(stem);
    if own.is_dir() {
        return Ok(own);
    }
    if benches > 1 {
        bail!("`{}` has no folder `{stem}`; with several benches each has its own", data.display());
    }
    Ok(data.clone())
}

fn warn(args: &Args, map: &BenchMap, bench: &Loaded) {
    for bad in &bench.bad_rows {
        eprintln!("warning: {}: {bad}", map.name);
    }
    if !map.verified {
        eprintln!(
            "warning: {}: the column names come from {}; they were never compared with a file of the bench",
            map.name, map.names_from
        );
    }
    let rows = bench.items.len() + bench.bad_rows.len();
    if let Some(wanted) = map.examples.filter(|wanted| args.limit.is_none() && *wanted != rows) {
        eprintln!("warning: {} has {wanted} rows; these files hold {rows}", map.name);
    }
}

fn edits(args: &Args, model: &Contestant, bench: &Loaded) -> Vec<PublicRow> {
    let progress = Counter::new("eval", bench.items.len() * args.seed.len());
    let edit = |seed: &u64| {
        let settings = (args.mode.mode(), args.temperature, *seed);
        public::edit(&model.editor, &bench.items, settings, &|| progress.step())
    };
    args.seed.iter().flat_map(edit).collect()
}

fn ask(
    judge: &crate::judge::Judge,
    rows: &mut [PublicRow],
    known: Option<&[Verdicts]>,
) -> Result<()> {
    let asked: Vec<Asked<'_>> = rows
        .iter()
        .map(|row| {
            let (source, edit, truth) = &row.pictures;
            let edit = row.failed.is_none().then_some(edit);
            Asked { instruction: &row.instruction, source, edit, truth: truth.as_ref() }
        })
        .collect();
    let found = verdicts(judge, &asked, known)?;
    for (row, found) in rows.iter_mut().zip(found) {
        row.verdicts = Some(found);
    }
    Ok(())
}

/// Prints and writes what was found.
fn finish(
    args: &Args,
    models: &[Contestant],
    found: &[(PublicReport, Vec<PublicRow>)],
) -> Result<()> {
    let scored: Vec<_> = found.iter().map(|(report, rows)| public::scores(rows, report)).collect();
    let differences = differences(&scored);
    let of = |model: &str| -> Vec<&PublicReport> {
        found.iter().map(|(report, _)| report).filter(|report| report.model == model).collect()
    };
    let outcome = Outcome {
        benches: found.iter().map(|(report, _)| report).collect(),
        average: models
            .iter()
            .map(|model| (model.name.as_str(), public::average(&of(&model.name))))
            .collect(),
        differences: &differences,
    };
    let json = serde_json::to_value(&outcome)?;
    if let Some(folder) = &args.out {
        write(folder, found, &outcome, &json)?;
    }
    if args.json {
        return crate::cmd::print_json(&json);
    }
    let mut text: String = found.iter().map(|(report, _)| report.table() + "\n").collect();
    for (model, scores) in &outcome.average {
        for (name, mean) in scores {
            text += &format!("{model}, mean of the benches: {name} {mean:.2}\n");
        }
    }
    crate::cmd::print_lines(&(text + &compare::table(&differences)));
    Ok(())
}

fn write(
    folder: &Path,
    found: &[(PublicReport, Vec<PublicRow>)],
    outcome: &Outcome<'_>,
    json: &Value,
) -> Result<()> {
    let mut lines = Vec::new();
    let mut page = head("EARL on public benches") + &scores_table(found);
    page += &differences_table(outcome.differences);
    for (report, rows) in found {
        for row in rows {
            let mut line = serde_json::to_value(row)?;
            line["model"] = report.model.clone().into();
            line["bench"] = report.bench.clone().into();
            lines.push(line);
        }
        let cards: Vec<Card> = rows
            .iter()
            .map(|row| Card {
                instruction: row.instruction.clone(),
                note: row.failed.clone().unwrap_or_default(),
                overall: row.overall(),
                source: row.pictures.0.clone(),
                edit: row.pictures.1.clone(),
                truth: row.pictures.2.clone(),
            })
            .collect();
        page += &format!("<h2>{} on {}</h2>", escape(&report.model), escape(&report.bench));
        page += &sheets(&cards)?;
    }
    super::write_out(folder, &lines, &serde_json::to_string_pretty(json)?, &page)
}

fn scores_table(found: &[(PublicReport, Vec<PublicRow>)]) -> String {
    let names = ["overall", "sc", "pq", "success", "overediting", "naturalness", "artifacts"];
    let heads =
        [&["model", "bench", "edits", "failed"], &names[..], &["L1", "PSNR", "SSIM"]].concat();
    let row = |report: &PublicReport| {
        let (n, failed) = (report.n.to_string(), report.failed.to_string());
        let mut cells = vec![report.model.clone(), report.bench.clone(), n, failed];
        let score = |name: &&str| {
            report.scores.get(*name).map_or("–".to_owned(), |found| {
                format!("{:.2} ± {:.2}", found.mean, found.deviation)
            })
        };
        cells.extend(names.iter().map(score));
        let alike = report.to_target.get("edit").map(|found| [found.l1, found.psnr, found.ssim]);
        cells
            .extend((0..3).map(|at| alike.map_or("–".into(), |found| format!("{:.3}", found[at]))));
        cells
    };
    table(&heads, &found.iter().map(|(report, _)| row(report)).collect::<Vec<_>>())
}
