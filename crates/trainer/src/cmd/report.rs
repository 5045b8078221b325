//! `trainer report`: runs as one HTML page that opens offline: curves, held-out looks, settings, pictures.

mod chart;

use crate::run_dir::{RunDir, write_file};
use anyhow::{Context, Result};
use chart::{Series, chart};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Flags of `report`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folders of runs; several share each chart.
    #[arg(required = true)]
    runs: Vec<PathBuf>,
    /// The page.
    #[arg(short, long, default_value = "report.html")]
    out: PathBuf,
}

/// Figures with a chart of their own, in this order.
const CURVES: [&str; 20] = [
    "held_out_success",
    "reward",
    "reward_std",
    "reward_best",
    "success",
    "pass_at_group",
    "kl",
    "entropy_control",
    "entropy_code",
    "length",
    "dropped_groups",
    "logprob_gap",
    "loss",
    "control",
    "code",
    "seeing",
    "named",
    "grad_norm",
    "rate",
    "mean_squared_error",
];
/// Points of a curve; longer ones are averaged in equal pieces.
const POINTS: usize = 400;

struct Run {
    name: String,
    config: String,
    metrics: Vec<Value>,
    pictures: Vec<(String, Vec<u8>)>,
}

/// Draws the page.
///
/// # Errors
/// If a folder holds no run or the page can't be written.
pub(crate) fn run(args: &Args) -> Result<()> {
    let runs: Vec<Run> = args.runs.iter().map(|root| Run::read(root)).collect::<Result<_>>()?;
    let mut page = String::from(HEAD);
    for key in CURVES {
        let series: Vec<Series> = runs.iter().filter_map(|run| run.curve(key)).collect();
        if !series.is_empty() {
            page +=
                &format!("<figure><figcaption>{key}</figcaption>{}</figure>\n", chart(&series)?);
        }
    }
    for run in &runs {
        page += &run.section();
    }
    write_file(&args.out, page.as_bytes())?;
    super::print_lines(&format!("wrote {}", args.out.display()));
    Ok(())
}

const HEAD: &str = "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\"><title>EARL runs</title><style>\
body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}\
figure{margin:0 0 1.5rem;display:inline-block}figcaption{font-weight:600}svg{max-width:100%;height:auto}\
table{border-collapse:collapse}td,th{padding:.15rem .7rem;text-align:right;border-bottom:1px solid #ddd}th:first-child,td:first-child{text-align:left}\
pre{background:#f4f4f6;padding:1rem;overflow:auto}img{max-width:100%;image-rendering:pixelated}</style><h1>EARL runs</h1>\n";

impl Run {
    fn read(root: &Path) -> Result<Self> {
        let run = RunDir::open(root)?;
        let path = run.path("metrics.jsonl");
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("reading `{}`", path.display()))?;
        let metrics = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let mut pictures = Vec::new();
        for entry in std::fs::read_dir(run.path("samples"))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "png") {
                let name =
                    path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into());
                pictures.push((name, std::fs::read(&path)?));
            }
        }
        pictures.sort();
        Ok(Self { name: root.display().to_string(), config: run.config()?, metrics, pictures })
    }

    /// (step, value) of a figure, thinned to [`POINTS`].
    fn curve(&self, key: &str) -> Option<Series> {
        let point = |line: &Value| Some((line["step"].as_f64()?, line[key].as_f64()?));
        let points: Vec<(f64, f64)> = self.metrics.iter().filter_map(point).collect();
        let piece = points.len().div_ceil(POINTS).max(1);
        let average = |points: &[(f64, f64)]| {
            let count = points.len() as f64;
            let sum = points.iter().fold((0.0, 0.0), |sum, at| (sum.0 + at.0, sum.1 + at.1));
            (sum.0 / count, sum.1 / count)
        };
        let points: Vec<(f64, f64)> = points.chunks(piece).map(average).collect();
        (points.len() > 1).then(|| Series { name: self.name.clone(), points })
    }

    fn section(&self) -> String {
        let mut text = format!("<h2>{}</h2>\n", escape(&self.name));
        if let Some(probe) = self.metrics.iter().rev().find(|line| line["probe"].is_object()) {
            text += &probe_table(probe);
        }
        if let Some(look) = self.metrics.iter().rev().find(|line| line["held_out"].is_object()) {
            text += &held_out_table(look);
        }
        for (name, png) in &self.pictures {
            text += &format!(
                "<p>{}<br><img alt=\"\" src=\"data:image/png;base64,{}\">\n",
                escape(name),
                base64(png)
            );
        }
        text + &format!(
            "<details><summary>config.toml</summary><pre>{}</pre></details>\n",
            escape(&self.config)
        )
    }
}

fn probe_table(line: &Value) -> String {
    let tallies: BTreeMap<String, Value> =
        serde_json::from_value(line["probe"].clone()).unwrap_or_default();
    let mut text = format!(
        "<p>Held-out edits after step {}:<table><tr><th>operation<th>edits<th>verbs<th>found<th>plan<th>codes\n",
        line["step"]
    );
    for (op, tally) in tallies {
        let share = |part: &str, whole: &str| {
            let whole = tally[whole].as_f64().unwrap_or(0.0);
            if whole == 0.0 {
                "–".to_owned()
            } else {
                format!("{:.0} %", 100.0 * tally[part].as_f64().unwrap_or(0.0) / whole)
            }
        };
        text += &format!(
            "<tr><td>{}<td>{}<td>{}<td>{}<td>{}<td>{}\n",
            escape(&op),
            tally["n"],
            share("verbs", "n"),
            share("found", "n"),
            share("plan", "n"),
            share("codes", "drawn")
        );
    }
    text + "</table>\n"
}

/// What a policy gets right of held-out edits, by operation.
fn held_out_table(line: &Value) -> String {
    let by_op: BTreeMap<String, [u64; 2]> =
        serde_json::from_value(line["held_out"].clone()).unwrap_or_default();
    let mut text = format!(
        "<p>Held-out edits after iteration {}:<table><tr><th>operation<th>right<th>of\n",
        line["step"]
    );
    for (op, [right, n]) in by_op {
        text += &format!("<tr><td>{}<td>{right}<td>{n}\n", escape(&op));
    }
    text + "</table>\n"
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
