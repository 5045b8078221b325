//! What goes wrong around a run: kills at any moment, a full disk, numbers that are none, bad input.
#![allow(clippy::unwrap_used, reason = "test code: a panic is a failed test")]

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The model of `configs/smoke.toml`, for runs of seconds.
const SFT: &str = "[model]\nhidden_size = 64\nnum_hidden_layers = 2\nintermediate_size = 128\n\
    [sft]\nsteps = 12\ncheckpoint_every = 2\nprobe_every = 12\nprobe_examples = 1\n\
    [sft.data]\nscenes_per_step = 2\n\
    [sft.optim]\nwarmup_steps = 4\nmuon = false\n";
const RL: &str = "[rl]\niterations = 6\nprompts = 4\ngroup_size = 4\ncheckpoint_every = 2\n\
    probe_every = 6\nprobe_examples = 1\n[rl.optim]\nlearning_rate = 1e-3\nwarmup_steps = 1\n\
    [rl.data.ops]\ncount = 9.0\nswap = 9.0\n";

const VERIFIER: &str = "[verifier]\nsteps = 6\nupdates = 3\nbatch = 8\nprompts = 4\ngroup_size = 2\n\
    checkpoint_every = 1\n";

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        std::fs::write(place.path("sft.toml"), SFT).unwrap();
        std::fs::write(place.path("rl.toml"), RL).unwrap();
        std::fs::write(place.path("verifier.toml"), VERIFIER).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn trainer(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trainer"));
        command.current_dir(self.0.path()).args(args);
        command
    }

    /// Starts the run, or goes on with it if there is one.
    fn go(&self, verb: &str, run: &str) -> Command {
        let mut command = if self.path(run).join("config.toml").exists() {
            self.trainer(&[verb, "--resume", run])
        } else {
            let tiny = root().join("models/tiny");
            let config = format!("{verb}.toml");
            let given = if verb == "sft" { "--tokenizer" } else { "--init" };
            let tiny = &*tiny.to_string_lossy();
            self.trainer(&[verb, "--config", &config, "--out", run, given, tiny])
        };
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// Final weights, optimizer state and metrics; what a clock says left out.
    fn end(&self, run: &str, step: u64) -> (Vec<u8>, Vec<u8>, Vec<Value>) {
        let folder = self.path(run).join(format!("checkpoints/step-{step:06}"));
        let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
        (read("model.safetensors"), read("optim.safetensors"), self.metrics(run))
    }

    fn metrics(&self, run: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.path(run).join("metrics.jsonl")).unwrap();
        let line = |line: &str| {
            let mut line: Value = serde_json::from_str(line).unwrap();
            for clock in ["seconds", "sampled_per_second"] {
                line.as_object_mut().unwrap().remove(clock);
            }
            line
        };
        text.lines().map(line).collect()
    }

    /// The newest checkpoint's step.
    fn newest(&self, run: &str) -> Option<u64> {
        let entries = std::fs::read_dir(self.path(run).join("checkpoints")).ok()?;
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter_map(|name| name.strip_prefix("step-")?.parse().ok()).max()
    }

    /// Everything in the folder, by path.
    fn listing(&self) -> Vec<PathBuf> {
        fn list(folder: &Path, found: &mut Vec<PathBuf>) {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    list(&path, found);
                }
                found.push(path);
            }
        }
        let mut found = Vec::new();
        list(self.0.path(), &mut found);
        found.sort();
        found
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Of ten kills of a run, those that met it at work.
fn kills(place: &Place, verb: &str, longest_ms: u64, seed: u64) -> usize {
    let mut draw = 0x9e37_79b9_7f4a_7c15u64 ^ seed;
    let mut kills = 0;
    for _ in 0..10 {
        draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mut child = place.go(verb, "cut").spawn().unwrap();
        std::thread::sleep(Duration::from_millis((draw >> 33) % longest_ms));
        kills += usize::from(child.try_wait().unwrap().is_none());
        child.kill().ok();
        child.wait().unwrap();
    }
    kills
}

/// Kills a run at ten moments drawn from a seed, start and checkpoints included. The longest wait is a
/// share of what the run takes here, so that it needs many tries however fast the machine is; if it was over too
/// soon (other work had slowed down what was timed), it begins anew with waits half as long.
fn killed_ten_times(verb: &str, steps: u64) {
    let place = Place::new();
    let start = Instant::now();
    assert!(place.go(verb, "whole").status().unwrap().success());
    let mut longest_ms = start.elapsed().as_millis() as u64 / 4;
    while kills(&place, verb, longest_ms, steps) < 5 {
        longest_ms /= 2;
        assert!(longest_ms > 20, "no kill meets a run that is at work");
        std::fs::remove_dir_all(place.path("cut")).unwrap();
    }
    // A torn newest checkpoint on top.
    let mut known: Vec<PathBuf> = std::fs::read_dir(place.path("cut/checkpoints"))
        .map(|entries| entries.map(|entry| entry.unwrap().path()).collect())
        .unwrap_or_default();
    known.sort();
    if let Some(newest) = known.iter().rev().find(|path| path.join("state.json").exists()) {
        std::fs::write(newest.join("model.safetensors"), b"torn").unwrap();
    }
    assert!(place.go(verb, "cut").status().unwrap().success());
    let (whole, cut) = (place.end("whole", steps), place.end("cut", steps));
    assert_eq!(whole.2, cut.2, "other metrics");
    assert!((whole.0, whole.1) == (cut.0, cut.1), "other weights");
}

#[test]
fn ten_kills_of_sft_change_nothing() {
    killed_ten_times("sft", 12);
}

#[test]
fn ten_kills_of_rl_change_nothing() {
    killed_ten_times("rl", 6);
}

#[test]
fn ten_kills_of_a_verifiers_training_change_nothing() {
    killed_ten_times("verifier", 6);
}

/// The disk is "full" for any file as large as a checkpoint.
#[test]
fn a_full_disk_is_said_and_keeps_the_last_good_checkpoint() {
    let place = Place::new();
    assert!(place.go("sft", "whole").status().unwrap().success());
    let mut cut = place.go("sft", "full").spawn().unwrap();
    let patience = Instant::now();
    while place.newest("full").is_none_or(|step| step < 4) {
        assert!(patience.elapsed() < Duration::from_mins(3), "no checkpoint");
        std::thread::sleep(Duration::from_millis(5));
    }
    cut.kill().unwrap();
    cut.wait().unwrap();
    let newest = place.newest("full").unwrap();
    let (good, next) = (format!("step-{newest:06}"), format!("step-{:06}", newest + 2));
    std::fs::remove_dir_all(place.path("full/checkpoints/.fresh")).ok();
    let before = place.listing();

    let limited = "trap '' XFSZ; ulimit -f 400; exec \"$0\" \"$@\"";
    let trainer = env!("CARGO_BIN_EXE_trainer");
    let output = Command::new("sh")
        .current_dir(place.0.path())
        .args(["-c", limited, trainer, "sft", "--resume", "full"])
        .output()
        .unwrap();
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let good = format!("the last good checkpoint is `full/checkpoints/{good}`");
    for part in [&*next, &*good, "hint: make room"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    assert_eq!(place.listing(), before, "nothing is left of the attempt");
    assert!(place.go("sft", "full").status().unwrap().success());
    let (whole, full) = (place.end("whole", 12), place.end("full", 12));
    assert!((whole.0, whole.1) == (full.0, full.1), "other weights");
}

#[test]
fn a_loss_that_is_no_number_names_step_batch_and_checkpoint() {
    let place = Place::new();
    let tiny = root().join("models/tiny");
    let tiny = &*tiny.to_string_lossy();
    for (verb, steps, given) in
        [("sft", "steps = 4", "--tokenizer"), ("rl", "iterations = 2", "--init")]
    {
        let (run, config) = (format!("{verb}-run"), format!("{verb}.toml"));
        let count = if verb == "sft" { ["--steps", "4"] } else { ["--iterations", "2"] };
        let start = [verb, "--config", &config, "--out", &run, given, tiny];
        let started = place.trainer(&[&start[..], &count].concat()).output().unwrap();
        assert!(started.status.success(), "{}", said(&started));
        // Longer, and with a weight beyond what a float32 holds.
        let config = place.path(&run).join("config.toml");
        let text = std::fs::read_to_string(&config).unwrap();
        let broken = text.replace(steps, &steps.replace(['2', '4'], "12"));
        let broken = broken.replace("code_weight = 1.0", "code_weight = 1e300");
        std::fs::write(&config, broken.replace("kl = 0.001", "kl = 1e300")).unwrap();
        let output = place.trainer(&[verb, "--resume", &run]).output().unwrap();
        let text = said(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        let newest = place.newest(&run).unwrap();
        let good = format!("the last good checkpoint is `{run}/checkpoints/step-{newest:06}`");
        let parts = if verb == "sft" {
            ["at step 4 (scenes 8–9 of `sft.data.seed` = 1)", "the loss of step 4 is inf"]
                .map(str::to_owned)
        } else {
            // Iterations whose groups earn the same each have no loss, whatever its weight.
            let prompts = format!("train-{}-0, train-{}-0", 4 * newest, 4 * newest + 1);
            [format!("at iteration {newest}"), format!("training on prompts {prompts}")]
        };
        for part in parts.iter().chain(&[good, "the loss ".to_owned()]) {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }
}

#[test]
#[allow(clippy::too_many_lines, reason = "one line a bad input")]
fn bad_input_is_named_with_a_hint_and_leaves_nothing() {
    let place = Place::new();
    let tiny = root().join("models/tiny");
    let tiny = &*tiny.to_string_lossy();
    let picture = root().join("docs/sample.png");
    let pair = serde_json::json!({ "source": picture, "edit": picture, "instruction": "x" });
    let write = |name: &str, bytes: &[u8]| std::fs::write(place.path(name), bytes).unwrap();
    write("pairs.jsonl", pair.to_string().as_bytes());
    write("lost.jsonl", pair.to_string().replace("sample.png", "none.png").as_bytes());
    write("torn.jsonl", b"{\"source\": 3");
    write("empty.jsonl", b"");
    write("key.toml", b"[rl]\niterationz = 3\n");
    write("rule.toml", b"[rl]\ngroup_size = 1\n");
    write("file", b"a file, no folder");

    // Weights that hold a NaN, and half a file.
    let export =
        ["export", "--model", tiny, "--format", "safetensors", "--out", "tiny.safetensors"];
    let exported = place.trainer(&export).output().unwrap();
    assert!(exported.status.success(), "{}", said(&exported));
    let mut bytes = std::fs::read(place.path("tiny.safetensors")).unwrap();
    let cut = bytes.len() / 2;
    write("cut.safetensors", &bytes[..cut]);
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    write("nan.safetensors", &bytes);
    bytes[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    write("lie.safetensors", &bytes);

    let before = place.listing();
    let out = ["--out", "made"];
    let cases: &[(&[&str], &str)] = &[
        (&["sft", "--config", "none.toml"], "reading `none.toml`"),
        (&["sft", "--config", "key.toml"], "unknown field `iterationz`"),
        (&["sft", "--config", "sft.toml", "--init", "none"], "there is no model at `none`"),
        (&["sft", "--config", "sft.toml", "--init", tiny], "another size"),
        (&["sft", "--config", "sft.toml", "--init", "nan.safetensors"], "holds NaN"),
        (&["sft", "--config", "sft.toml", "--init", "cut.safetensors"], "`cut.safetensors`"),
        (&["sft", "--config", "sft.toml", "--init", "lie.safetensors"], "`lie.safetensors`"),
        (&["rl", "--config", "none.toml", "--init", tiny], "reading `none.toml`"),
        (&["rl", "--config", "key.toml", "--init", tiny], "unknown field `iterationz`"),
        (&["rl", "--config", "rule.toml", "--init", tiny], "`rl.group_size` is 1"),
        (&["rl", "--config", "rl.toml", "--init", "none"], "there is no model at `none`"),
        (&["rl", "--config", "rl.toml", "--init", "nan.safetensors"], "holds NaN"),
        (&["rl", "--config", "rl.toml", "--init", "cut.safetensors"], "`cut.safetensors`"),
        (&["rl", "--config", "rl.toml", "--init", tiny, "--rollouts", "none"], "reading `none`"),
        (
            &["rl", "--config", "rl.toml", "--init", tiny, "--rollouts", "empty.jsonl"],
            "it is empty",
        ),
        (&["judge", "--pairs", "none.jsonl"], "reading `none.jsonl`"),
        (&["judge", "--pairs", "lost.jsonl"], "`lost.jsonl`, line 1"),
        (&["judge", "--pairs", "torn.jsonl"], "`torn.jsonl`, line 1"),
        (&["judge", "--pairs", "empty.jsonl"], "holds no edit"),
        (
            &["judge", "--pairs", "pairs.jsonl", "--config", "key.toml"],
            "unknown field `iterationz`",
        ),
        (&["judge", "--pairs", "pairs.jsonl", "--endpoint", "ftp://x"], "must begin with http://"),
    ];
    let check = |args: &[&str], part: &str| {
        let output = place.trainer(args).output().unwrap();
        let text = said(&output);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {text}");
        assert!(text.contains(part), "{args:?}: {part} is not in {text}");
        assert!(text.contains("hint: "), "{args:?}: no hint in {text}");
        assert_eq!(place.listing(), before, "{args:?} left something");
    };
    for (args, part) in cases {
        check(&[args, &out[..]].concat(), part);
    }
    let below = ["--out", "file/made"];
    check(&[&["sft", "--config", "sft.toml"], &below[..]].concat(), "file/made");
    check(&[&["rl", "--config", "rl.toml", "--init", tiny], &below[..]].concat(), "file/made");
    check(&[&["judge", "--pairs", "pairs.jsonl"], &below[..]].concat(), "file/made");
    for args in [&["sft"][..], &["rl", "--config", "rl.toml"], &["judge"]] {
        assert_eq!(place.trainer(args).output().unwrap().status.code(), Some(2), "{args:?}");
    }
}
