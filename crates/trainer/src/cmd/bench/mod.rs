//! `trainer bench`: speed and memory, as ratios measured in one run. A file a measurement, each with
//! its flags (`Args`) and `measure`, which returns the figures as one JSON object.

mod clock;
mod decode;
mod edit;
mod flops;
mod full;
mod kernels;
mod quant;
mod rival;
mod scaling;
mod sft;
mod tok;
mod wasm;

use anyhow::Result;
use clap::Subcommand;

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
    Kernels(kernels::Args),
    /// Edits of a model in each mode: milliseconds, tokens, forward passes.
    Edit(edit::Args),
    /// The published model's size on made-up weights: export, load, decode, memory.
    Full(full::Args),
    /// Packed products, beside llama.cpp's.
    Quant(quant::Args),
    /// Training steps, beside PyTorch's on the same batches.
    Sft(sft::Args),
    /// How a training step's time grows with the batch, the sequence and the model.
    Scaling(scaling::Args),
    /// Whole pictures written one token at a time, beside PyTorch.
    Decode(decode::Args),
    /// Emu3's convolutional image tokenizer, beside PyTorch.
    Tok(tok::Args),
    /// The browser's CPU module beside native code, on a bundle's known answers; needs Node.
    Wasm(wasm::Args),
}

/// Measures.
///
/// # Errors
/// For a model or configuration that can't be read.
pub(crate) fn run(args: &Args) -> Result<()> {
    let figures = match &args.what {
        What::Kernels(args) => kernels::measure(args),
        What::Edit(args) => edit::measure(args)?,
        What::Full(args) => full::measure(args)?,
        What::Quant(args) => quant::measure(args)?,
        What::Sft(args) => sft::measure(args)?,
        What::Scaling(args) => scaling::measure(args)?,
        What::Decode(args) => decode::measure(args)?,
        What::Tok(args) => tok::measure(args)?,
        What::Wasm(args) => wasm::measure(args)?,
    };
    if args.json {
        return super::print_json(&figures);
    }
    super::print_lines(&serde_json::to_string_pretty(&figures)?);
    Ok(())
}
