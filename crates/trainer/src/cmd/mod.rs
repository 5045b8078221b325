//! The verbs, one file each: flags, and the call into the room that does the work.

pub(crate) mod bench;
pub(crate) mod edit;
pub(crate) mod eval;
pub(crate) mod experiment;
pub(crate) mod export;
pub(crate) mod inspect;
pub(crate) mod judge;
pub(crate) mod report;
pub(crate) mod rl;
mod run;
pub(crate) mod scenes;
pub(crate) mod sft;
pub(crate) mod tok;
pub(crate) mod verifier;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use std::path::Path;

/// Prints one JSON object on stdout: all that `--json` prints there.
///
/// # Errors
/// If stdout is closed.
#[allow(clippy::print_stdout, reason = "the one place that writes data to stdout")]
pub(crate) fn print_json(value: &impl Serialize) -> Result<()> {
    println!("{}", serde_json::to_string(value)?);
    Ok(())
}

/// Prints lines for people on stdout.
#[allow(clippy::print_stdout, reason = "results for people, beside `print_json`")]
pub(crate) fn print_lines(text: &str) {
    println!("{}", text.trim_end());
}

/// Makes an empty or new folder for results.
///
/// # Errors
/// If it holds files already and `force` is off, or can't be made.
pub(crate) fn output_folder(path: &Path, force: bool) -> Result<()> {
    if !force && path.is_dir() && path.read_dir().is_ok_and(|mut entries| entries.next().is_some())
    {
        bail!(
            "`{}` is not empty; pass `--force` to write into it, or another `--out`",
            path.display()
        );
    }
    std::fs::create_dir_all(path).with_context(|| format!("making `{}`", path.display()))
}
