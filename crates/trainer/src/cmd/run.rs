//! What the verbs share that train a run: flags, folder and configuration.

use crate::config::RunConfig;
use crate::device::DeviceName;
use crate::run_dir::RunDir;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// The model that a run starts from, within its folder.
pub(crate) const REFERENCE: &str = "weights/reference.safetensors";

/// Flags of every verb that trains.
#[derive(Debug, clap::Args)]
pub(crate) struct RunFlags {
    /// Configuration of the run (TOML).
    #[arg(long, required_unless_present = "resume")]
    config: Option<PathBuf>,
    /// Folder of the new run [default: runs/<verb>-<config>-N].
    #[arg(long, conflicts_with = "resume")]
    out: Option<PathBuf>,
    /// Go on with this run from its newest whole checkpoint.
    #[arg(long, value_name = "RUN", conflicts_with_all = ["config", "init"])]
    resume: Option<PathBuf>,
    /// Seed of all that is drawn: initial weights, scenes and rollouts; instead of the configuration's.
    #[arg(long, conflicts_with = "resume")]
    pub seed: Option<u64>,
    /// Where to train; rollouts are written there too.
    #[arg(long, value_enum, default_value_t)]
    pub device: DeviceName,
    /// Print the last step's figures as one JSON object on stdout.
    #[arg(long)]
    pub json: bool,
}

impl RunFlags {
    /// The run to go on with and its own configuration, or the one that `start` makes of a configuration file.
    ///
    /// # Errors
    /// If the folder holds no run, its configuration is broken, or `start` fails.
    pub(crate) fn open(
        &self,
        start: impl FnOnce(&Path) -> Result<(RunDir, RunConfig)>,
    ) -> Result<(RunDir, RunConfig)> {
        let Some(root) = &self.resume else {
            return start(self.config.as_deref().context("no configuration; pass `--config`")?);
        };
        let run = RunDir::resume(root)?;
        let config = RunConfig::parse(&run.config()?)
            .with_context(|| format!("in `{}`", run.path("config.toml").display()))?;
        Ok((run, config))
    }

    /// [`new_run`] in the folder and for the device that are asked for.
    ///
    /// # Errors
    /// If the folder holds a run already or can't be written.
    pub(crate) fn create(
        &self,
        verb: &str,
        path: &Path,
        config: &RunConfig,
        mut facts: serde_json::Value,
        files: &[(&str, &[u8])],
    ) -> Result<RunDir> {
        facts["device"] = format!("{:?}", self.device).into();
        new_run(verb, path, self.out.as_deref(), config, facts, files)
    }
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
