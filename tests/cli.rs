//! The command line from outside: help, wrong usage, bad input. Snapshots lie in `snapshots/`.
#![allow(clippy::unwrap_used, reason = "test code: a panic is a failed test")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn trainer(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_trainer"))
        .current_dir(root())
        .env("COLUMNS", "100")
        .args(args)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Exit code and stderr, with the temporary folder's name taken out.
fn failure(folder: &Path, args: &[&str]) -> String {
    let output = trainer(args);
    assert!(output.stdout.is_empty(), "{}", text(&output.stdout));
    let said = text(&output.stderr).replace(&*folder.to_string_lossy(), "DIR");
    format!("exit {}\n{said}", output.status.code().unwrap())
}

fn snapshots(check: impl FnOnce()) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(root().join("tests/snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    settings.bind(check);
}

#[test]
fn help_is_as_documented() {
    snapshots(|| {
        insta::assert_snapshot!("help", text(&trainer(&["--help"]).stdout));
        for verb in [
            "scenes", "tok", "sft", "rl", "verifier", "edit", "eval", "export", "inspect", "judge",
            "report", "bench",
        ] {
            insta::assert_snapshot!(
                format!("help-{verb}"),
                text(&trainer(&[verb, "--help"]).stdout)
            );
        }
    });
}

#[test]
#[allow(clippy::too_many_lines, reason = "one line a bad input")]
fn errors_say_what_where_and_how() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        std::fs::write(folder.path().join(name), bytes).unwrap();
        folder.path().join(name).to_string_lossy().into_owned()
    };
    let out = folder.path().join("out.png").to_string_lossy().into_owned();
    let good = "docs/sample.png";
    let edit = |picture: &str, sentence: &str| {
        failure(folder.path(), &["edit", picture, sentence, "-o", &out])
    };
    let mut png = std::fs::read(root().join(good)).unwrap();
    png[16..24].copy_from_slice(&[0, 0, 0x75, 0x30, 0, 0, 0x75, 0x30]);
    let long = "remove the cat ".repeat(700);
    snapshots(|| {
        insta::assert_snapshot!(
            "edit-missing-file",
            edit(&folder.path().join("none.png").to_string_lossy(), "remove the cat")
        );
        insta::assert_snapshot!("edit-empty-file", edit(&file("empty.png", b""), "remove the cat"));
        insta::assert_snapshot!(
            "edit-no-picture",
            edit(&file("text.png", b"hello"), "remove the cat")
        );
        insta::assert_snapshot!(
            "edit-huge-header",
            edit(&file("huge.png", &png), "remove the cat")
        );
        insta::assert_snapshot!(
            "edit-cut-file",
            edit(
                &file("cut.png", &std::fs::read(root().join(good)).unwrap()[..200]),
                "remove the cat"
            )
        );
        insta::assert_snapshot!("edit-empty-sentence", edit(good, ""));
        insta::assert_snapshot!("edit-long-sentence", edit(good, &long));
        insta::assert_snapshot!("edit-unknown-word", edit(good, "remove the zeppelin"));
        insta::assert_snapshot!(
            "edit-no-model",
            failure(
                folder.path(),
                &["edit", "--model", "DIR/none", good, "remove the cat", "-o", &out]
            )
        );
        insta::assert_snapshot!("edit-no-arguments", failure(folder.path(), &["edit"]));
        insta::assert_snapshot!("unknown-verb", failure(folder.path(), &["sfft"]));
        insta::assert_snapshot!(
            "sft-unknown-key",
            failure(folder.path(), &["sft", "--config", &file("bad.toml", b"[sft]\nstepz = 3\n")])
        );
        insta::assert_snapshot!(
            "sft-resume-nothing",
            failure(folder.path(), &["sft", "--resume", &folder.path().to_string_lossy()])
        );
        insta::assert_snapshot!(
            "inspect-cut-weights",
            failure(
                folder.path(),
                &["inspect", &file("cut.safetensors", &[9, 0, 0, 0, 0, 0, 0, 0, b'{'])]
            )
        );
    });
    assert!(!Path::new(&out).exists(), "a failed edit writes nothing");
}

#[test]
fn other_kinds_of_pictures_are_fitted_and_said() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.png");
    for (name, width, height) in
        [("wide.png", 200, 50), ("tiny.png", 1, 1), ("photo.jpg", 321, 123), ("web.webp", 65, 64)]
    {
        let path = folder.path().join(name);
        image::RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8, y as u8, 90]))
            .save(&path)
            .unwrap();
        let output = trainer(&[
            "edit",
            &path.to_string_lossy(),
            "make the background blue",
            "-o",
            &out.to_string_lossy(),
            "--json",
        ]);
        assert!(output.status.success(), "{name}: {}", text(&output.stderr));
        let facts: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(facts["notes"][0].as_str().unwrap().starts_with("scaled from"), "{name}: {facts}");
        assert_eq!(image::open(&out).unwrap().width(), 64);
    }
}

#[test]
fn a_region_keeps_the_picture_around_it() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("edited.png");
    let edit = |region: &str| {
        let asked = ["edit", "docs/sample.png", "add a cat", "--json", "--region", region, "-o"];
        trainer(&[&asked[..], &[out.to_str().unwrap()]].concat())
    };
    let output = edit("0,0,32,32");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let facts: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(facts["recipe"]["region"]["width"], 32);
    let [before, after] = [root().join("docs/sample.png"), out.clone()]
        .map(|path| image::open(path).unwrap().to_rgb8());
    let changed = |inside: bool| {
        let pixels = before.enumerate_pixels();
        let there = pixels.filter(|(x, y, _)| (*x < 32 && *y < 32) == inside);
        there.filter(|(x, y, pixel)| *pixel != after.get_pixel(*x, *y)).count()
    };
    assert!(changed(true) > 50 && changed(false) == 0, "{} outside", changed(false));
    let beyond = text(&edit("40,0,32,32").stderr);
    assert!(beyond.contains("ends at 72,32") && beyond.contains("64×64"), "{beyond}");
}

#[test]
fn a_batch_reports_bad_lines_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let picture = root().join("docs/sample.png");
    let lines = [
        serde_json::json!({"image": picture, "instruction": "make the background green", "seed": 3}).to_string(),
        "{\"image\": 3}".into(),
        serde_json::json!({"image": picture, "instruction": "remove the zeppelin"}).to_string(),
        serde_json::json!({"image": picture, "instruction": "make the background red"}).to_string(),
    ];
    let batch = folder.path().join("edits.jsonl");
    std::fs::write(&batch, lines.join("\n")).unwrap();
    let out = folder.path().join("out");
    let run = || {
        trainer(&[
            "edit",
            "--batch",
            &batch.to_string_lossy(),
            "-o",
            &out.to_string_lossy(),
            "--json",
        ])
    };
    let output = run();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let rows: Vec<serde_json::Value> = std::fs::read_to_string(out.join("results.jsonl"))
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        rows.iter().map(|row| row["index"].as_u64().unwrap()).collect::<Vec<_>>(),
        [0, 1, 2, 3]
    );
    assert!(rows[1]["error"].as_str().unwrap().contains("not a line of a batch"));
    assert!(rows[2]["error"].as_str().unwrap().contains("zeppelin"));
    assert!(!out.join("000001.png").exists());
    let first = std::fs::read(out.join("000000.png")).unwrap();
    run();
    assert_eq!(
        std::fs::read(out.join("000000.png")).unwrap(),
        first,
        "the same seed gives the same bytes"
    );
}
