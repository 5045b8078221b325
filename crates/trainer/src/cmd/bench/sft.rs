//! `trainer bench sft`: steps of supervised training.

use crate::config::RunConfig;
use crate::device::DeviceName;
use crate::sft::batch::BatchMaker;
use crate::sft::codes::CodeTable;
use crate::sft::train::Trainer;
use crate::tok;
use anyhow::Result;
use earl_kernels::precision::{Matmul, set_matmul};
use earl_model::vision::LayeredVq;
use earl_scenes::Style;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Instant;

/// Flags of `bench sft`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Configuration of the run.
    #[arg(long, default_value = "configs/tiny.toml")]
    config: PathBuf,
    /// Steps timed in each precision.
    #[arg(long, default_value_t = 5)]
    steps: u64,
}

/// Edits a second in full and mixed precision.
///
/// # Errors
/// For a configuration that can't be read, or a step that fails.
pub(super) fn measure(args: &Args) -> Result<Value> {
    let config = RunConfig::read(&args.config)?;
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
        for step in 1..=args.steps {
            edits += trainer.step(&maker.make(step)?)?.edits;
        }
        rates.push(edits as f64 / start.elapsed().as_secs_f64());
    }
    Ok(json!({
        "edits_per_second": { "full": rates[0], "mixed": rates[1] }, "mixed_over_full": rates[1] / rates[0],
        "threads": rayon::current_num_threads(),
    }))
}
