//! Bad and unusual input to the verbs, from outside: every kind of picture, damaged models, places that can't be
//! written.
#![allow(clippy::unwrap_used, reason = "test code: a panic is a failed test")]

mod damaged;
mod pictures;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn trainer(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_trainer")).current_dir(root()).args(args).output().unwrap()
}

/// What a call that must fail says; it prints nothing on stdout and never panics.
fn failure(args: &[&str]) -> String {
    let output = trainer(args);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
    assert!(output.stdout.is_empty(), "{args:?}");
    assert!(said.contains("error: ") && !said.contains("panicked"), "{args:?}: {said}");
    said
}
