//! `trainer bench quant`: packed products beside llama.cpp's at the same shapes, in one run.
//!
//! The rival is a small program over ggml (`benches/llama`), built by hand from llama.cpp's sources
//! and given by its path. Both take turns, so that other work on the machine hurts both alike.

use anyhow::{Context, Result, bail};
use earl_kernels::quant_linear::{Activations, Bits, PackedMatrix, Segment};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

/// Flags of `bench quant`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The rival, built as `benches/llama/README.md` says.
    #[arg(long, value_name = "BINARY")]
    llama: Option<PathBuf>,
    /// Turns each takes; the best counts.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

/// Outputs and inputs of the published model's matrices, and of the head's rows of codes.
const SHAPES: [[usize; 2]; 5] =
    [[4096, 4096], [1024, 4096], [14_336, 4096], [4096, 14_336], [32_768, 4096]];
/// Rows of activations.
const BATCHES: [usize; 2] = [1, 32];

/// Milliseconds of each, and the rival's over ours.
///
/// # Errors
/// If the rival does not run.
pub(super) fn measure(args: &Args) -> Result<Value> {
    let mut rows = Vec::new();
    for (bits, name) in [(Bits::Four, "q4"), (Bits::Eight, "q8")] {
        for [outputs, inputs] in SHAPES {
            let matrix = matrix(bits, outputs, inputs)?;
            for batch in BATCHES {
                let (mut ours, mut rival) = (f64::INFINITY, f64::INFINITY);
                for _ in 0..args.rounds.max(1) {
                    ours = ours.min(time(&matrix, bits, batch)?);
                    if let Some(binary) = &args.llama {
                        rival = rival.min(ask(binary, name, [outputs, inputs], batch)?);
                    }
                }
                let bytes = matrix.bytes_of(outputs) as f64;
                let mut row = json!({
                    "type": name, "outputs": outputs, "inputs": inputs, "batch": batch,
                    "ours_ms": ours, "gigabytes_per_second": bytes / ours / 1e6,
                });
                if args.llama.is_some() {
                    row["llama_ms"] = json!(rival);
                    row["ratio"] = json!(rival / ours);
                }
                rows.push(row);
            }
        }
    }
    let (threads, instructions) =
        (rayon::current_num_threads(), earl_kernels::quant_linear::instructions());
    Ok(json!({ "threads": threads, "instructions": instructions, "rows": rows }))
}

fn matrix(bits: Bits, outputs: usize, inputs: usize) -> Result<PackedMatrix> {
    let blocks = outputs * inputs.div_ceil(32);
    let codes: Vec<u8> = (0..blocks * bits.block_bytes()).map(|at| (at * 37 % 251) as u8).collect();
    let range = 0..codes.len();
    let segments = [Segment { bytes: Arc::new(codes), range }];
    // 2⁻⁶ as float16.
    let scales = 0x2400u16.to_le_bytes().repeat(blocks);
    let matrix = PackedMatrix::new(bits, inputs, &segments, scales);
    matrix.map_err(anyhow::Error::msg)
}

/// Best milliseconds of several products, activations quantized in each.
fn time(matrix: &PackedMatrix, bits: Bits, batch: usize) -> Result<f64> {
    let width = matrix.width();
    let x: Vec<f32> =
        (0..batch * width).map(|at| (at * 7919 % 1000) as f32 / 500.0 - 1.0).collect();
    let mut best = f64::INFINITY;
    for _ in 0..repeats(batch) {
        let start = Instant::now();
        let x = Activations::quantize(&x, width, bits);
        let products = matrix.products(&x, 0..matrix.rows()).map_err(anyhow::Error::msg)?;
        std::hint::black_box(products);
        best = best.min(start.elapsed().as_secs_f64() * 1e3);
    }
    Ok(best)
}

/// Products of one turn.
fn repeats(batch: usize) -> usize {
    if batch == 1 { 20 } else { 4 }
}

/// The rival's best milliseconds of as many products.
fn ask(binary: &Path, name: &str, [outputs, inputs]: [usize; 2], batch: usize) -> Result<f64> {
    let numbers = [outputs, inputs, batch, rayon::current_num_threads(), repeats(batch)];
    let mut command = Command::new(binary);
    command.arg(name).args(numbers.map(|number| number.to_string()));
    let output = command.output().with_context(|| format!("running `{}`", binary.display()))?;
    if !output.status.success() {
        bail!("`{}`: {}", binary.display(), String::from_utf8_lossy(&output.stderr).trim());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().with_context(|| format!("`{}` printed `{text}`", binary.display()))
}
