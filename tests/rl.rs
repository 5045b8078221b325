//! Training by rewards from outside: rollouts from files, verifiers, and a served judge that comes and goes.
#![allow(clippy::unwrap_used, reason = "test code: a panic is a failed test")]

use earl_tests::judge::{Request, completion, reply, serve};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const SECRET: &str = "sk-very-secret";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Where a test works: `trainer rl` runs there.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trainer"));
        command.current_dir(self.0.path()).env("EARL_JUDGE_KEY", SECRET).arg("rl").args(args);
        command
    }

    /// A new run `out` of a configuration's `[rl]` lines: two iterations of three prompts.
    fn start(&self, out: &str, config: &str, args: &[&str]) -> Command {
        self.start_sized(out, &format!("prompts = 3\ngroup_size = 4\n{config}"), args)
    }

    fn start_sized(&self, out: &str, config: &str, args: &[&str]) -> Command {
        let file = format!("{out}.toml");
        let common = "iterations = 2\nprobe_every = 99\nprobe_examples = 1\n";
        std::fs::write(self.path(&file), format!("[rl]\n{common}{config}")).unwrap();
        let tiny = root().join("models/tiny");
        let tiny = tiny.to_string_lossy();
        self.command(&[&["--config", &file, "--init", &tiny, "--out", out][..], args].concat())
    }

    /// The last checkpoint's weights and optimizer state.
    fn end(&self, run: &str, step: u64) -> [Vec<u8>; 2] {
        let folder = self.path(run).join(format!("checkpoints/step-{step:06}"));
        ["model.safetensors", "optim.safetensors"]
            .map(|name| std::fs::read(folder.join(name)).unwrap())
    }

    /// The lines of a JSONL file of a run.
    fn lines(&self, run: &str, name: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.path(run).join(name)).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Writes a JSONL file.
    fn write_lines(&self, name: &str, lines: &[Value]) {
        let text: Vec<String> = lines.iter().map(Value::to_string).collect();
        std::fs::write(self.path(name), text.join("\n")).unwrap();
    }

    /// The metrics of the iterations, without the looks at held-out edits.
    fn metrics(&self, run: &str) -> Vec<Value> {
        let lines = self.lines(run, "metrics.jsonl").into_iter();
        lines.filter(|line| !line["reward"].is_null()).collect()
    }
}

fn well(output: Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(!said.contains(SECRET), "the key is in the log");
    said
}

fn failure(output: Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("hint: "), "{said}");
    said
}

/// Rollouts that were saved train to the same weights, bit for bit, wherever they come from.
#[test]
fn rollouts_from_a_file_train_what_sampled_ones_train() {
    let place = Place::new();
    let ops = "[rl.data]\nseed = 1011\n[rl.data.ops]\ncount = 9.0\nswap = 9.0\n";
    well(place.start("online", ops, &["--save-rollouts"]).output().unwrap());
    let file = place.path("online/rollouts.jsonl");
    let given = ["--rollouts", &*file.to_string_lossy()];
    well(place.start("offline", ops, &given).output().unwrap());
    assert!(place.end("online", 2) == place.end("offline", 2), "other weights");
    assert!(place.metrics("online").iter().any(|line| line["dropped_groups"] != 3), "all alike");
    for (a, b) in place.metrics("online").iter().zip(&place.metrics("offline")) {
        for key in ["reward", "loss", "loss_control", "kl", "entropy_code", "tokens", "logprob_gap"]
        {
            assert_eq!(a[key], b[key], "{key}");
        }
        assert!(b["logprob_gap"].as_f64().unwrap() <= 1e-4, "the policy is the one that sampled");
    }

    // Without rewards the verifier judges; half the prompts an iteration train on older rollouts.
    let mut lines = place.lines("online", "rollouts.jsonl");
    for line in &mut lines {
        for rollout in line["rollouts"].as_array_mut().unwrap() {
            rollout.as_object_mut().unwrap().remove("reward");
        }
    }
    place.write_lines("bare.jsonl", &lines);
    well(place.start("judged", ops, &["--rollouts", "bare.jsonl"]).output().unwrap());
    assert!(place.end("online", 2) == place.end("judged", 2), "the oracle judges as it did");
    // Rewards that teach whatever the model has learnt: every second rollout is right.
    for line in &mut lines {
        for (at, rollout) in line["rollouts"].as_array_mut().unwrap().iter_mut().enumerate() {
            rollout["reward"] = (10 * (at % 2)).into();
        }
    }
    place.write_lines("given.jsonl", &lines);
    let stale = format!("{ops}[rl.optim]\nlearning_rate = 0.01\nwarmup_steps = 1\n");
    let args = ["--rollouts", "given.jsonl", "--iterations", "9"];
    let config = format!("train = \"picture\"\n{stale}");
    well(place.start("stale", &config, &args).output().unwrap());
    let gaps: Vec<f64> =
        place.metrics("stale").iter().map(|line| line["logprob_gap"].as_f64().unwrap()).collect();
    assert_eq!(gaps.len(), 2, "each line is trained on once");
    assert!(gaps[0] <= 1e-4 && gaps[1] > 1e-2, "staleness is logged, not enforced: {gaps:?}");
}

#[test]
fn bad_lines_are_refused_by_number_and_nothing_is_made() {
    let place = Place::new();
    well(place.start("good", "", &["--iterations", "1", "--save-rollouts"]).output().unwrap());
    let good = place.lines("good", "rollouts.jsonl");
    let with = |change: &dyn Fn(&mut Value)| {
        let mut line = good[0].clone();
        change(&mut line);
        line.to_string()
    };
    let text = [
        good[0].to_string(),
        "{".into(),
        with(&|line| line["mode"] = json!("think")),
        with(&|line| line["rollouts"][1]["program"][1] = json!(3_000_000)),
        with(&|line| line["example"]["instruction"] = json!("remove the zeppelin")),
        with(&|line| line["example"]["scene"]["objects"][0]["row"] = json!(200)),
    ];
    std::fs::write(place.path("bad.jsonl"), text.join("\n")).unwrap();
    let said = failure(place.start("bad", "", &["--rollouts", "bad.jsonl"]).output().unwrap());
    for part in [
        "`bad.jsonl` can't be used",
        "line 2: no line of rollouts",
        "line 3: its mode is Think",
        "line 4: rollout 1: token 1 of a program",
        "line 5: `example.instruction`: not understood: `zeppelin`",
        "line 6: `example`: `scene`: object 0",
    ] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    assert!(!place.path("bad").exists(), "a run that can't start leaves nothing");

    // A run notices that its file was changed.
    std::fs::write(place.path("few.jsonl"), good[0].to_string()).unwrap();
    well(place.start("few", "", &["--rollouts", "few.jsonl"]).output().unwrap());
    std::fs::write(place.path("few.jsonl"), good[1].to_string()).unwrap();
    let said = failure(place.command(&["--resume", "few"]).output().unwrap());
    assert!(said.contains("is not the file the run was started with"), "{said}");
}

/// A run judged by what an earlier run's verifier said is that run again; a mix of equals too.
#[test]
fn a_replay_and_a_mix_of_equals_train_the_same() {
    let place = Place::new();
    well(place.start("oracle", "", &["--save-rollouts"]).output().unwrap());
    let kept = "replay = \"oracle/rollouts.jsonl\"\n";
    let replay = format!("verifier = \"replay\"\n{kept}");
    well(place.start("replay", &replay, &[]).output().unwrap());
    assert!(place.end("oracle", 2) == place.end("replay", 2));
    let mix = format!("verifier = \"mix\"\n{kept}[rl.mix]\noracle = 1.0\nreplay = 1.0\n");
    well(place.start("mix", &mix, &[]).output().unwrap());
    assert!(place.end("oracle", 2) == place.end("mix", 2));

    // Other rollouts have no reward there: none is made up.
    let other = format!("seed = 2\n{replay}");
    let said = failure(place.start("other", &other, &[]).output().unwrap());
    assert!(
        said.contains("keeps no reward for this rollout") && said.contains("no verdict on"),
        "{said}"
    );
}

/// Answers to questions, by what was asked.
type Asked = Arc<Mutex<BTreeMap<String, usize>>>;

/// Scores that depend on the question alone, so that a judge asked later says the same.
fn answer(body: &str) -> String {
    let sum = body.bytes().fold(7u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    let content =
        format!("{{\"score\": [{}, {}], \"reasoning\": \"so\"}}", 2 + sum % 9, 5 + sum % 6);
    completion(&content)
}

fn good(asked: &Asked) -> impl Fn(usize, Request, String) + Send + 'static {
    let asked = Arc::clone(asked);
    move |_, request, body| {
        let answer = answer(&body);
        *asked.lock().unwrap().entry(body).or_default() += 1;
        reply(request, 200, &answer);
    }
}

fn judged_by(address: &str, rest: &str) -> String {
    format!(
        "verifier = \"mllm\"\ncheckpoint_every = 9\n[judge]\nendpoint = \"http://{address}/v1\"\nbackoff_ms = 1\nconcurrency = 1\n{rest}"
    )
}

fn wait_for(child: &mut Child, what: &str, mut there: impl FnMut() -> bool) {
    let patience = Instant::now();
    while !there() {
        assert!(child.try_wait().unwrap().is_none(), "the run ended before {what}");
        assert!(patience.elapsed() < Duration::from_mins(3), "no {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// No file of the run holds the key.
fn assert_secret_is_kept(folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            assert_secret_is_kept(&path);
        } else {
            let bytes = std::fs::read(&path).unwrap();
            let found = bytes.windows(SECRET.len()).any(|part| part == SECRET.as_bytes());
            assert!(!found, "the key is in {}", path.display());
        }
    }
}

#[test]
fn a_judge_that_goes_away_loses_nothing_and_is_asked_nothing_twice() {
    let place = Place::new();
    let never = Asked::default();
    let address = serve("127.0.0.1:0", usize::MAX, good(&never));
    well(place.start("whole", &judged_by(&address, "timeout_s = 60\n"), &[]).output().unwrap());

    // Gone after 5 answers: the run pauses with its rollouts and verdicts on disk, and is killed there.
    let asked = Asked::default();
    let address = serve("127.0.0.1:0", 5, good(&asked));
    let mut child = place
        .start("cut", &judged_by(&address, "timeout_s = 8\n"), &[])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let checkpoint = place.path("cut/checkpoints/step-000000/state.json");
    wait_for(&mut child, "pause", || checkpoint.exists());
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(asked.lock().unwrap().len(), 5);
    assert_eq!(std::fs::read_dir(place.path("cut/answers")).unwrap().count(), 5);
    assert_eq!(place.lines("cut", "pending.jsonl").len(), 3);

    // Still away: the resumed run pauses again, and Ctrl-C stops it cleanly.
    let log = std::fs::File::create(place.path("log")).unwrap();
    let mut child = place.command(&["--resume", "cut"]).stderr(log).spawn().unwrap();
    let log = || std::fs::read_to_string(place.path("log")).unwrap();
    wait_for(&mut child, "second pause", || log().contains("paused: "));
    let pid = child.id();
    assert!(
        Command::new("sh").args(["-c", &format!("kill -INT {pid}")]).status().unwrap().success()
    );
    assert!(child.wait().unwrap().success(), "{}", log());
    assert!(log().contains("stopped; go on with `trainer rl --resume"), "{}", log());

    // Back: the run ends as if nothing had happened, and no answered question was asked again.
    serve(&address, usize::MAX, good(&asked));
    let said = well(place.command(&["--resume", "cut"]).output().unwrap());
    assert!(!said.contains("paused"), "{said}");
    assert!(place.end("whole", 2) == place.end("cut", 2), "other weights");
    let (asked, never) = (asked.lock().unwrap(), never.lock().unwrap());
    assert!(asked.values().all(|&times| times == 1), "a question was asked again");
    assert_eq!(asked.keys().collect::<Vec<_>>(), never.keys().collect::<Vec<_>>());
    assert_secret_is_kept(&place.path("cut"));
}

#[test]
fn a_judge_that_misbehaves_gives_the_same_rewards_within_its_budget() {
    let place = Place::new();
    let asked = Asked::default();
    let address = serve("127.0.0.1:0", usize::MAX, good(&asked));
    well(place.start("well", &judged_by(&address, ""), &[]).output().unwrap());
    let needed = asked.lock().unwrap().len();

    // Two of three requests go wrong, in every way; the second question about an unreadable answer
    // differs in its text, so its scores are those of the first.
    let shaky = serve("127.0.0.1:0", usize::MAX, |number, request, body| {
        let again = "\\n\\nYour last answer could not be read. Answer with the JSON object alone.";
        let content = |content: &str| {
            json!({ "choices": [{ "message": { "content": content } }] }).to_string()
        };
        match (number % 3, number / 3 % 4) {
            (0, _) => reply(request, 200, &answer(&body.replace(again, ""))),
            (1, 0) => reply(request, 429, "slow down"),
            (1, 1) => reply(request, 500, SECRET),
            (1, 2) => reply(request, 200, "{\"choices\": [{\"mess"),
            (1, _) => drop(request), // cut
            (_, 0) => reply(request, 200, &content("{\"score\": [11, -3]}")),
            (_, 1) => std::thread::sleep(Duration::from_secs(4)), // too slow, then cut
            (_, 2) => reply(request, 200, &content("it is fine")),
            _ => reply(request, 503, "later"),
        }
    });
    let settings = "tries = 5\ntimeout_s = 3\n";
    let said = well(place.start("shaky", &judged_by(&shaky, settings), &[]).output().unwrap());
    assert!(!said.contains("paused"), "{said}");
    assert!(place.end("well", 2) == place.end("shaky", 2), "other rewards");
    let failed =
        place.metrics("shaky").iter().map(|line| line["failed"].as_u64().unwrap()).sum::<u64>();
    assert_eq!(failed, 0);
    assert_secret_is_kept(&place.path("shaky"));

    // A budget is of the whole run, whatever happens to it; a larger one goes on where it ended.
    let asked = Asked::default();
    let address = serve("127.0.0.1:0", usize::MAX, good(&asked));
    let budget = judged_by(&address, "request_budget = 4\n");
    let count = || asked.lock().unwrap().values().sum::<usize>();
    let said = failure(place.start("budget", &budget, &[]).output().unwrap());
    assert!(
        said.contains("request budget of 4 is spent") && said.contains("request_budget"),
        "{said}"
    );
    failure(place.command(&["--resume", "budget"]).output().unwrap());
    assert_eq!(count(), 4);
    let config = place.path("budget/config.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("request_budget = 4", "request_budget = 400")).unwrap();
    well(place.command(&["--resume", "budget"]).output().unwrap());
    assert_eq!(count(), needed, "nothing that was paid for is paid for again");
    assert!(place.end("well", 2) == place.end("budget", 2), "other weights");
}

/// Mean reward before noise, in the first two and the last three of eight iterations on the same prompts.
fn rise(place: &Place, seed: u64, corrupt: &str) -> f64 {
    let out = format!("rise-{seed}-{corrupt}");
    let config = format!("prompts = 4\ngroup_size = 8\nseed = {seed}\n{HARD}");
    let args = ["--iterations", "8", "--corrupt", corrupt];
    well(place.start_sized(&out, &config, &args).output().unwrap());
    let metrics = place.metrics(&out);
    let rewards: Vec<f64> =
        metrics.iter().map(|line| line["reward_clean"].as_f64().unwrap()).collect();
    let mean = |rewards: &[f64]| rewards.iter().sum::<f64>() / rewards.len() as f64;
    mean(&rewards[5..]) - mean(&rewards[..2])
}

/// Four prompts about counting and swapping, what `models/tiny` is weakest at.
const HARD: &str = "[rl.data]\nseed = 1011\nscenes = 4\n\
    [rl.data.ops]\nadd = 0.0\nremove = 0.0\nreplace = 0.0\nrecolor = 0.0\nbackground = 0.0\n\
    relation = 0.0\nmove = 0.0\nresize = 0.0\nmulti = 0.0\ncount = 1.0\nswap = 1.0\n\
    [rl.optim]\nlearning_rate = 1e-3\nwarmup_steps = 1\n";

/// Acceptance T9: from the shipped weights, over three seeds.
#[test]
fn rewards_rise_with_a_judge_and_not_with_noise() {
    let place = Place::new();
    let rises = |corrupt: &str| [1, 2, 3].map(|seed| rise(&place, seed, corrupt));
    let (judged, noise) = (rises("0.0"), rises("1.0"));
    let mean = |rises: [f64; 3]| rises.iter().sum::<f64>() / 3.0;
    assert!(judged.iter().all(|&rise| rise > 0.3), "{judged:?}");
    assert!(mean(judged) > 1.0, "{judged:?}");
    assert!(mean(noise) < 0.3, "{noise:?}");
}
