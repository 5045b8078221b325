//! Public benches through `eval`: a `WebDataset` shard made here, edited by the shipped model, judged by a server.

use super::{answer, failure, impatient, judge, number};
use serde_json::json;
use std::path::{Path, PathBuf};

fn png(colour: [u8; 3], side: u32) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image::RgbImage::from_pixel(side, side, image::Rgb(colour))
        .write_to(&mut bytes, image::ImageFormat::Png)
        .unwrap();
    bytes.into_inner()
}

/// A shard of rows (source, target, instruction).
fn shard(file: &Path, rows: &[(Vec<u8>, Vec<u8>, &str)]) {
    let mut archive = tar::Builder::new(std::fs::File::create(file).unwrap());
    for (at, (source, target, instruction)) in rows.iter().enumerate() {
        let task = json!({ "instruction": instruction, "task": "background" }).to_string();
        for (name, bytes) in
            [("input.jpg", &source[..]), ("output.jpg", &target[..]), ("json", task.as_bytes())]
        {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            header.set_cksum();
            archive.append_data(&mut header, format!("{at:04}.{name}"), bytes).unwrap();
        }
    }
    archive.finish().unwrap();
}

/// A bench of five rows: two that the model can do, one it does not understand, two that are broken.
fn bench(folder: &Path) -> PathBuf {
    let file = folder.join("bench.tar");
    let (sample, blue) = (png([230, 80, 80], 96), png([110, 170, 235], 96));
    shard(
        &file,
        &[
            (sample.clone(), blue.clone(), "make the background blue"),
            (sample.clone(), blue.clone(), "turn her into a marble statue by Bernini"),
            (b"not a picture".to_vec(), blue.clone(), "make the background blue"),
            (sample.clone(), blue.clone(), "make the background green"),
            (sample, b"".to_vec(), "make the background blue"),
        ],
    );
    file
}

#[test]
#[allow(clippy::too_many_lines, reason = "one evaluation, seen from all sides")]
fn rows_are_edited_measured_and_judged() {
    let folder = tempfile::tempdir().unwrap();
    let (config, data) = (impatient(folder.path()), bench(folder.path()));
    // Blue is judged perfect, green poor; quality is the same throughout.
    let (endpoint, _) = judge(|body, both| {
        let green = body.contains("background green");
        Some(if !both {
            [9, 9]
        } else if green {
            [1, 5]
        } else {
            [9, 10]
        })
    });
    let out = folder.path().join("out");
    let (found, said) = answer(&[
        "eval",
        "--model",
        "models/tiny",
        "--bench",
        "benches/webdataset.toml",
        "--data",
        &data.to_string_lossy(),
        "--judge",
        "mllm",
        "--config",
        &config,
        "--endpoint",
        &endpoint,
        "--out",
        &out.to_string_lossy(),
        "--json",
    ]);
    let bench = &found["benches"][0];
    assert_eq!(
        (&bench["n"], &bench["failed"], &bench["unjudged"]),
        (&3.into(), &1.into(), &0.into())
    );
    // Overall √(9·9) = 9, √(1·9) = 3, and 0 for the edit that was not made.
    let overall = &bench["scores"]["overall"];
    assert!((number(&overall["mean"]) - 4.0).abs() < 1e-9, "{overall}");
    assert!((number(&overall["deviation"]) - 14f64.sqrt()).abs() < 1e-9, "{overall}");
    assert!((number(&bench["scores"]["sc"]["mean"]) - 10.0 / 3.0).abs() < 1e-9);
    assert!((number(&bench["scores"]["pq"]["mean"]) - 6.0).abs() < 1e-9);
    assert!((number(&bench["scores"]["right"]["mean"]) - 1.0 / 3.0).abs() < 1e-9);
    assert_eq!(found["average"]["models/tiny"]["overall"], overall["mean"]);
    // Blue background of a flat picture: nearly the target; green is not.
    assert!(
        number(&bench["to_target"]["edit"]["l1"])
            < number(&bench["to_target"]["copy_source"]["l1"])
    );
    let bad = bench["bad_rows"].as_array().unwrap();
    assert!(bad[0].as_str().unwrap().contains("row 3: source: picture is not a PNG"), "{bad:?}");
    assert!(bad[1].as_str().unwrap().contains("row 5: `output.jpg` holds no picture"), "{bad:?}");
    assert!(said.contains("warning: WebDataset: `bench.tar`, row 3"), "{said}");
    let rows = std::fs::read_to_string(out.join("rows.jsonl")).unwrap();
    assert!(rows.lines().nth(1).unwrap().contains("not understood"), "{rows}");
    assert!(std::fs::read_to_string(out.join("report.html")).unwrap().contains("marble statue"));
}

#[test]
fn without_a_judge_likeness_to_the_target_is_all_that_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let data = bench(folder.path());
    let (found, _) = answer(&[
        "eval",
        "--model",
        "models/tiny",
        "--bench",
        "benches/webdataset.toml",
        "--data",
        &data.to_string_lossy(),
        "--json",
    ]);
    let bench = &found["benches"][0];
    assert_eq!((&bench["scores"], &bench["judge"]), (&json!({}), &"none".into()));
    assert!(number(&bench["to_target"]["edit"]["ssim"]) > 0.5, "{}", bench["to_target"]);
}

#[test]
fn wrong_maps_and_absent_data_end_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let data = bench(folder.path());
    let map = folder.path().join("wrong.toml");
    let text = std::fs::read_to_string(super::root().join("benches/webdataset.toml")).unwrap();
    std::fs::write(&map, text.replace("input.jpg", "picture.jpg")).unwrap();
    let (map, data) = (map.to_string_lossy(), data.to_string_lossy());
    let eval = |bench: &str, data: &[&str]| {
        failure(&[&["eval", "--model", "models/tiny", "--bench", bench][..], data].concat())
    };
    let said = eval(&map, &["--data", &data]);
    assert!(
        said.contains("no column `picture.jpg`")
            && said.contains("it has `input.jpg`, `json`, `output.jpg`"),
        "{said}"
    );
    assert!(said.contains("hint: correct `[columns]`"), "{said}");
    assert!(eval("benches/webdataset.toml", &[]).contains("`--data` names"), "no data");
    let none = folder.path().join("none").to_string_lossy().into_owned();
    assert!(eval("benches/webdataset.toml", &["--data", &none]).contains("none"), "absent data");
    if !cfg!(feature = "parquet") {
        let parquet = folder.path().join("x.parquet");
        std::fs::write(&parquet, b"PAR1").unwrap();
        let said = eval("benches/gedit.toml", &["--data", &parquet.to_string_lossy()]);
        assert!(said.contains("built without") && said.contains("--features parquet"), "{said}");
    }
}
