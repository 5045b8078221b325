//! `trainer eval`: a model's scores on held-out edits, beside its baselines.

use crate::device::DeviceName;
use crate::eval::report::{Facts, Report};
use crate::eval::{Row, Settings, evaluate};
use crate::picture;
use crate::progress::Progress;
use crate::run_dir::write_file;
use crate::store::Stored;
use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use earl_model::{Editor, Mode};
use earl_scenes::{Example, Split};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

/// Flags of `eval`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The model: a bundle, a run or a safetensors file.
    #[arg(long)]
    model: PathBuf,
    /// The bench.
    #[arg(long, value_enum, default_value_t)]
    bench: Bench,
    /// Held-out examples: new scenes, unseen pairs of classes, unseen sentences, another drawing style.
    #[arg(long, value_enum, default_value_t)]
    split: SplitName,
    /// Examples from this file instead, one JSON object a line.
    #[arg(long, value_name = "FILE", conflicts_with = "split")]
    bench_file: Option<PathBuf>,
    /// Most examples.
    #[arg(long, default_value_t = 500)]
    limit: usize,
    /// Seed of the sampler; give several to score each example once a seed.
    #[arg(long, default_values_t = [0u64])]
    seed: Vec<u64>,
    /// Seed of the examples.
    #[arg(long, default_value_t = 0)]
    data_seed: u64,
    /// How much of the picture the model writes.
    #[arg(long, value_enum, default_value_t)]
    mode: ModeName,
    /// 0 takes the likeliest token, 1 samples from the model.
    #[arg(long, default_value_t = 0.0)]
    temperature: f32,
    /// Also score the best of N sampled candidates, chosen by the oracle.
    #[arg(long, value_name = "N", default_value_t = 1)]
    best_of: u64,
    /// Write every row and sheets of pictures (source, result, true edit) into this folder.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print one JSON object on stdout.
    #[arg(long)]
    json: bool,
}

/// Benches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Bench {
    /// The scene world, judged by the oracle.
    #[default]
    Scenes,
}

/// Splits of the scene world.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum SplitName {
    /// New scenes, everything else as in training.
    #[default]
    Seen,
    /// Class × edit pairs never trained.
    Classes,
    /// Sentences never trained.
    Phrases,
    /// Another drawing style.
    Style,
    /// Training examples.
    Train,
}

impl SplitName {
    /// The split itself.
    #[must_use]
    pub(crate) fn split(self) -> Split {
        match self {
            Self::Seen => Split::Seen,
            Self::Classes => Split::Classes,
            Self::Phrases => Split::Phrases,
            Self::Style => Split::Style,
            Self::Train => Split::Train,
        }
    }
}

/// Modes of an edit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ModeName {
    /// The plan's boxes alone; everything outside them stays exactly.
    #[default]
    Local,
    /// Every code of the target.
    Full,
    /// A plan, then every code of the target.
    Think,
}

impl ModeName {
    /// The mode itself.
    #[must_use]
    pub(crate) fn mode(self) -> Mode {
        match self {
            Self::Local => Mode::Local,
            Self::Full => Mode::Full,
            Self::Think => Mode::Think,
        }
    }
}

/// Scores a model.
///
/// # Errors
/// For a model or bench file that can't be read.
pub(crate) fn run(args: &Args) -> Result<()> {
    let Bench::Scenes = args.bench;
    if args.best_of == 0 || args.limit == 0 {
        bail!("`--best-of` and `--limit` must be at least 1");
    }
    let stored = Stored::read(&args.model)?;
    let editor = stored.editor(&DeviceName::Flex.open()?)?;
    let (examples, bad_lines) = examples(args)?;
    for line in &bad_lines {
        eprintln!("warning: bench file {line}");
    }
    let start = Instant::now();
    let rows = rows(args, &editor, &examples)?;
    let facts = Facts {
        split: args.bench_file.as_ref().map_or(args.split.split().name(), |_| "file").to_owned(),
        model: args.model.display().to_string(),
        model_sha256: stored.sha256.clone(),
        mode: args.mode.mode(),
        temperature: args.temperature,
        seeds: args.seed.clone(),
        best_of: args.best_of,
        seconds: start.elapsed().as_secs_f64(),
        bad_lines,
    };
    let report = Report::new(&rows, facts);
    if let Some(folder) = &args.out {
        write_out(folder, &rows, &report)?;
    }
    if args.json {
        super::print_json(&report)
    } else {
        super::print_lines(&report.table());
        Ok(())
    }
}

/// Every example once a seed.
fn rows(args: &Args, editor: &Editor, examples: &[Example]) -> Result<Vec<Row>> {
    let total = (examples.len() * args.seed.len()) as u64;
    let progress = Mutex::new((Progress::new("eval", 0, total), 0u64));
    let done = || {
        if let Ok(mut progress) = progress.lock() {
            progress.1 += 1;
            let at = progress.1;
            progress.0.step(at, "");
        }
    };
    let (mode, temperature, best_of) = (args.mode.mode(), args.temperature, args.best_of);
    let mut rows = Vec::new();
    for &seed in &args.seed {
        let settings = Settings { mode, temperature, seed, best_of };
        rows.extend(evaluate(editor, examples, settings, &done)?);
    }
    Ok(rows)
}

fn examples(args: &Args) -> Result<(Vec<Example>, Vec<String>)> {
    let Some(path) = &args.bench_file else {
        let make = |index| earl_scenes::example(args.data_seed, index, args.split.split(), None);
        return Ok(((0..args.limit as u64).map(make).collect(), Vec::new()));
    };
    let text =
        std::fs::read_to_string(path).with_context(|| format!("reading `{}`", path.display()))?;
    let (mut examples, bad) = earl_scenes::read_bench(&text);
    examples.truncate(args.limit);
    if examples.is_empty() {
        let first = bad.first().map_or_else(String::new, |line| format!(" ({line})"));
        bail!("`{}` holds no example{first}; `docs/SCENES.md` gives the format", path.display());
    }
    Ok((examples, bad.iter().map(ToString::to_string).collect()))
}

/// `rows.jsonl`, `report.json`, `wrong.png` and `right.png`.
fn write_out(folder: &Path, rows: &[Row], report: &Report) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("making `{}`", folder.display()))?;
    let lines: Vec<String> = rows.iter().map(serde_json::to_string).collect::<Result<_, _>>()?;
    write_file(&folder.join("rows.jsonl"), (lines.join("\n") + "\n").as_bytes())?;
    write_file(&folder.join("report.json"), &serde_json::to_vec_pretty(report)?)?;
    for (name, success) in [("wrong.png", false), ("right.png", true)] {
        let chosen: Vec<&Row> =
            rows.iter().filter(|row| row.score.success == success).take(48).collect();
        let sheet: Vec<Vec<image::RgbImage>> = chosen
            .chunks(3)
            .map(|chunk| chunk.iter().flat_map(|row| row.pictures.clone()).collect())
            .collect();
        picture::write(&folder.join(name), &picture::sheet(&sheet, 2))?;
    }
    eprintln!("rows and sheets: {}", folder.display());
    Ok(())
}
