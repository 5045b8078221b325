//! A run that is killed and resumed ends bit-equal to one that was left alone.
#![allow(clippy::unwrap_used, reason = "test code: a panic is a failed test")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn sft(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trainer"));
    command.current_dir(root()).arg("sft").args(args).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Final weights, optimizer state and metrics.
fn end(run: &Path) -> [Vec<u8>; 3] {
    [
        "checkpoints/step-000012/model.safetensors",
        "checkpoints/step-000012/optim.safetensors",
        "metrics.jsonl",
    ]
    .map(|name| std::fs::read(run.join(name)).unwrap())
}

/// Lines of `metrics.jsonl` so far.
fn lines(run: &Path) -> usize {
    std::fs::read_to_string(run.join("metrics.jsonl")).map_or(0, |text| text.lines().count())
}

#[test]
fn kill_and_resume_is_bit_equal() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, cut) = (folder.path().join("whole"), folder.path().join("cut"));
    let config = ["--config", "configs/smoke.toml", "--out"];
    assert!(sft(&[&config[..], &[&whole.to_string_lossy()]].concat()).status().unwrap().success());

    let mut first = sft(&[&config[..], &[&cut.to_string_lossy()]].concat()).spawn().unwrap();
    // Killed ten times, after these numbers of steps; checkpoints are written every 4.
    for steps in [1, 2, 3, 5, 6, 7, 7, 9, 10, 11] {
        let patience = Instant::now();
        while lines(&cut) < steps && first.try_wait().unwrap().is_none() {
            assert!(patience.elapsed() < Duration::from_mins(5), "the run does not move");
            std::thread::sleep(Duration::from_millis(5));
        }
        first.kill().unwrap();
        first.wait().unwrap();
        first = sft(&["--resume", &cut.to_string_lossy()]).spawn().unwrap();
    }
    assert!(first.wait().unwrap().success());
    let torn = cut.join("checkpoints/step-000012/optim.safetensors");
    let equal = end(&whole).iter().zip(end(&cut)).all(|(a, b)| *a == b);
    assert!(equal, "a resumed run differs from an uninterrupted one");

    std::fs::write(&torn, b"torn").unwrap();
    assert!(sft(&["--resume", &cut.to_string_lossy()]).status().unwrap().success());
    assert_eq!(end(&whole), end(&cut), "a torn checkpoint is made again from the one before");
}

#[test]
fn one_seed_gives_one_run_and_another_seed_another() {
    let folder = tempfile::tempdir().unwrap();
    let run = |name: &str, seed: &str| {
        let out = folder.path().join(name);
        let args = ["--config", "configs/smoke.toml", "--seed", seed, "--out"];
        let done = sft(&[&args[..], &[&out.to_string_lossy()]].concat()).status().unwrap();
        assert!(done.success());
        end(&out)
    };
    let [first, again, other] =
        [("first", "5"), ("again", "5"), ("other", "6")].map(|(a, b)| run(a, b));
    assert!(first == again, "one seed, two runs");
    assert!(first[0] != other[0] && first[2] != other[2], "two seeds, one run");
}

#[test]
fn rewards_resume_bit_equal_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let rl = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trainer"));
        command.current_dir(root()).arg("rl").args(args);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    let start = ["--config", "configs/smoke.toml", "--init", "models/tiny", "--out"];
    let (whole, cut) = (path("whole"), path("cut"));
    assert!(rl(&[&start[..], &[&whole]].concat()).status().unwrap().success());
    let mut first = rl(&[&start[..], &[&cut]].concat()).spawn().unwrap();
    // Iterations 0–2 and the first look make four lines; the checkpoint is that of iteration 2.
    while lines(Path::new(&cut)) < 4 && first.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(5));
    }
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(rl(&["--resume", &cut]).status().unwrap().success());
    let end = |run: &str| {
        ["model.safetensors", "optim.safetensors"].map(|name| {
            std::fs::read(Path::new(run).join("checkpoints/step-000004").join(name)).unwrap()
        })
    };
    assert!(end(&whole) == end(&cut), "a resumed run differs from an uninterrupted one");
}

#[test]
fn a_folder_with_a_run_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.toml"), "mine").unwrap();
    let out = folder.path().to_string_lossy().into_owned();
    assert_eq!(
        sft(&["--config", "configs/smoke.toml", "--out", &out]).status().unwrap().code(),
        Some(1)
    );
    assert_eq!(std::fs::read_to_string(folder.path().join("config.toml")).unwrap(), "mine");
}
