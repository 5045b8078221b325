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
pub(crate) mod scenes;
pub(crate) mod sft;
pub(crate) mod tok;
pub(crate) mod verifier;

use crate::config::RunConfig;
use crate::run_dir::RunDir;
use anyhow::{Context, Result, bail};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// The model that a run starts from, within its folder.
const REFERENCE: &str = "weights/reference.safetensors";

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

/// The folder of a new run: as asked, or the first free `runs/<verb>-<config>-N`.
///
/// # Errors
/// If no name is free.
fn run_folder(asked: Option<&Path>, verb: &str, config: &Path) -> Result<PathBuf> {
    if let Some(asked) = asked {
        return Ok(asked.to_owned());
    }
    let name = config.file_stem().map_or_else(|| "default".into(), |stem| stem.to_string_lossy());
    let free = (1..10_000)
        .map(|n| PathBuf::from(format!("runs/{verb}-{name}-{n}")))
        .find(|path| !path.exists());
    free.with_context(|| format!("no free name below `runs/{verb}-{name}-…`; pass `--out`"))
}

/// The run to go on with and its own configuration, or the one that `start` makes.
///
/// # Errors
/// If the folder holds no run, its configuration is broken, or `start` fails.
pub(crate) fn open_run(
    resume: Option<&Path>,
    start: impl FnOnce() -> Result<(RunDir, RunConfig)>,
) -> Result<(RunDir, RunConfig)> {
    let Some(root) = resume else { return start() };
    let run = RunDir::resume(root)?;
    let config = RunConfig::parse(&run.config()?)
        .with_context(|| format!("in `{}`", run.path("config.toml").display()))?;
    Ok((run, config))
}

/// A new run's folder, with its configuration, what else is known of it, and the files it can't do without.
///
/// # Errors
/// If the folder holds a run already or can't be written.
pub(crate) fn new_run(
    verb: &str,
    path: &Path,
    out: Option<&Path>,
    config: &RunConfig,
    mut facts: serde_json::Value,
    files: &[(&str, &[u8])],
) -> Result<RunDir> {
    let folder = run_folder(out, verb, path)?;
    let command: Vec<String> = std::env::args().skip(1).collect();
    facts["verb"] = verb.into();
    facts["version"] = env!("CARGO_PKG_VERSION").into();
    facts["command"] = command.into();
    let run = RunDir::create(&folder, &toml::to_string(config)?, &facts, files)?;
    eprintln!("run: {}", folder.display());
    Ok(run)
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
