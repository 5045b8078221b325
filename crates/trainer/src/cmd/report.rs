//! `trainer report`: runs as one HTML page that opens offline: curves, held-out looks, settings, pictures.

use crate::page::chart::{Series, chart};
use crate::page::{escape, head, png_tag, table};
use crate::run_dir::{RunDir, write_file};
use anyhow::{Context, Result};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
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
    let mut page = head("EARL runs");
    for key in CURVES {
        let series: Vec<Series> = runs.iter().filter_map(|run| run.curve(key)).collect();
        if !series.is_empty() {
            page +=
                &format!("<figure><figcaption>{key}</figcaption>{}</figure>\n", chart(&series)?);
        }
    }
    page += &config_table(&runs);
    for run in &runs {
        page += &run.section();
    }
    write_file(&args.out, page.as_bytes())?;
    super::print_lines(&format!("wrote {}", args.out.display()));
    Ok(())
}

impl Run {
    fn read(root: &Path) -> Result<Self> {
        let run = RunDir::open(root)?;
        let path = run.path("metrics.jsonl");
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("reading `{}`", path.display()))?;
        let lines: Vec<_> = text.lines().map(serde_json::from_str::<Value>).collect();
        let torn = lines.iter().filter(|line| line.is_err()).count();
        if torn > 0 {
            eprintln!("warning: `{}` has {torn} lines that are no JSON", path.display());
        }
        let metrics = lines.into_iter().flatten().collect();
        let mut pictures = Vec::new();
        let samples = run.path("samples");
        let listing = || format!("listing `{}`", samples.display());
        for entry in std::fs::read_dir(&samples).with_context(listing)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "png") {
                let name =
                    path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into());
                pictures.push((name, std::fs::read(&path)?));
            }
        }
        pictures.sort_by_key(|(name, _)| (step_of(name), name.clone()));
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
        if !self.pictures.is_empty() {
            text += "<p>Samples, in the order of steps:<div class=strip>\n";
        }
        for (name, png) in &self.pictures {
            let (name, picture) = (escape(name), png_tag(png, name));
            text += &format!("<figure><figcaption>{name}</figcaption>{picture}</figure>\n");
        }
        if !self.pictures.is_empty() {
            text += "</div>\n";
        }
        text + &format!(
            "<details><summary>config.toml</summary><pre>{}</pre></details>\n",
            escape(&self.config)
        )
    }
}

/// The step in a sample's name: its last number.
fn step_of(name: &str) -> Option<u64> {
    let digits = |c: char| !c.is_ascii_digit();
    name.split(digits).rfind(|part| !part.is_empty()).and_then(|part| part.parse().ok())
}

/// Keys whose values differ between runs, a column each; nothing for one run.
fn config_table(runs: &[Run]) -> String {
    if runs.len() < 2 {
        return String::new();
    }
    let configs: Vec<BTreeMap<String, String>> = runs.iter().map(|run| flat(&run.config)).collect();
    let keys: BTreeSet<&String> = configs.iter().flat_map(BTreeMap::keys).collect();
    let row = |key: &String| -> Vec<String> {
        let values = configs.iter().map(|config| config.get(key).cloned());
        std::iter::once(key.clone()).chain(values.map(|v| v.unwrap_or("–".into()))).collect()
    };
    let differs = |row: &Vec<String>| row[2..].iter().any(|value| *value != row[1]);
    let rows: Vec<Vec<String>> = keys.into_iter().map(row).filter(differs).collect();
    let heads: Vec<&str> =
        std::iter::once("key").chain(runs.iter().map(|run| run.name.as_str())).collect();
    let title = "<h2>Where the settings differ</h2>\n";
    if rows.is_empty() {
        return format!("{title}<p>Nowhere.\n");
    }
    title.to_owned() + &table(&heads, &rows)
}

/// Dotted keys and values of a TOML file.
fn flat(config: &str) -> BTreeMap<String, String> {
    fn walk(prefix: &str, value: &toml::Value, found: &mut BTreeMap<String, String>) {
        let toml::Value::Table(table) = value else {
            found.insert(prefix.to_owned(), value.to_string());
            return;
        };
        for (key, value) in table {
            let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
            walk(&path, value, found);
        }
    }
    let mut found = BTreeMap::new();
    if let Ok(table) = config.parse::<toml::Table>() {
        walk("", &toml::Value::Table(table), &mut found);
    }
    found
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_ordered_by_their_step() {
        let mut names = ["iteration-100.png", "iteration-20.png", "loose.png"];
        names.sort_by_key(|name| (step_of(name), *name));
        assert_eq!(names, ["loose.png", "iteration-20.png", "iteration-100.png"]);
    }

    #[test]
    fn settings_that_differ_are_shown_and_no_other() {
        let run = |name: &str, config: &str| Run {
            name: name.into(),
            config: config.into(),
            metrics: Vec::new(),
            pictures: Vec::new(),
        };
        let a = run("a", "[sft]\nsteps = 3\nseed = 1\n[sft.optim]\nrate = 0.5\n");
        let b = run("b", "[sft]\nsteps = 3\nseed = 2\n[sft.optim]\nrate = 0.5\nbeta = 1\n");
        let found = config_table(&[a, b]);
        assert!(found.contains("<td>sft.seed<td>1<td>2"), "{found}");
        assert!(found.contains("<td>sft.optim.beta<td>–<td>1"), "{found}");
        assert!(!found.contains("steps") && !found.contains("rate"), "{found}");
    }
}
