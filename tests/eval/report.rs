//! `report`: what is drawn is what `metrics.jsonl` says.

use super::{failure, trainer};
use serde_json::json;
use std::path::{Path, PathBuf};

/// A run directory of `steps` lines, with a loss, a reward and a sample.
fn run(folder: &Path, name: &str, steps: u64, rate: &str) -> (PathBuf, Vec<f64>) {
    let run = folder.join(name);
    std::fs::create_dir_all(run.join("samples")).unwrap();
    let config = format!("[sft]\nsteps = {steps}\n[sft.optim]\nrate = {rate}\n");
    std::fs::write(run.join("config.toml"), config).unwrap();
    let loss = |step: u64| 3.0 / (1.0 + step as f64) + 0.2 * (step as f64).sin();
    let lines: Vec<String> =
        (0..steps).map(|step| json!({"step": step, "loss": loss(step)}).to_string()).collect();
    let torn = "\n{\"step\": 9, \"lo";
    std::fs::write(run.join("metrics.jsonl"), lines.join("\n") + torn).unwrap();
    for step in [100, 20] {
        let path = run.join(format!("samples/iteration-{step}.png"));
        image::RgbImage::from_pixel(4, 4, image::Rgb([step as u8; 3])).save(path).unwrap();
    }
    (run, (0..steps).map(loss).collect())
}

/// The points of every polyline.
fn lines(svg: &str) -> Vec<Vec<(f64, f64)>> {
    let points = |tag: &str| -> Option<Vec<(f64, f64)>> {
        let list = tag.split_once("points=\"")?.1.split_once('"')?.0;
        let point = |pair: &str| {
            let (x, y) = pair.split_once(',')?;
            Some((x.parse().ok()?, y.parse().ok()?))
        };
        list.split_whitespace().map(point).collect()
    };
    svg.split("<polyline ").skip(1).filter_map(points).collect()
}

/// Positions of values between their smallest and largest.
fn placed(values: &[f64]) -> Vec<f64> {
    let low = values.iter().copied().fold(f64::MAX, f64::min);
    let high = values.iter().copied().fold(f64::MIN, f64::max);
    values.iter().map(|value| (value - low) / (high - low)).collect()
}

#[test]
fn curves_are_those_of_the_metrics() {
    let folder = tempfile::tempdir().unwrap();
    let (a, losses) = run(folder.path(), "a", 60, "0.5");
    let (b, _) = run(folder.path(), "b", 2, "0.25");
    let page = folder.path().join("report.html");
    let output = trainer(&["report", &a.to_string_lossy(), "-o", &page.to_string_lossy()]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("1 lines that are no JSON"), "{said}");
    let text = std::fs::read_to_string(&page).unwrap();
    let figure = text.split("<figcaption>loss</figcaption>").nth(1).unwrap();
    let figure = figure.split("</figure>").next().unwrap();
    let drawn = lines(figure).into_iter().find(|line| line.len() == losses.len());
    // A line with a point for each step.
    let (x, y): (Vec<f64>, Vec<f64>) = drawn.unwrap().into_iter().unzip();
    let steps: Vec<f64> = (0..losses.len()).map(|step| step as f64).collect();
    // Pixels are whole numbers: 230 or so high, 410 wide; y grows downwards.
    for (found, wanted) in placed(&x).iter().zip(placed(&steps)) {
        assert!((found - wanted).abs() < 0.005, "{found} {wanted}");
    }
    for (found, wanted) in placed(&y).iter().zip(placed(&losses)) {
        assert!((1.0 - found - wanted).abs() < 0.01, "{found} {wanted}");
    }
    let (early, late) = (text.find("iteration-20.png"), text.find("iteration-100.png"));
    assert!(early.unwrap() < late.unwrap(), "samples stand in the order of steps");

    let both =
        ["report", &a.to_string_lossy(), &b.to_string_lossy(), "-o", &page.to_string_lossy()];
    assert!(trainer(&both).status.success());
    let text = std::fs::read_to_string(&page).unwrap();
    assert!(text.contains("<td>sft.optim.rate<td>0.5<td>0.25"), "settings that differ are shown");
    assert!(!text.contains("src=\"http") && !text.contains("<script"), "nothing from outside");
}

#[test]
fn folders_that_hold_no_run_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let said = failure(&["report", &path("none"), "-o", &path("x.html")]);
    assert!(said.contains("holds no run"), "{said}");
    let (a, _) = run(folder.path(), "a", 3, "1.0");
    std::fs::write(path("file"), b"").unwrap();
    let said = failure(&["report", &a.to_string_lossy(), "-o", &path("file/x.html")]);
    assert!(said.contains("file/x.html"), "{said}");
    std::fs::remove_file(a.join("metrics.jsonl")).unwrap();
    let said = failure(&["report", &a.to_string_lossy(), "-o", &path("x.html")]);
    assert!(said.contains("metrics.jsonl"), "{said}");
    assert!(!Path::new(&path("x.html")).exists(), "a failed report writes nothing");
}
