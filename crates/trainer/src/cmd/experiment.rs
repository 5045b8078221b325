//! `trainer experiment`: several runs and their scores, by a plan.

use crate::device::DeviceName;
use crate::experiment::plan::Plan;
use crate::experiment::run::run_all;
use crate::experiment::table::markdown;
use crate::interrupt;
use anyhow::Result;
use std::path::PathBuf;

/// Flags of `experiment`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The plan (TOML): stages, seeds and rows.
    #[arg(default_value = "configs/paper-small/plan.toml")]
    plan: PathBuf,
    /// Folder of its runs and scores; what it holds already is not made again.
    #[arg(long, default_value = "runs/paper-small")]
    out: PathBuf,
    /// Only this seed of the plan; may be given several times. So several processes share a plan: give
    /// each its seeds, once the stages that all seeds start from are there.
    #[arg(long, value_name = "N")]
    seed: Vec<u64>,
    /// Train nothing: print the table of what the folder holds, as Markdown.
    #[arg(long)]
    table: bool,
}

/// Trains and scores what is missing.
///
/// # Errors
/// For a broken plan, or whatever a run reports.
pub(crate) fn run(args: &Args) -> Result<()> {
    interrupt::listen()?;
    let plan = Plan::read(&args.plan)?;
    if args.table {
        super::print_lines(&markdown(&plan, &args.out)?);
        return Ok(());
    }
    run_all(&plan, &args.seed, &args.out, &DeviceName::Flex.open()?)
}
