//! `trainer bench sft`: steps of supervised training, ours and PyTorch's in turns on the same batches.
//!
//! Of every batch and contestant the best of several rounds counts, so that other work on the machine
//! hurts all alike. PyTorch runs the same model, losses and optimizer in two layouts (see
//! `benches/torch/sft.py`) and its faster one is compared; its tensors are made before the clock
//! starts, ours while it runs.

use super::clock::{Clock, Lap};
use super::flops;
use super::rival::{self, Rival, RivalArgs, lap, number};
use crate::config::RunConfig;
use crate::device::DeviceName;
use crate::sft::batch::{Batch, BatchMaker};
use crate::sft::codes::CodeTable;
use crate::sft::train::Trainer;
use crate::tok;
use anyhow::{Result, bail};
use earl_kernels::bench::gemm_peak;
use earl_kernels::precision::{Matmul, set_matmul};
use earl_model::ModelConfig;
use earl_model::checkpoint::TensorMap;
use earl_model::sequence::{Vocabulary, program_chunk};
use earl_scenes::Style;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Largest relative difference of the first losses: further apart it would not be the same model.
const SAME_LOSS: f64 = 1e-3;

/// Flags of `bench sft`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Configuration of the run.
    #[arg(long, default_value = "configs/tiny.toml")]
    config: PathBuf,
    /// Batches.
    #[arg(long, default_value_t = 4)]
    steps: u64,
    /// Rounds over the batches; the best time of each counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    #[command(flatten)]
    rival: RivalArgs,
}

/// Edits and tokens a second of each contestant, their ratio, and the share of the machine's peak.
///
/// # Errors
/// For a configuration that can't be read, a step that fails, or a rival that computes something else.
pub(super) fn measure(args: &Args) -> Result<Value> {
    let mut config = RunConfig::read(&args.config)?;
    config.model.erase_map = false; // `benches/torch` has none
    let model = config.model_config()?;
    let python = args.rival.python()?;
    let codes = CodeTable::new(&tok::tokenizer(&config.tok, &model.vision)?, Style::Fluent3d);
    let vocabulary = Vocabulary::new(&model);
    let maker = BatchMaker { vocabulary: &vocabulary, codes: &codes, config: &config.sft.data };
    let batches = (0..args.steps).map(|step| maker.make(step)).collect::<Result<Vec<_>>>()?;

    let mut ours = Contestant::new("full", &config, &model)?;
    let weights = ours.trainer.checkpoint()?.0;
    let mut contestants = vec![];
    if set_matmul(Matmul::Mixed) {
        contestants.push(Contestant::new("mixed", &config, &model)?);
    }
    set_matmul(Matmul::Full);
    let mut rival = match &python {
        Some(python) => Some(Torch::start(python, &config, &model, &batches, &weights)?),
        None => None,
    };
    for _ in 0..=args.rounds {
        for (at, batch) in batches.iter().enumerate() {
            ours.step(at, batch, Matmul::Full)?;
            for other in &mut contestants {
                other.step(at, batch, Matmul::Mixed)?;
            }
            if let Some(rival) = &mut rival {
                rival.step(at, config.sft.optim.rate(0, config.sft.steps))?;
            }
        }
    }
    if let Some(rival) = &rival {
        rival.compare(ours.first_loss.unwrap_or(f64::NAN))?;
    }
    contestants.insert(0, ours);
    report(&model, &batches, &contestants, rival.as_ref())
}

/// Best times by batch.
struct Times {
    name: &'static str,
    best: Vec<Lap>,
}

impl Times {
    fn new(name: &'static str) -> Self {
        Self { name, best: Vec::new() }
    }

    fn take(&mut self, batch: usize, lap: Lap) {
        self.best.resize(self.best.len().max(batch + 1), Lap::NEVER);
        self.best[batch] = self.best[batch].best(lap);
    }

    /// Seconds on the wall.
    fn wall(&self) -> f64 {
        self.best.iter().map(|lap| lap.wall).sum()
    }

    /// Seconds of all threads.
    fn cpu(&self) -> f64 {
        self.best.iter().map(|lap| lap.cpu).sum()
    }
}

/// Our trainer in one precision.
struct Contestant {
    trainer: Trainer,
    times: Times,
    first_loss: Option<f64>,
}

impl Contestant {
    fn new(name: &'static str, config: &RunConfig, model: &ModelConfig) -> Result<Self> {
        let device = DeviceName::Flex.open()?.autodiff();
        let trainer = Trainer::new(config.sft.clone(), model, device)?;
        Ok(Self { trainer, times: Times::new(name), first_loss: None })
    }

    fn step(&mut self, at: usize, batch: &Batch, precision: Matmul) -> Result<()> {
        set_matmul(precision);
        let clock = Clock::start();
        let step = self.trainer.step(batch)?;
        self.times.take(at, clock.lap());
        self.first_loss.get_or_insert(step.loss);
        Ok(())
    }
}

/// PyTorch's script.
struct Torch {
    rival: Rival,
    /// What it said of itself: version, threads, first losses, tokens read.
    hello: Value,
    layouts: [Times; 2],
}

impl Torch {
    fn start(
        python: &str,
        config: &RunConfig,
        model: &ModelConfig,
        batches: &[Batch],
        weights: &TensorMap,
    ) -> Result<Self> {
        let sft = &config.sft;
        if (sft.code_weight, sft.seeing_weight) != (1.0, 1.0) {
            bail!("`sft.code_weight` and `sft.seeing_weight` must be 1 to compare with PyTorch");
        }
        let spec = json!({
            "config": rival::sizes(model)?,
            "optim": sft.optim,
            "group_size": sft.data.group_size,
            "batches": batches.iter().map(|batch| spelled(model, batch)).collect::<Vec<_>>(),
        });
        let mut rival = Rival::start(python, "sft.py", spec, weights)?;
        let hello = rival.ask(&json!({ "do": "hello" }))?;
        Ok(Self { rival, hello, layouts: ["padded", "packed"].map(Times::new) })
    }

    fn step(&mut self, at: usize, rate: f64) -> Result<()> {
        for times in &mut self.layouts {
            let ask = json!({ "do": "step", "batch": at, "layout": times.name, "rate": rate });
            times.take(at, lap(&self.rival.ask(&ask)?)?);
        }
        Ok(())
    }

    /// An error if it did not begin with our loss.
    fn compare(&self, ours: f64) -> Result<()> {
        for times in &self.layouts {
            let theirs = number(&self.hello["loss"], times.name)?;
            if (theirs - ours).abs() > SAME_LOSS * ours.abs() {
                bail!(
                    "PyTorch's first loss is {theirs} ({}), ours {ours}: `benches/torch` does not run this model",
                    times.name
                );
            }
        }
        Ok(())
    }
}

/// A batch as the script reads it.
fn spelled(model: &ModelConfig, batch: &Batch) -> Value {
    let vocabulary = Vocabulary::new(model);
    let edits = batch.edits.iter().map(|edit| {
        let mut program = rival::segment(&program_chunk(model.text.max_words, &[&edit.program]));
        program["targets"] = edit.program.targets.iter().map(|id| id.0).collect();
        program["is_code"] = edit.program.is_code.iter().copied().collect();
        let words = rival::words(&vocabulary, &edit.words);
        json!({ "source": edit.source, "words": words, "program": program })
    });
    let sources = batch.sources.iter().map(|picture| rival::source(&vocabulary, picture));
    let sign = |free: bool| if free { 1.0 } else { -1.0 };
    let labels = &batch.labels;
    json!({
        "sources": sources.collect::<Vec<_>>(),
        "edits": edits.collect::<Vec<_>>(),
        "labels": {
            "name": labels.iter().map(|label| label.name.0).collect::<Vec<_>>(),
            "tint": labels.iter().map(|label| label.tint).collect::<Vec<_>>(),
            "part": labels.iter().map(|label| label.part).collect::<Vec<_>>(),
            "free": labels.iter().flat_map(|label| label.free.map(sign)).collect::<Vec<_>>(),
        },
    })
}

fn report(
    model: &ModelConfig,
    batches: &[Batch],
    contestants: &[Contestant],
    torch: Option<&Torch>,
) -> Result<Value> {
    let edits: usize = batches.iter().map(|batch| batch.edits.len()).sum();
    let tokens: usize = batches.iter().map(Batch::tokens).sum();
    let flops: f64 = batches.iter().map(|batch| flops::of_step(model, batch)).sum();
    let peak = gemm_peak();
    let figures = |times: &Times| {
        let gflops = flops / times.wall() / 1e9;
        json!({
            "edits_per_second": edits as f64 / times.wall(), "tokens_per_second": tokens as f64 / times.wall(),
            "cpu_seconds_per_step": times.cpu() / batches.len() as f64,
            "gflops": gflops, "share_of_gemm_peak": gflops / peak,
        })
    };
    let ours = &contestants[0];
    let mut found = json!({
        "edits_per_step": edits as f64 / batches.len() as f64,
        "tokens_per_step": tokens as f64 / batches.len() as f64,
        "threads": rayon::current_num_threads(),
        "instruction_set": earl_kernels::bench::instruction_set(),
        "gemm_peak_gflops": peak,
        "gflop_per_step": flops / batches.len() as f64 / 1e9,
    });
    for contestant in contestants {
        found["ours"][contestant.times.name] = figures(&contestant.times);
    }
    let Some(Torch { hello, layouts, .. }) = torch else {
        found["torch"] = Value::Null;
        return Ok(found);
    };
    found["torch"] = json!({ "version": hello["torch"], "threads": hello["threads"] });
    for times in layouts {
        found["torch"][times.name] = figures(times);
        let read: Vec<f64> = serde_json::from_value(hello["tokens"][times.name].clone())?;
        let padding = 1.0 - tokens as f64 / read.iter().sum::<f64>();
        found["torch"][times.name]["padded_share"] = padding.into();
    }
    for (name, of) in [("wall", Times::wall as fn(&Times) -> f64), ("cpu", Times::cpu)] {
        let ratio = |times: &Times| of(times) / of(&ours.times);
        let [padded, packed] = layouts.each_ref().map(ratio);
        let fastest = padded.min(packed);
        found["ours_over_torch"][name] =
            json!({ "padded": padded, "packed": packed, "fastest": fastest });
    }
    Ok(found)
}
