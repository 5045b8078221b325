//! `trainer tok`: makes the picture tokenizer and measures what survives a round trip through it.

use super::run::new_run;
use crate::config::RunConfig;
use crate::eval::round_trip::{RoundTrip, measure};
use crate::picture;
use crate::progress::Progress;
use crate::run_dir::{RunDir, write_file};
use crate::sft::codes::CodeTable;
use crate::store::Stored;
use crate::tok;
use anyhow::{Context, Result};
use earl_model::checkpoint::safetensors;
use earl_model::vision::LayeredVq;
use earl_model::{ModelConfig, compose};
use earl_scenes::{Split, Style};
use image::RgbImage;
use serde::Serialize;
use std::path::PathBuf;
use std::time::Instant;

/// Flags of `tok`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Configuration of the run (TOML).
    #[arg(long, required_unless_present = "model")]
    config: Option<PathBuf>,
    /// Folder of the new run [default: runs/tok-<config>-N].
    #[arg(long)]
    out: Option<PathBuf>,
    /// Only measure this model's tokenizer; nothing is trained.
    #[arg(long, conflicts_with = "config")]
    model: Option<PathBuf>,
    /// Held-out true edits of each split that go through it.
    #[arg(long, default_value_t = 500)]
    limit: u64,
    /// Print the figures as one JSON object on stdout.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    /// Flat colours, training cells, second-style centres.
    codebook: Option<[usize; 3]>,
    codebook_size: usize,
    /// Codes that the training drawings use.
    used: usize,
    /// Share of drawn cells whose code does not depend on the background.
    canonical: f64,
    splits: std::collections::BTreeMap<&'static str, RoundTrip>,
    seconds: f64,
}

/// Makes a codebook, or measures one.
///
/// # Errors
/// For a bad configuration or a folder that can't be written.
pub(crate) fn run(args: &Args) -> Result<()> {
    let start = Instant::now();
    let (tokenizer, run, counts) = if let Some(path) = &args.model {
        let stored = Stored::read(path)?;
        (LayeredVq::from_tensors(&stored.config.vision, &stored.tensors)?, None, None)
    } else {
        let (tokenizer, run, counts) = make(args)?;
        (tokenizer, Some(run), Some(counts))
    };
    let (used, canonical) = CodeTable::new(&tokenizer, Style::Fluent3d).usage();
    let mut splits = std::collections::BTreeMap::new();
    for split in [Split::Seen, Split::Style] {
        splits.insert(split.name(), measure(&tokenizer, split, args.limit)?);
    }
    let codebook_size = tokenizer.config().codebook_size;
    let seconds = start.elapsed().as_secs_f64();
    let report = Report { codebook: counts, codebook_size, used, canonical, splits, seconds };
    if let Some(run) = &run {
        write_file(&run.path("tokenizer.json"), &serde_json::to_vec_pretty(&report)?)?;
        picture::write(&run.path("samples/round-trips.png"), &sample_sheet(&tokenizer)?)?;
        eprintln!("pictures: {}", run.path("samples/round-trips.png").display());
    }
    if args.json {
        return super::print_json(&report);
    }
    print(&report);
    Ok(())
}

fn make(args: &Args) -> Result<(LayeredVq, RunDir, [usize; 3])> {
    let path = args.config.as_deref().context("no configuration; pass `--config`")?;
    let config = RunConfig::read(path)?;
    let model: ModelConfig = config.model_config()?;
    let facts = serde_json::json!({ "seed": config.tok.seed });
    let run = new_run("tok", path, args.out.as_deref(), &config, facts, &[])?;
    let mut progress = Progress::new("codebook", 0, config.tok.iterations);
    let mut failed = None;
    let book = tok::codebook(&config.tok, model.vision.codebook_size, |iteration, error| {
        progress.step(iteration + 1, &format!("mean squared error {error:.6}"));
        let line = serde_json::json!({ "step": iteration, "mean_squared_error": error });
        failed = failed.take().or(run.log(&line).err());
    })?;
    if let Some(problem) = failed {
        return Err(problem);
    }
    let tokenizer = LayeredVq::new(&model.vision, book.layers)?;
    let bytes = safetensors::write(&tokenizer.tensors(), &serde_json::to_string(&model)?)?;
    write_file(&run.path("weights/tokenizer.safetensors"), &bytes)?;
    Ok((tokenizer, run, book.counts))
}

/// Pairs of columns: held-out scenes of both styles and their round trips.
fn sample_sheet(tokenizer: &LayeredVq) -> Result<RgbImage> {
    let mut rows = Vec::new();
    for row in 0..8 {
        let mut pictures = Vec::new();
        for (split, index) in
            [(Split::Seen, 2 * row), (Split::Seen, 2 * row + 1), (Split::Style, row)]
        {
            let example = earl_scenes::example(0, index, split, None);
            let scene = earl_scenes::render(&example.scene, example.style);
            let back = compose::paint(tokenizer, &tokenizer.encode(&scene)?);
            pictures.extend([scene, back]);
        }
        rows.push(pictures);
    }
    Ok(picture::sheet(&rows, 3))
}

fn print(report: &Report) {
    let mut text = format!(
        "{} codes, {} used by the training drawings; {:.1} % of drawn cells have one code on every background\n",
        report.codebook_size,
        report.used,
        100.0 * report.canonical
    );
    for (split, trip) in &report.splits {
        text += &format!(
            "{split}: {} of {} true edits accepted after a round trip ({:.1} %), {:.1} dB, {} codes\n",
            trip.accepted,
            trip.n,
            100.0 * trip.accepted as f64 / trip.n.max(1) as f64,
            trip.psnr,
            trip.codes_used
        );
    }
    super::print_lines(&text);
}
