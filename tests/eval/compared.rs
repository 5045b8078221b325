//! Several models, several splits, and another judge than the oracle.

use super::{answer, failure, impatient, judge, number};
use std::sync::atomic::Ordering;

#[test]
#[allow(clippy::too_many_lines, reason = "one evaluation, seen from all sides")]
fn models_are_compared_pair_by_pair_on_every_split() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let (coarse, out) = (path("q4"), path("out"));
    answer(&["export", "--model", "models/tiny", "--quant", "q4", "--out", &coarse, "--json"]);
    let (found, _) = answer(&[
        "eval",
        "--model",
        "models/tiny",
        "--compare",
        &coarse,
        "models/tiny/manifest.json",
        "--split",
        "seen,style",
        "--limit",
        "6",
        "--out",
        &out,
        "--json",
    ]);
    let reports = found["reports"].as_array().unwrap();
    let named: Vec<(&str, &str)> = reports
        .iter()
        .map(|report| (report["split"].as_str().unwrap(), report["model"].as_str().unwrap()))
        .collect();
    let models = ["models/tiny", &coarse, "models/tiny/manifest.json"];
    let wanted: Vec<(&str, &str)> =
        ["seen", "style"].iter().flat_map(|split| models.map(|model| (*split, model))).collect();
    assert_eq!(named, wanted);
    for report in reports {
        assert_eq!(report["baselines"]["copy_source"]["success"], 0.0);
        assert!(number(&report["baselines"]["true_edit"]["overall"]) >= 9.9);
        // Two measures of the same pixels: by cells of codes, and by the mask of the edit.
        let outside = number(&report["similarity"]["outside"]["psnr"]);
        assert!((outside - number(&report["psnr_outside"])).abs() < 1e-9, "{report}");
    }
    let differences = found["differences"].as_array().unwrap();
    assert_eq!(differences.len(), 6, "two models by seen, style, all");
    for (difference, (a, b)) in differences.iter().zip([(0, 1), (3, 4)]) {
        for figure in ["success", "overall"] {
            let by_hand = number(&reports[b][figure]["mean"]) - number(&reports[a][figure]["mean"]);
            assert!((number(&difference[figure]["mean"]) - by_hand).abs() < 1e-6, "{difference}");
        }
    }
    assert_eq!((&differences[2]["split"], &differences[2]["n"]), (&"all".into(), &12.into()));
    for same in &differences[3..] {
        let zero = serde_json::json!({"mean": 0.0, "lo": 0.0, "hi": 0.0});
        assert_eq!((&same["success"], &same["overall"]), (&zero, &zero), "the same model");
    }
    let lines = std::fs::read_to_string(folder.path().join("out/rows.jsonl")).unwrap();
    assert_eq!(lines.lines().count(), 36);
    let page = std::fs::read_to_string(folder.path().join("out/report.html")).unwrap();
    assert!(page.contains("<svg") && page.contains("Worst") && page.contains("paired 95 %"));
    assert!(!page.contains("src=\"http") && !page.contains("href=\"http"), "an outside asset");
}

#[test]
fn a_served_judge_decides_where_it_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let (config, cache) = (impatient(folder.path()), folder.path().join("answers"));
    let (endpoint, count) = judge(|_, both| Some(if both { [9, 4] } else { [10, 9] }));
    let args = [
        "eval",
        "--model",
        "models/tiny",
        "--limit",
        "3",
        "--judge",
        "mllm",
        "--config",
        &config,
        "--endpoint",
        &endpoint,
        "--cache",
        &cache.to_string_lossy(),
        "--json",
    ];
    let (found, _) = answer(&args);
    // SC = min(9, 4), PQ = min(10, 9): overall = √36 = 6, which is below 7 and so not right.
    assert_eq!((number(&found["overall"]["mean"]), number(&found["success"]["mean"])), (6.0, 0.0));
    let parts = &found["parts"];
    assert_eq!((number(&parts["overediting"]), number(&parts["pq"])), (4.0, 9.0));
    assert!(found["judge"].as_str().unwrap().starts_with("viescore-v1 "), "{}", found["judge"]);
    assert_eq!(found["baselines"]["copy_source"]["overall"], 6.0);
    assert!(found["baselines"]["edits_by_oracle"]["success"].is_number());
    let asked = count.load(Ordering::SeqCst);
    assert!(asked <= 18, "three pictures, two questions, three edits: {asked}");
    answer(&args);
    assert_eq!(count.load(Ordering::SeqCst), asked, "all answers came from the cache");
}

#[test]
fn a_judge_that_is_silent_gives_no_score() {
    let folder = tempfile::tempdir().unwrap();
    let config = impatient(folder.path());
    let (endpoint, count) = judge(|_, _| None);
    let eval = |endpoint: &str, more: &[&str]| {
        let start = ["eval", "--model", "models/tiny", "--limit", "2", "--judge", "mllm"];
        let end = ["--config", &config, "--endpoint", endpoint, "--json"];
        failure(&[&start[..], &end, more].concat())
    };
    let said = eval(&endpoint, &[]);
    assert!(said.contains("no edit got a verdict") && said.contains("500"), "{said}");
    assert!(count.load(Ordering::SeqCst) > 0);
    let said = failure(&["eval", "--model", "models/tiny", "--endpoint", "http://x/v1"]);
    assert!(said.contains("need `--judge mllm`"), "{said}");
    let said = failure(&[
        "eval",
        "--model",
        "models/tiny",
        "--bench",
        "benches/gedit.toml",
        "--judge",
        "oracle",
    ]);
    assert!(said.contains("no oracle") && said.contains("hint: "), "{said}");
}
