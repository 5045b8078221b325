//! Evaluations from outside: comparisons, a served judge, public benches, pages. The served judge is a local
//! server.
#![allow(clippy::unwrap_used, reason = "test code: a panic is a failed test")]

mod compared;
mod public;
mod report;

use earl_tests::judge::{completion, endpoint, reply, shows_both};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn trainer(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_trainer")).current_dir(root()).args(args).output().unwrap()
}

/// The JSON object that a call prints, and what it says beside it.
fn answer(args: &[&str]) -> (Value, String) {
    let output = trainer(args);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{args:?}: {said}");
    (serde_json::from_slice(&output.stdout).unwrap(), said)
}

/// What a failing call says.
fn failure(args: &[&str]) -> String {
    let output = trainer(args);
    assert_eq!(output.status.code(), Some(1), "{args:?}");
    assert!(output.stdout.is_empty(), "{args:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

/// A judge that answers a question about an instruction as `pair` says: SC if two pictures are shown, else PQ;
/// `None` is a broken server. Gives its address and the number of questions so far.
fn judge(
    pair: impl Fn(&str, bool) -> Option<[u32; 2]> + Send + Sync + 'static,
) -> (String, Arc<AtomicUsize>) {
    endpoint(move |_, request, body| match pair(&body, shows_both(&body)) {
        Some(pair) => reply(request, 200, &completion(&json!({ "score": pair }).to_string())),
        None => reply(request, 500, "broken"),
    })
}

/// A configuration that gives up at once.
fn impatient(folder: &Path) -> String {
    let file = folder.join("judge.toml");
    let text = "[judge]\nbackoff_ms = 1\ntries = 1\npatience_s = 0.05\nconcurrency = 2\n";
    std::fs::write(&file, text).unwrap();
    file.to_string_lossy().into_owned()
}
