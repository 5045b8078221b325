//! The whole path with `configs/smoke.toml`: scenes → tok → sft → rl → export → edit → eval → report.
#![allow(clippy::unwrap_used, reason = "test code: a panic is a failed test")]

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn trainer(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_trainer"))
        .current_dir(root())
        .args(args)
        .output()
        .unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
#[allow(clippy::too_many_lines, reason = "one path, told in order")]
fn from_scenes_to_an_edited_picture() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let (scenes, tok, run, bundle) = (path("scenes"), path("tok"), path("run"), path("bundle"));
    trainer(&["scenes", "--count", "12", "--seed", "7", "--out", &scenes]);
    let made = |name: &str| folder.path().join(name);
    assert_eq!(std::fs::read_to_string(made("scenes/examples.jsonl")).unwrap().lines().count(), 12);

    let report: Value = serde_json::from_str(&trainer(&[
        "tok",
        "--config",
        "configs/smoke.toml",
        "--out",
        &tok,
        "--limit",
        "22",
        "--json",
    ]))
    .unwrap();
    assert_eq!(report["splits"]["seen"]["accepted"], 22, "every true edit survives the tokenizer");

    let end: Value = serde_json::from_str(&trainer(&[
        "sft",
        "--config",
        "configs/smoke.toml",
        "--out",
        &run,
        "--json",
    ]))
    .unwrap();
    assert_eq!(end["step"], 12);
    let losses: Vec<f64> = std::fs::read_to_string(made("run/metrics.jsonl"))
        .unwrap()
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).unwrap()["loss"].as_f64())
        .collect();
    assert_eq!(losses.len(), 12);
    assert!(losses[11] < losses[0], "the loss falls: {losses:?}");

    let rewarded = path("rewarded");
    let end: Value = serde_json::from_str(&trainer(&[
        "rl",
        "--config",
        "configs/smoke.toml",
        "--init",
        &run,
        "--out",
        &rewarded,
        "--save-rollouts",
        "--json",
    ]))
    .unwrap();
    assert_eq!((end["iteration"].as_u64(), end["rollouts"].as_u64()), (Some(4), Some(64)));
    assert!(end["last"]["logprob_gap"].as_f64().unwrap() <= 1e-4, "{end}");
    assert_eq!(
        std::fs::read_to_string(made("rewarded/rollouts.jsonl")).unwrap().lines().count(),
        16
    );

    trainer(&["export", "--model", &rewarded, "--out", &bundle]);
    let facts: Value = serde_json::from_str(&trainer(&["inspect", &bundle, "--json"])).unwrap();
    assert_eq!(facts["bundle"]["version"], 1);
    let edited = path("edited.png");
    trainer(&[
        "edit",
        "--model",
        &bundle,
        &path("scenes/source/000000.png"),
        "remove the cat",
        "-o",
        &edited,
    ]);
    assert_eq!(image::open(&edited).unwrap().height(), 64);

    let bench = path("scenes/examples.jsonl");
    let scores: Value = serde_json::from_str(&trainer(&[
        "eval",
        "--model",
        &bundle,
        "--bench-file",
        &bench,
        "--json",
    ]))
    .unwrap();
    assert_eq!((scores["n"].as_u64(), scores["split"].as_str()), (Some(12), Some("file")));
    assert_eq!(scores["baselines"]["copy_source"]["success"], 0.0, "a copy is never a success");
    assert_eq!(scores["baselines"]["true_edit"]["success"], 1.0);

    trainer(&["report", &run, "-o", &path("report.html")]);
    let page = std::fs::read_to_string(made("report.html")).unwrap();
    assert!(page.contains("<svg") && !page.contains("http-equiv") && !page.contains("src=\"http"));
}
