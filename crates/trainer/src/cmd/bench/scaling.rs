//! `trainer bench scaling`: how a training step's time grows with the batch, the sequence and the model.
//!
//! Along each axis one thing grows and the rest stays; the exponent is the slope of the straight line
//! through the points in logarithms (least squares): 1 where time grows as the work does, less where
//! what is small leaves the machine idle.

use super::clock::{Clock, Lap};
use super::flops;
use crate::config::RunConfig;
use crate::device::DeviceName;
use crate::sft::batch::{Batch, BatchMaker};
use crate::sft::codes::CodeTable;
use crate::sft::train::Trainer;
use crate::tok;
use anyhow::Result;
use earl_kernels::bench::gemm_peak;
use earl_kernels::precision::{Matmul, set_matmul};
use earl_model::sequence::Vocabulary;
use earl_scenes::Style;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Scenes a step, four edits each.
const BATCHES: [usize; 5] = [2, 4, 8, 16, 32];
/// Share of edits that write the whole picture: longer programs.
const FULL_SHARES: [f64; 4] = [0.0, 0.25, 0.5, 1.0];
/// Widths of the model; the hidden layer of its `SwiGLU` is 8/3 as wide.
const WIDTHS: [usize; 5] = [64, 128, 192, 256, 384];

/// Flags of `bench scaling`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Configuration that one axis at a time leaves.
    #[arg(long, default_value = "configs/tiny.toml")]
    config: PathBuf,
    /// Steps at each point, of which the best time counts.
    #[arg(long, default_value_t = 4)]
    rounds: usize,
}

/// One measured step.
struct Point {
    /// What grew.
    size: f64,
    lap: Lap,
    flops: f64,
}

/// Points and exponents along each axis.
///
/// # Errors
/// For a configuration that can't be read, or a step that fails.
pub(super) fn measure(args: &Args) -> Result<Value> {
    let config = RunConfig::read(&args.config)?;
    let vision = config.model_config()?.vision;
    let codes = CodeTable::new(&tok::tokenizer(&config.tok, &vision)?, Style::Fluent3d);
    set_matmul(Matmul::Full);
    let along =
        |change: &dyn Fn(&mut RunConfig, usize), size: &dyn Fn(&RunConfig, &Batch) -> f64, len| {
            let points = (0..len).map(|at| {
                let mut config = config.clone();
                change(&mut config, at);
                step(&config, &codes, args.rounds, size)
            });
            points.collect::<Result<Vec<_>>>()
        };
    let batch = along(
        &|config, at| config.sft.data.scenes_per_step = BATCHES[at],
        &|_, batch| batch.edits.len() as f64,
        BATCHES.len(),
    )?;
    let sequence = along(
        &|config, at| {
            (config.sft.data.full_share, config.sft.data.think_share) = (FULL_SHARES[at], 0.0);
        },
        &|_, batch| batch.tokens() as f64 / batch.edits.len() as f64,
        FULL_SHARES.len(),
    )?;
    let model = along(
        &|config, at| {
            config.model.hidden_size = WIDTHS[at];
            config.model.intermediate_size = WIDTHS[at] * 8 / 3;
        },
        &|config, _| config.model.hidden_size as f64,
        WIDTHS.len(),
    )?;
    let peak = gemm_peak();
    Ok(json!({
        "threads": rayon::current_num_threads(),
        "instruction_set": earl_kernels::bench::instruction_set(),
        "gemm_peak_gflops": peak,
        "edits_per_step": axis(&batch, peak),
        "tokens_per_edit": axis(&sequence, peak),
        "width": axis(&model, peak),
    }))
}

/// The best of some steps on one batch; the first, which makes what later ones use, does not count.
fn step(
    config: &RunConfig,
    codes: &CodeTable,
    rounds: usize,
    size: &dyn Fn(&RunConfig, &Batch) -> f64,
) -> Result<Point> {
    let model = config.model_config()?;
    let vocabulary = Vocabulary::new(&model);
    let batch = BatchMaker { vocabulary: &vocabulary, codes, config: &config.sft.data }.make(0)?;
    let device = DeviceName::Flex.open()?.autodiff();
    let mut trainer = Trainer::new(config.sft.clone(), &model, device)?;
    trainer.step(&batch)?;
    let mut lap = Lap::NEVER;
    for _ in 0..rounds.max(1) {
        let clock = Clock::start();
        trainer.step(&batch)?;
        lap = lap.best(clock.lap());
    }
    Ok(Point { size: size(config, &batch), lap, flops: flops::of_step(&model, &batch) })
}

/// What is printed of an axis.
fn axis(points: &[Point], peak: f64) -> Value {
    let pairs = |of: fn(&Point) -> f64| -> Vec<(f64, f64)> {
        points.iter().map(|point| (point.size, of(point))).collect()
    };
    let shown = points.iter().map(|point| {
        let gflops = point.flops / point.lap.wall / 1e9;
        json!({
            "size": point.size, "seconds": point.lap.wall, "cpu_seconds": point.lap.cpu,
            "gflop": point.flops / 1e9, "gflops": gflops, "share_of_gemm_peak": gflops / peak,
        })
    });
    json!({
        "exponent": exponent(&pairs(|point| point.lap.wall)),
        "exponent_of_work": exponent(&pairs(|point| point.flops)),
        "points": shown.collect::<Vec<_>>(),
    })
}

/// Slope of `ln y` over `ln x` by least squares.
fn exponent(pairs: &[(f64, f64)]) -> f64 {
    let logs: Vec<(f64, f64)> = pairs.iter().map(|(x, y)| (x.ln(), y.ln())).collect();
    let mean = |of: fn(&(f64, f64)) -> f64| logs.iter().map(of).sum::<f64>() / logs.len() as f64;
    let (x, y) = (mean(|log| log.0), mean(|log| log.1));
    let both: f64 = logs.iter().map(|log| (log.0 - x) * (log.1 - y)).sum();
    both / logs.iter().map(|log| (log.0 - x).powi(2)).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponent_of_a_power_is_found() {
        let power = [1.0, 2.0, 5.0, 20.0].map(|x: f64| (x, 3.0 * x.powf(1.7)));
        assert!((exponent(&power) - 1.7).abs() < 1e-9);
        assert!(exponent(&[(1.0, 4.0), (2.0, 4.0), (9.0, 4.0)]).abs() < 1e-12);
    }
}
