//! Makes and scores what an experiment's folder does not hold yet, seed after seed.

use super::plan::{Plan, Row, Stage, Verb};
use super::score;
use crate::config::RunConfig;
use crate::interrupt;
use crate::run_dir::RunDir;
use crate::store::Stored;
use anyhow::{Context, Result, bail};
use burn::tensor::Device;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs a plan to its end in `out`, at the seeds in `only` if there are any.
///
/// # Errors
/// If a run or a score fails, or the plan has no such seed; what is done stays, and the same call goes on.
pub(crate) fn run_all(plan: &Plan, only: &[u64], out: &Path, device: &Device) -> Result<()> {
    if let Some(seed) = only.iter().find(|seed| !plan.seeds.contains(seed)) {
        bail!("the plan has no seed {seed}; it has {:?}", plan.seeds);
    }
    for &seed in plan.seeds.iter().filter(|seed| only.is_empty() || only.contains(seed)) {
        for stage in &plan.stages {
            make(plan, stage, seed, out)?;
            for row in plan.rows.iter().filter(|row| row.stage == stage.name) {
                if plan.seeds_of(row)?.contains(&seed) {
                    score_row(plan, stage, row, seed, out, device)?;
                }
            }
        }
    }
    Ok(())
}

/// The folder of a stage's run.
#[must_use]
pub(crate) fn run_folder(stage: &Stage, seed: u64, out: &Path) -> PathBuf {
    let name = if stage.once { stage.name.clone() } else { format!("{}-{seed}", stage.name) };
    out.join("runs").join(name)
}

/// Makes a stage unless it is at its end.
fn make(plan: &Plan, stage: &Stage, seed: u64, out: &Path) -> Result<()> {
    let folder = run_folder(stage, seed, out);
    if finished(stage, &folder)? {
        return Ok(());
    }
    eprintln!("== {} {}, seed {seed}", stage.verb.name(), stage.name);
    if stage.verb == Verb::Tok && folder.is_dir() {
        // Made in a minute and not resumable: what a stop left of it is made anew.
        std::fs::remove_dir_all(&folder)
            .with_context(|| format!("removing `{}`", folder.display()))?;
    }
    let program = std::env::current_exe().context("finding this program")?;
    let status = Command::new(program)
        .args(arguments(plan, stage, seed, out)?)
        .status()
        .context("starting a run")?;
    if !status.success() {
        bail!("stage `{}` at seed {seed} failed ({status}); its message stands above", stage.name);
    }
    if interrupt::asked() || !finished(stage, &folder)? {
        bail!("stopped in `{}`; the same command goes on from there", folder.display());
    }
    Ok(())
}

/// The command line that makes a stage, or goes on with it.
fn arguments(plan: &Plan, stage: &Stage, seed: u64, out: &Path) -> Result<Vec<OsString>> {
    let folder = run_folder(stage, seed, out);
    let trains = stage.verb.trains();
    let mut args: Vec<OsString> = vec![stage.verb.name().into()];
    let mut add = |flag: &str, value: OsString| args.extend([flag.into(), value]);
    if trains && folder.join("config.toml").is_file() {
        add("--resume", folder.into());
        return Ok(args);
    }
    add("--out", folder.into());
    if trains {
        add("--seed", (seed + stage.seed_offset).to_string().into());
    }
    if let Some(config) = plan.config(stage) {
        add("--config", config.into());
    }
    let folder_of =
        |parent: &str| Ok::<_, anyhow::Error>(run_folder(plan.stage(parent)?, seed, out));
    if let Some(from) = &stage.from {
        add(if trains { "--init" } else { "--model" }, folder_of(from)?.into());
    }
    if let Some(tokenizer) = &stage.tokenizer {
        add("--tokenizer", folder_of(tokenizer)?.join("weights/tokenizer.safetensors").into());
    }
    args.extend(stage.flags.iter().map(OsString::from));
    Ok(args)
}

/// Is a stage at its end?
fn finished(stage: &Stage, folder: &Path) -> Result<bool> {
    let written_last = match stage.verb {
        Verb::Tok => "tokenizer.json",
        Verb::Export => "manifest.json",
        Verb::Sft | Verb::Rl | Verb::Verifier => "weights/model.safetensors",
    };
    if !folder.join(written_last).is_file() {
        return Ok(false);
    }
    if !stage.verb.trains() {
        return Ok(true);
    }
    let run = RunDir::open(folder)?;
    let config = RunConfig::parse(&run.config()?)?;
    let last = match stage.verb {
        Verb::Rl => config.rl.iterations,
        Verb::Verifier => config.verifier.steps,
        _ => config.sft.steps,
    };
    let latest = std::fs::read_to_string(run.path("latest")).unwrap_or_default();
    Ok(latest.trim().parse() == Ok(last))
}

/// Scores a row on the splits that have no scores yet.
fn score_row(
    plan: &Plan,
    stage: &Stage,
    row: &Row,
    seed: u64,
    out: &Path,
    device: &Device,
) -> Result<()> {
    let mut editor = None;
    for &split in &plan.scores.splits {
        if interrupt::asked() {
            bail!("stopped; the same command goes on from there");
        }
        let path = score::path(out, row, seed, split);
        if path.is_file() {
            continue;
        }
        if editor.is_none() {
            editor = Some(Stored::read(&run_folder(stage, seed, out))?.editor(device)?);
        }
        if let Some(editor) = &editor {
            let rows = score::score(editor, plan, row, seed, split)?;
            let right = rows.iter().filter(|row| row.success).count();
            eprintln!(
                "   {}, seed {seed}, {}: {right} of {} right",
                row.name,
                split.split().name(),
                rows.len()
            );
            score::write(&path, &rows)?;
        }
    }
    Ok(())
}
