//! Who judges an evaluation, from the flags.

use super::Args;
use crate::config::RunConfig;
use crate::hint;
use crate::judge::{Judge, prompt};
use anyhow::{Result, bail};
use clap::ValueEnum;

/// Judges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum JudgeName {
    /// By rule, from what a scene's check accepts.
    Oracle,
    /// A served multimodal model (`VIEScore`), as `[judge]` and the flags say.
    Mllm,
}

/// A served judge, and what to call it in reports.
pub(super) struct Served {
    /// The judge.
    pub judge: Judge,
    /// Version of the questions and the model's name.
    pub name: String,
}

/// The served judge, if the flags ask for one.
///
/// # Errors
/// For an oracle where there is none, flags of a judge without one, and a broken configuration.
pub(super) fn open(args: &Args, scenes: bool) -> Result<Option<Served>> {
    if args.judge == Some(JudgeName::Oracle) && !scenes {
        return Err(hint::error(
            "`--judge oracle` judges scenes alone; a public bench has no oracle",
            "pass `--judge mllm`, or leave `--judge` out to measure likeness to the targets",
        ));
    }
    if args.judge != Some(JudgeName::Mllm) {
        if args.config.is_some() || args.endpoint.is_some() || args.judge_model.is_some() {
            bail!("`--config`, `--endpoint` and `--judge-model` need `--judge mllm`");
        }
        return Ok(None);
    }
    let mut config = match &args.config {
        Some(path) => RunConfig::read(path)?.judge,
        None => RunConfig::default().judge,
    };
    config.endpoint = args.endpoint.clone().unwrap_or(config.endpoint);
    config.model = args.judge_model.clone().unwrap_or(config.model);
    config.cache = args.cache.clone().or(config.cache);
    let name = format!("{} {}", prompt::VERSION, config.model);
    Ok(Some(Served { judge: Judge::new(&config, [0, 0])?, name }))
}
