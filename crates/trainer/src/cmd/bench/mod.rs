//! `trainer bench`: speed and memory, as ratios measured in one run. A file a measurement, each with
//! its flags (`Args`) and `measure`, which returns the figures as one JSON object.

mod edit;
mod kernels;
mod sft;

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
    /// Training steps in full and mixed precision.
    Sft(sft::Args),
}

/// Measures.
///
/// # Errors
/// For a model or configuration that can't be read.
pub(crate) fn run(args: &Args) -> Result<()> {
    let figures = match &args.what {
        What::Kernels(args) => kernels::measure(args),
        What::Edit(args) => edit::measure(args)?,
        What::Sft(args) => sft::measure(args)?,
    };
    if args.json {
        return super::print_json(&figures);
    }
    super::print_lines(&serde_json::to_string_pretty(&figures)?);
    Ok(())
}
