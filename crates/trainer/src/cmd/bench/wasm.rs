//! `trainer bench wasm`: the browser's CPU module beside native code, the same edits in turns.
//!
//! The module runs in Node, whose engine is Chromium's; native code gets one thread, as the module has.

use super::clock::{Clock, median};
use crate::hint;
use crate::store::open_bundle;
use anyhow::{Context, Result, ensure};
use burn::tensor::Device;
use earl_model::Editor;
use earl_model::checkpoint::known::KnownAnswer;
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Flags of `bench wasm`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The bundle whose known answers are written.
    #[arg(long, default_value = "models/tiny")]
    model: PathBuf,
    /// Folder of `earl_cpu.js`, as `cargo xtask modules` writes it.
    #[arg(long, default_value = "web/wasm")]
    modules: PathBuf,
    /// Rounds of all known answers, each side once a round; one more before them is not counted.
    #[arg(long, default_value_t = 9)]
    rounds: usize,
}

const SCRIPT: &str = include_str!("../../../../../benches/wasm/known.mjs");

/// Median milliseconds of a round on each side, and native's share of the module's time.
///
/// # Errors
/// For a bundle or module that can't be read, without Node, or if an answer comes out otherwise.
pub(super) fn measure(args: &Args) -> Result<Value> {
    let bundle = open_bundle(&args.model.join("manifest.json"))?;
    let editor = Editor::load(&bundle, &Device::flex())?;
    let known = &bundle.manifest().kat;
    ensure!(!known.is_empty(), "`{}` tells no known answers", args.model.display());
    let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;

    let folder = tempfile::tempdir()?;
    let script = folder.path().join("known.mjs");
    fs::write(&script, SCRIPT)?;
    let module = args.modules.canonicalize().map_err(|problem| {
        let message = format!("`{}`: {problem}", args.modules.display());
        hint::error(message, "`cargo xtask modules` builds the modules")
    })?;
    let mut node = Command::new("node")
        .args([&script, &module, &args.model.canonicalize()?])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|problem| {
            hint::error(format!("`node`: {problem}"), "install Node 20.19 or later")
        })?;
    let (mut asks, answers) =
        node.stdin.take().zip(node.stdout.take()).context("node has no pipes")?;
    let mut answers = BufReader::new(answers).lines();
    let (mut native, mut wasm) = (Vec::new(), Vec::new());
    for round in 0..=args.rounds {
        let clock = Clock::start();
        alone.install(|| known.iter().try_for_each(|known| ask(&editor, known)))?;
        let own = clock.lap().wall * 1e3;
        writeln!(asks, "go")?;
        let line = answers.next().context("node ended; its reason stands above")??;
        let other: f64 = line.trim().parse().with_context(|| format!("node said `{line}`"))?;
        if round > 0 {
            native.push(own);
            wasm.push(other);
        }
    }
    drop(asks);
    node.wait()?;
    let (native, wasm) = (median(&mut native), median(&mut wasm));
    Ok(json!({
        "edits": known.len(), "rounds": args.rounds, "native_ms": native, "wasm_ms": wasm,
        "wasm_speed_of_native": native / wasm,
    }))
}

fn ask(editor: &Editor, known: &KnownAnswer) -> Result<()> {
    let agreement = pollster::block_on(known.check(editor))?;
    ensure!(agreement.exact, "the known answer to “{}” came out otherwise", known.instruction);
    Ok(())
}
