//! `trainer judge`: scores of given edits by a served multimodal model.

use crate::config::RunConfig;
use crate::eval::stats::spearman;
use crate::hint;
use crate::judge::{Judge, Question, Verdict, prompt};
use crate::picture;
use crate::progress::Counter;
use crate::rl::verify::RIGHT_FROM;
use crate::run_dir::{check_writable, write_file};
use anyhow::{Context, Result};
use earl_scenes::{Example, Score, judge};
use image::RgbImage;
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Flags of `judge`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Edits, one JSON object a line: `{"source": path, "edit": path, "instruction": text}`; with
    /// `"example"` (a line of a bench file) the oracle judges beside the model.
    #[arg(long, value_name = "FILE")]
    pairs: PathBuf,
    /// Scores, one JSON object a line, in the order of the edits.
    #[arg(short, long, default_value = "scores.jsonl")]
    out: PathBuf,
    /// Configuration whose `[judge]` is used (TOML).
    #[arg(long)]
    config: Option<PathBuf>,
    /// Base address of an OpenAI-compatible server, up to `/v1`, instead of the configuration's.
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// The model's name there, instead of the configuration's.
    #[arg(long)]
    model: Option<String>,
    /// Folder of answers by content, instead of the configuration's.
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Print the summary as one JSON object on stdout.
    #[arg(long)]
    json: bool,
}

/// One line of `--pairs`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pair {
    source: PathBuf,
    edit: PathBuf,
    instruction: String,
    #[serde(default)]
    example: Option<Example>,
}

/// An edit with its pictures.
struct Loaded {
    source: RgbImage,
    edit: RgbImage,
    instruction: String,
    oracle: Option<Score>,
}

/// Judges.
///
/// # Errors
/// For a file or configuration that can't be read, or if no edit got a verdict.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut config = match &args.config {
        Some(path) => RunConfig::read(path)?.judge,
        None => RunConfig::default().judge,
    };
    config.endpoint = args.endpoint.clone().unwrap_or(config.endpoint);
    config.model = args.model.clone().unwrap_or(config.model);
    config.cache = args.cache.clone().or(config.cache);
    let edits = load(args)?;
    if edits.is_empty() {
        let problem = format!("`{}` holds no edit", args.pairs.display());
        return Err(hint::error(
            problem,
            "write one JSON object a line; see `trainer judge --help`",
        ));
    }
    check_writable(&args.out)?;
    let judge = Judge::new(&config, [0, 0])?;
    let questions: Vec<Question> = edits
        .iter()
        .map(|Loaded { source, edit, instruction, .. }| Question { source, edit, instruction })
        .collect();
    let progress = Counter::new("judge", questions.len());
    let verdicts = judge.score_all(&questions, &|| progress.step());
    let lines: Vec<Value> = edits
        .iter()
        .zip(&verdicts)
        .enumerate()
        .map(|(at, (edit, verdict))| line(at, edit, verdict.as_ref(), &config.model))
        .collect();
    let text: Vec<String> = lines.iter().map(Value::to_string).collect();
    write_file(&args.out, (text.join("\n") + "\n").as_bytes())?;
    let summary = summary(&edits, &verdicts, judge.used());
    if verdicts.iter().all(Result::is_err)
        && let Some(Err(problem)) = verdicts.into_iter().next()
    {
        return Err(problem.context("no edit got a verdict"));
    }
    if args.json {
        return super::print_json(&summary);
    }
    super::print_lines(&serde_json::to_string_pretty(&summary)?);
    Ok(())
}

fn load(args: &Args) -> Result<Vec<Loaded>> {
    let text = std::fs::read_to_string(&args.pairs)
        .with_context(|| format!("reading `{}`", args.pairs.display()))?;
    let mut edits = Vec::new();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let place = || format!("`{}`, line {}", args.pairs.display(), at + 1);
        let pair: Pair = serde_json::from_str(line).with_context(place)?;
        let source = picture::read(&pair.source).with_context(place)?.picture;
        let edit = picture::read(&pair.edit).with_context(place)?.picture;
        let oracle = pair.example.map(|Example { scene, check, style, .. }| {
            judge(&source, &edit, None, &scene, &check, style)
        });
        edits.push(Loaded { source, edit, instruction: pair.instruction, oracle });
    }
    Ok(edits)
}

fn line(at: usize, edit: &Loaded, verdict: Result<&Verdict, &anyhow::Error>, model: &str) -> Value {
    let mut line = json!({
        "index": at, "instruction": edit.instruction, "prompt": prompt::VERSION, "model": model,
    });
    match verdict {
        Ok(verdict) => line["verdict"] = json!(verdict),
        Err(problem) => line["error"] = format!("{problem:#}").into(),
    }
    if let Some(score) = &edit.oracle {
        line["oracle"] = json!({ "overall": score.overall, "success": score.success });
    }
    line
}

/// Means, failures, and the agreement with the oracle where there is one.
fn summary(edits: &[Loaded], verdicts: &[Result<Verdict>], used: [u64; 2]) -> Value {
    let known: Vec<f64> = verdicts.iter().flatten().map(|verdict| verdict.overall).collect();
    let both: Vec<(f64, &Score)> = edits
        .iter()
        .zip(verdicts)
        .filter_map(|(edit, verdict)| Some((verdict.as_ref().ok()?.overall, edit.oracle.as_ref()?)))
        .collect();
    let mut summary = json!({
        "n": edits.len(), "failed": edits.len() - known.len(), "requests": used[0], "tokens": used[1],
        "overall": known.iter().sum::<f64>() / known.len().max(1) as f64,
    });
    if both.len() > 1 {
        let (ours, theirs): (Vec<f64>, Vec<f64>) =
            both.iter().map(|(overall, score)| (*overall, f64::from(score.overall))).unzip();
        let count = |judge: bool, oracle: bool| {
            let same = |(overall, score): &&(f64, &Score)| {
                (*overall >= RIGHT_FROM) == judge && score.success == oracle
            };
            both.iter().filter(same).count()
        };
        summary["agreement"] = json!({
            "n": both.len(), "spearman": spearman(&ours, &theirs), "right_from": RIGHT_FROM,
            "both_right": count(true, true), "both_wrong": count(false, false),
            "judge_alone_right": count(true, false), "oracle_alone_right": count(false, true),
        });
    }
    summary
}
