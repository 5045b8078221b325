//! `trainer bench edit`: whole edits of a model in each mode.

use super::clock::median;
use crate::device::DeviceName;
use crate::store::Stored;
use anyhow::Result;
use earl_model::{EditEvent, EditRequest, Editor, Mode};
use earl_scenes::{Split, example, render};
use serde_json::{Value, json};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

/// Flags of `bench edit`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The model.
    #[arg(long, default_value = "models/tiny")]
    model: PathBuf,
    /// Edits in each mode.
    #[arg(long, default_value_t = 44)]
    limit: u64,
}

/// Median and worst milliseconds, tokens and forward passes an edit, by mode.
///
/// # Errors
/// For a model that can't be read, or an edit that fails.
pub(super) fn measure(args: &Args) -> Result<Value> {
    let editor = Stored::read(&args.model)?.editor(&DeviceName::Flex.open()?)?;
    let mut modes = serde_json::Map::new();
    for mode in [Mode::Local, Mode::Think, Mode::Full] {
        let name = serde_json::to_value(mode)?.as_str().unwrap_or_default().to_owned();
        modes.insert(name, edits(&editor, mode, args.limit)?);
    }
    Ok(json!({ "edits": args.limit, "modes": modes }))
}

fn edits(editor: &Editor, mode: Mode, limit: u64) -> Result<Value> {
    let (mut times, mut tokens, mut forwards) = (Vec::new(), 0, 0);
    for index in 0..limit {
        let example = example(0, index, Split::Seen, None);
        let source = render(&example.scene, example.style);
        let request =
            EditRequest { instruction: example.instruction, mode, ..EditRequest::default() };
        let mut ignore = |_: &EditEvent| ControlFlow::Continue(());
        let start = Instant::now();
        let outcome = pollster::block_on(editor.edit(&source, &request, &mut ignore))?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
        tokens += outcome.tokens;
        forwards += outcome.forwards;
    }
    let median = median(&mut times);
    Ok(json!({
        "median_ms": median, "worst_ms": times.last(),
        "tokens_per_edit": tokens as f64 / limit as f64,
        "forwards_per_edit": forwards as f64 / limit as f64,
    }))
}
