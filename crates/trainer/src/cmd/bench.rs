//! `trainer bench`: speed, as ratios measured in one run.

use crate::config::RunConfig;
use crate::device::DeviceName;
use crate::sft::batch::BatchMaker;
use crate::sft::codes::CodeTable;
use crate::sft::train::Trainer;
use crate::store::Stored;
use crate::tok;
use anyhow::Result;
use clap::Subcommand;
use earl_kernels::precision::{Matmul, set_matmul};
use earl_model::vision::LayeredVq;
use earl_model::{EditRequest, Mode, Seed};
use earl_scenes::{Split, Style, example, render};
use serde_json::{Value, json};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

/// Flags of `bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
    /// Print one JSON object on stdout.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Each fused operation against its plain composition.
    Kernels {
        /// Only operations whose name starts so.
        #[arg(long, default_value = "")]
        filter: String,
        /// Best of this many.
        #[arg(long, default_value_t = 5)]
        repeats: usize,
    },
    /// Edits of a model in each mode: milliseconds, tokens, forward passes.
    Edit {
        /// The model.
        #[arg(long, default_value = "models/tiny")]
        model: PathBuf,
        /// Edits in each mode.
        #[arg(long, default_value_t = 44)]
        limit: u64,
    },
    /// Training steps in full and mixed precision.
    Sft {
        /// Configuration of the run.
        #[arg(long, default_value = "configs/tiny.toml")]
        config: PathBuf,
        /// Steps timed in each precision.
        #[arg(long, default_value_t = 5)]
        steps: u64,
    },
}

/// Measures.
///
/// # Errors
/// For a model or configuration that can't be read.
pub(crate) fn run(args: &Args) -> Result<()> {
    let figures = match &args.what {
        What::Kernels { filter, repeats } => kernels(*repeats, filter),
        What::Edit { model, limit } => edits(&Stored::read(model)?, *limit)?,
        What::Sft { config, steps } => sft(&RunConfig::read(config)?, *steps)?,
    };
    if args.json {
        return super::print_json(&figures);
    }
    super::print_lines(&serde_json::to_string_pretty(&figures)?);
    Ok(())
}

fn kernels(repeats: usize, filter: &str) -> Value {
    let rows = earl_kernels::bench::run(repeats, filter);
    let row = |row: &earl_kernels::bench::BenchRow| json!({ "name": row.name, "plain_ms": row.plain_ms, "fused_ms": row.fused_ms, "ratio": row.plain_ms / row.fused_ms });
    json!({
        "instruction_set": earl_kernels::bench::instruction_set(),
        "rows": rows.iter().map(row).collect::<Vec<_>>(),
    })
}

fn edits(stored: &Stored, limit: u64) -> Result<Value> {
    let editor = stored.editor(&DeviceName::Flex.open()?)?;
    let mut modes = serde_json::Map::new();
    for mode in [Mode::Local, Mode::Think, Mode::Full] {
        let (mut times, mut tokens, mut forwards) = (Vec::new(), 0, 0);
        for index in 0..limit {
            let example = example(0, index, Split::Seen, None);
            let source = render(&example.scene, example.style);
            let request = EditRequest {
                instruction: example.instruction,
                mode,
                seed: Seed(0),
                temperature: 0.0,
                plan: None,
            };
            let start = Instant::now();
            let outcome = pollster::block_on(
                editor.edit(&source, &request, &mut |_| ControlFlow::Continue(())),
            )?;
            times.push(start.elapsed().as_secs_f64() * 1e3);
            tokens += outcome.tokens;
            forwards += outcome.forwards;
        }
        times.sort_by(f64::total_cmp);
        let figures = json!({
            "median_ms": times[times.len() / 2], "worst_ms": times[times.len() - 1],
            "tokens_per_edit": tokens as f64 / limit as f64,
            "forwards_per_edit": forwards as f64 / limit as f64,
        });
        modes.insert(serde_json::to_value(mode)?.as_str().unwrap_or_default().to_owned(), figures);
    }
    Ok(json!({ "edits": limit, "modes": modes }))
}

fn sft(config: &RunConfig, steps: u64) -> Result<Value> {
    let model = config.model_config()?;
    let book = tok::codebook(&config.tok, model.vision.codebook_size, |_, _| ())?;
    let codes = CodeTable::new(&LayeredVq::new(&model.vision, book.layers)?, Style::Fluent3d);
    let mut rates = Vec::new();
    for precision in [Matmul::Full, Matmul::Mixed] {
        set_matmul(precision);
        let device = DeviceName::Flex.open()?.autodiff();
        let mut trainer = Trainer::new(config.sft.clone(), &model, device)?;
        let vocabulary = trainer.vocabulary().clone();
        let maker = BatchMaker { vocabulary: &vocabulary, codes: &codes, config: &config.sft.data };
        trainer.step(&maker.make(0)?)?;
        let start = Instant::now();
        let mut edits = 0;
        for step in 1..=steps {
            edits += trainer.step(&maker.make(step)?)?.edits;
        }
        rates.push(edits as f64 / start.elapsed().as_secs_f64());
    }
    Ok(json!({
        "edits_per_second": { "full": rates[0], "mixed": rates[1] }, "mixed_over_full": rates[1] / rates[0],
        "threads": rayon::current_num_threads(),
    }))
}
