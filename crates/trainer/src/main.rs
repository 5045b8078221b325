//! `trainer`: makes scenes, trains, evaluates and exports EARL models, and edits pictures.
//!
//! Parse → run → print the error and a hint. Commands live in `cmd`, one file each.
//! Exit codes: 0 done, 1 failed, 2 wrong usage.

mod cli;
mod cmd;
mod config;
mod device;
mod eval;
mod events;
mod experiment;
mod full;
mod hint;
mod host;
mod interrupt;
mod judge;
mod memory;
mod optim;
mod page;
mod picture;
mod progress;
mod rl;
mod run_dir;
mod sft;
mod store;
mod tok;
mod verifier;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("error: {problem:#}");
            if let Some(hint) = hint::of(&problem) {
                eprintln!("hint: {hint}");
            }
            ExitCode::FAILURE
        }
    }
}
