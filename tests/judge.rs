//! The judge against servers that answer well, slowly, wrongly, or not at all.
#![allow(clippy::unwrap_used, reason = "test code: a panic is a failed test")]

use earl_tests::judge::{Header, Request, Response, completion, endpoint, reply, shows_both};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::Ordering;
use std::time::Duration;

const SECRET: &str = "sk-very-secret";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn good(request: Request, body: &str) {
    // One picture: quality; two: consistency.
    let pair = if shows_both(body) { "[9, 8]" } else { "[10, 6]" };
    reply(request, 200, &completion(&format!("{{\"score\": {pair}, \"reasoning\": \"so\"}}")));
}

/// Judges `edits` copies of one edit with a configuration's `[judge]` lines.
fn judge(folder: &Path, endpoint: &str, settings: &str, edits: usize) -> Output {
    let picture = root().join("docs/sample.png");
    let line = |at: usize| {
        json!({ "source": picture, "edit": picture, "instruction": format!("edit {at}") })
            .to_string()
    };
    let pairs: Vec<String> = (0..edits).map(line).collect();
    std::fs::write(folder.join("pairs.jsonl"), pairs.join("\n")).unwrap();
    let config = format!("[judge]\nbackoff_ms = 1\n{settings}\n");
    std::fs::write(folder.join("judge.toml"), config).unwrap();
    Command::new(env!("CARGO_BIN_EXE_trainer"))
        .current_dir(folder)
        .env("EARL_JUDGE_KEY", SECRET)
        .args(["judge", "--pairs", "pairs.jsonl", "--config", "judge.toml", "--json"])
        .args(["--endpoint", endpoint])
        .output()
        .unwrap()
}

fn summary(output: &Output) -> Value {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert!(!stderr.contains(SECRET), "the key is in the log");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn scores(folder: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.join("scores.jsonl")).unwrap();
    assert!(!text.contains(SECRET), "the key is in the scores");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_good_server_is_asked_twice_an_edit_and_never_twice_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (endpoint, count) = endpoint(|_, request, body| {
        let sent = |name: &str| {
            let headers = request.headers().iter();
            let header = headers
                .into_iter()
                .find(|header| header.field.equiv(Box::leak(name.to_owned().into_boxed_str())));
            header.map(|header| header.value.to_string())
        };
        assert_eq!(sent("authorization"), Some(format!("Bearer {SECRET}")));
        let asked: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(
            (asked["temperature"].as_f64(), asked["max_tokens"].as_u64()),
            (Some(0.0), Some(1_400))
        );
        good(request, &body);
    });
    let cached = "cache = \"cache\"\nconcurrency = 2";
    let found = summary(&judge(folder.path(), &endpoint, cached, 3));
    // √(min(9, 8) · min(10, 6)) = √48; quality looks at the picture alone, which is the same thrice,
    // but two are asked at once, so it may be asked again before the first answer is kept.
    assert!((found["overall"].as_f64().unwrap() - 48f64.sqrt()).abs() < 1e-12, "{found}");
    let asked = count.load(Ordering::SeqCst);
    assert!((4..=5).contains(&asked), "{asked} requests");
    assert_eq!(found["tokens"].as_u64(), Some(100 * asked as u64));
    assert_eq!(scores(folder.path())[2]["verdict"]["artifacts"], 6.0);
    summary(&judge(folder.path(), &endpoint, cached, 3));
    assert_eq!(count.load(Ordering::SeqCst), asked, "everything came from the cache");
}

#[test]
fn busy_broken_and_slow_servers_are_asked_again() {
    let folder = tempfile::tempdir().unwrap();
    let (endpoint, count) = endpoint(|at, request, body| match at {
        0 => reply(request, 429, "slow down"),
        1 => reply(request, 500, SECRET),
        2 => {
            let response = Response::from_string("wait").with_status_code(503);
            let header = Header::from_bytes("Retry-After", "0.01").unwrap();
            request.respond(response.with_header(header)).ok();
        }
        3 => reply(request, 200, "<html>not json</html>"),
        4 => drop(request), // cut
        5 => std::thread::sleep(Duration::from_millis(1_500)),
        6 => reply(request, 200, &completion("I would say ten of ten!")),
        7 => reply(request, 200, &completion("{\"score\": [12, 3]}")),
        8 => {
            assert!(body.contains("could not be read"), "the second question says why");
            reply(request, 200, &completion("Fine: [4, 4]"));
        }
        _ => good(request, &body),
    });
    let settings = "tries = 12\ntimeout_s = 1\nconcurrency = 1";
    let found = summary(&judge(folder.path(), &endpoint, settings, 1));
    assert!((found["overall"].as_f64().unwrap() - 24f64.sqrt()).abs() < 1e-12, "{found}");
    assert_eq!(found["failed"], 0);
    assert!(count.load(Ordering::SeqCst) >= 9, "{count:?}");
}

#[test]
fn a_failure_is_no_zero_and_loses_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let (endpoint, _) = endpoint(|_, request, body| {
        if body.contains("edit 1") {
            reply(request, 500, &format!("broken {SECRET}"));
        } else {
            good(request, &body);
        }
    });
    let found = summary(&judge(folder.path(), &endpoint, "tries = 2", 3));
    assert_eq!((found["n"].as_u64(), found["failed"].as_u64()), (Some(3), Some(1)));
    assert!((found["overall"].as_f64().unwrap() - 48f64.sqrt()).abs() < 1e-12, "{found}");
    let error = scores(folder.path())[1]["error"].as_str().unwrap().to_owned();
    assert!(error.contains("status 500: broken [key]"), "{error}");
}

#[test]
fn refusals_budgets_and_absent_servers_end_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let failure = |output: Output| {
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let (denied, count) = endpoint(|_, request, _| reply(request, 401, "bad key"));
    let said = failure(judge(folder.path(), &denied, "", 1));
    assert!(said.contains("status 401: bad key") && said.contains("hint: "), "{said}");
    assert_eq!(count.load(Ordering::SeqCst), 1, "a refusal is not asked again");

    let (endpoint, count) = endpoint(|_, request, body| good(request, &body));
    let budget = "request_budget = 4\nconcurrency = 1";
    let found = summary(&judge(folder.path(), &endpoint, budget, 3));
    assert_eq!((found["failed"].as_u64(), count.load(Ordering::SeqCst)), (Some(1), 4));
    assert!(scores(folder.path())[2]["error"].as_str().unwrap().contains("budget of 4 is spent"));

    let said = failure(judge(folder.path(), "http://127.0.0.1:9/v1", "patience_s = 0.05", 1));
    assert!(said.contains("127.0.0.1:9") && said.contains("EARL_JUDGE_KEY"), "{said}");
}
