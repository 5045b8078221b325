//! An experiment by a plan: runs that start from one another, scores, a table; done work stays done.
#![allow(clippy::unwrap_used, reason = "test code: a panic is a failed test")]

use std::path::Path;
use std::process::{Command, Output};

const SFT: &str = "
[model]
hidden_size = 64
num_hidden_layers = 1
intermediate_size = 64
[sft]
steps = 2
checkpoint_every = 1
probe_every = 9
[sft.data]
scenes_per_step = 2
";
const TOK: &str = "
[tok]
iterations = 1
";
const RL: &str = "
[rl]
iterations = 2
prompts = 2
group_size = 2
checkpoint_every = 1
probe_every = 9
probe_examples = 1
";
const PLAN: &str = r#"
seeds = [1, 2]
compare = [["after", "before"]]
[scores]
splits = ["seen", "style"]
limit = 5
data_seed = 0
[[stage]]
name = "book"
verb = "tok"
config = "tok.toml"
once = true
[[stage]]
name = "start"
verb = "sft"
config = "sft.toml"
tokenizer = "book"
once = true
[[stage]]
name = "rewarded"
verb = "rl"
config = "rl.toml"
from = "start"
seed_offset = 5
[[stage]]
name = "bundle"
verb = "export"
from = "rewarded"
[[row]]
name = "before"
stage = "start"
best_of = 2
[[row]]
name = "after"
stage = "rewarded"
paper = 4.5
[[row]]
name = "packed"
stage = "bundle"
"#;

fn experiment(folder: &Path, more: &[&str]) -> Output {
    let (plan, out) = (folder.join("plan.toml"), folder.join("out"));
    Command::new(env!("CARGO_BIN_EXE_trainer"))
        .arg("experiment")
        .args([&plan, Path::new("--out"), &out])
        .args(more)
        .output()
        .unwrap()
}

#[test]
fn a_plan_is_run_once_and_drawn_as_a_table() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("sft.toml", SFT);
    write("rl.toml", RL);
    write("tok.toml", TOK);
    write("plan.toml", PLAN);

    let run = |more: &[&str]| {
        let output = experiment(folder.path(), more);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        ["== tok book", "== sft start", "== rl rewarded", "== export bundle"]
            .map(|stage| said.matches(stage).count())
    };
    assert_eq!(run(&["--seed", "1"]), [1, 1, 1, 1], "one seed alone");
    assert_eq!(run(&[]), [0, 0, 1, 1], "the other, from the runs that serve all seeds");
    let seed = |run: &str| {
        let facts = std::fs::read(folder.path().join(run).join("run.json")).unwrap();
        serde_json::from_slice::<serde_json::Value>(&facts).unwrap()["seed"].clone()
    };
    assert_eq!((seed("out/runs/start"), seed("out/runs/rewarded-2")), (1.into(), 7.into()));
    let none = experiment(folder.path(), &["--seed", "7"]);
    assert!(String::from_utf8_lossy(&none.stderr).contains("no seed 7"));

    std::fs::remove_file(folder.path().join("out/scores/rewarded-local-1-2-seen.jsonl")).unwrap();
    let again = experiment(folder.path(), &[]);
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(again.status.success() && !said.contains("=="), "nothing is trained again: {said}");
    assert_eq!(said.matches(" right").count(), 1, "what was lost is scored again: {said}");

    let table = String::from_utf8(experiment(folder.path(), &["--table"]).stdout).unwrap();
    for part in ["| | seen | style | paper |", "| after − before |", "| rewarded | 2 |", "4.50"] {
        assert!(table.contains(part), "{part}: {table}");
    }
}

#[test]
fn a_failing_stage_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("sft.toml", "[sft]\nsteps = 0\n");
    write("rl.toml", RL);
    write("tok.toml", TOK);
    write("plan.toml", &PLAN.replace("tokenizer = \"book\"", ""));
    let output = experiment(folder.path(), &[]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("`sft.steps` is 0") && said.contains("stage `start` at seed 1"),
        "{said}"
    );
}
