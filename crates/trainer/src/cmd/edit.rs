//! `trainer edit`: one picture and a sentence, or a file of them.

mod full;

use super::eval::ModeName;
use crate::device::{DeviceName, Dtype};
use crate::full::{FullModel, kind};
use crate::hint;
use crate::picture;
use crate::run_dir::write_file;
use crate::store::Stored;
use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use earl_model::checkpoint::bundle::hex_sha256;
use earl_model::editor::AHEAD;
use earl_model::files::encode_png;
use earl_model::{EditOutcome, EditRequest, Editor, Mode, PlanStep, Region, Seed};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Flags of `edit`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The model: a bundle, a run, a safetensors file, or a published Emu3 or EARL directory.
    #[arg(long, default_value = "models/tiny")]
    model: PathBuf,
    /// The image tokenizer's directory, where the published model's is another.
    #[arg(long, value_name = "DIR")]
    vision: Option<PathBuf>,
    /// The picture: PNG, JPEG or WebP.
    #[arg(required_unless_present = "batch")]
    image: Option<PathBuf>,
    /// What to do, as one short sentence: "remove the cat".
    #[arg(required_unless_present = "batch")]
    instruction: Option<String>,
    /// Edit every line of this file: {"image": path, "instruction": text, "seed": n?, "plan": […]?}.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["image", "instruction"])]
    batch: Option<PathBuf>,
    /// The edited PNG; with `--batch`, the folder for 000000.png … and results.jsonl.
    #[arg(short, long)]
    out: PathBuf,
    /// How much of the picture the model writes; `local`, or `full` for a published model.
    #[arg(long, value_enum)]
    mode: Option<ModeName>,
    /// The pixels that may change; a published model takes it with mode `local`.
    #[arg(long, value_name = "X,Y,W,H", value_parser = full::region)]
    region: Option<Region>,
    /// With a published model: about how many pixels the edit has.
    #[arg(long, value_name = "PIXELS", default_value_t = 65_536)]
    area: u64,
    /// Read at most this many of the source's codes ahead as a draft, where the whole picture is
    /// written: fewer passes, the same edit [default: 32, 0 with a published model].
    #[arg(long, value_name = "N")]
    ahead: Option<usize>,
    /// Seed of every random draw.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// 0 takes the likeliest token, 1 samples from the model.
    #[arg(long, default_value_t = 0.0)]
    temperature: f32,
    /// Draw among this many of the likeliest tokens alone [default: all; 2048 codes with a published model].
    #[arg(long, value_name = "K", value_parser = top_k)]
    top_k: Option<usize>,
    /// Sample this many edits (seeds seed, seed+1, …) and keep the best, by `--rank`.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=64))]
    candidates: u64,
    /// What says which candidate is best [default: the model's own verifier where it has one, else likelihood].
    #[arg(long, value_enum)]
    rank: Option<Rank>,
    /// Carry out this plan instead of the model's own, which then writes the codes alone: a JSON array as
    /// `edit --json` prints it under `plan`.
    #[arg(long, value_name = "FILE", conflicts_with = "batch")]
    plan: Option<PathBuf>,
    /// Where to run.
    #[arg(long, value_enum, default_value_t)]
    device: DeviceName,
    /// With a published model: what its matrices are kept in; those of a bundle stay packed on the CPU.
    #[arg(long, value_enum, default_value_t)]
    dtype: Dtype,
    /// Print one JSON object on stdout.
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Adds to a recipe what narrows the edit.
    fn told(&self, recipe: &mut Value) {
        if let Some(region) = self.region {
            recipe["region"] = json!(region);
        }
        if let Some(top_k) = self.top_k {
            recipe["topK"] = json!(top_k);
        }
    }
}

/// What says which of several candidates is best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Rank {
    /// How likely it is right, as the model's own verifier says.
    Verifier,
    /// How likely the model was to write it.
    Likelihood,
}

fn top_k(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("give a whole number, at least 1".into()),
        Ok(number) => Ok(number),
    }
}

/// One line of a batch.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    #[serde(default)]
    #[allow(
        dead_code,
        reason = "callers may number their lines; results are numbered by position"
    )]
    id: Option<Value>,
    image: PathBuf,
    instruction: String,
    seed: Option<u64>,
    plan: Option<Vec<PlanStep>>,
}

/// Edits.
///
/// # Errors
/// For a model or picture that can't be read, a sentence that is not understood, or a place that
/// can't be written; nothing is written then.
pub(crate) fn run(args: &Args) -> Result<()> {
    let device = args.device.open()?;
    let model = if kind(&args.model).is_some() {
        full::check(args)?;
        let vision = args.vision.as_deref();
        Model::Full(Box::new(FullModel::open(&args.model, vision, args.dtype, &device)?))
    } else {
        full::refuse_flags(args)?;
        let stored = Stored::read(&args.model)?;
        let editor = stored.editor(&device)?;
        if args.rank == Some(Rank::Verifier) && editor.verifier().is_none() {
            let problem = format!("`{}` has no verifier", args.model.display());
            let fix = "train one with `trainer verifier`, or leave `--rank` out";
            return Err(hint::error(problem, fix));
        }
        Model::Tiny(Box::new(editor), stored.sha256)
    };
    let bench = Workbench { model, args };
    match (&args.batch, &args.image, &args.instruction) {
        (Some(batch), ..) => bench.batch(batch),
        (None, Some(image), Some(instruction)) => bench.single(image, instruction),
        _ => bail!("give a picture and a sentence, or `--batch`"),
    }
}

/// One edit that is asked for.
struct Asked {
    image: PathBuf,
    instruction: String,
    seed: u64,
    plan: Option<Vec<PlanStep>>,
}

/// What edits.
enum Model {
    /// A trained model and its hash.
    Tiny(Box<Editor>, String),
    /// A published one.
    Full(Box<FullModel>),
}

struct Workbench<'a> {
    model: Model,
    args: &'a Args,
}

/// An edit and what to say about it.
struct Edited {
    png: Vec<u8>,
    facts: Value,
    text: String,
}

#[derive(Serialize)]
struct Candidate {
    seed: u64,
    log_prob: f64,
    /// How likely it is right; none in models without a verifier.
    verdict: Option<f64>,
}

impl Candidate {
    /// What candidates are ordered by.
    fn score(&self, rank: Option<Rank>) -> f64 {
        match rank {
            Some(Rank::Likelihood) => self.log_prob,
            Some(Rank::Verifier) | None => self.verdict.unwrap_or(self.log_prob),
        }
    }
}

impl Workbench<'_> {
    fn single(&self, image: &Path, instruction: &str) -> Result<()> {
        let out = &self.args.out;
        if out.is_dir() {
            let problem = format!("`{}` is a folder", out.display());
            return Err(hint::error(problem, "give `--out` the name of a PNG file"));
        }
        let plan = self.args.plan.as_deref().map(read_plan).transpose()?;
        let (image, instruction) = (image.to_owned(), instruction.to_owned());
        let edited = self.edit(&Asked { image, instruction, seed: self.args.seed, plan })?;
        write_file(out, &edited.png)?;
        let mut facts = edited.facts;
        facts["output"] = json!(out);
        if self.args.json {
            return super::print_json(&facts);
        }
        super::print_lines(&format!("{}wrote {}", edited.text, out.display()));
        Ok(())
    }

    fn edit(&self, asked: &Asked) -> Result<Edited> {
        match &self.model {
            Model::Tiny(editor, sha256) => self.best(editor, sha256, asked),
            Model::Full(model) => full::edit(model, self.args, asked),
        }
    }

    /// The best candidate's picture, with its recipe, and its facts.
    fn best(&self, editor: &Editor, sha256: &str, asked: &Asked) -> Result<Edited> {
        let opened = picture::read(&asked.image)?;
        let start = Instant::now();
        let mut tried: Vec<Candidate> = Vec::new();
        let mut best: Option<(usize, EditOutcome)> = None;
        for at in 0..self.args.candidates {
            let seed = asked.seed.wrapping_add(at);
            let outcome = self.candidate(editor, &opened.picture, asked, seed)?;
            let verdict = self.verdict(editor, &asked.instruction, &outcome)?;
            let candidate = Candidate { seed, log_prob: outcome.log_prob, verdict };
            let score = |candidate: &Candidate| candidate.score(self.args.rank);
            if best.as_ref().is_none_or(|(best, _)| score(&candidate) > score(&tried[*best])) {
                best = Some((tried.len(), outcome));
            }
            tried.push(candidate);
        }
        let Some((best, outcome)) = best else { bail!("no candidate") };
        let Candidate { seed, verdict, .. } = tried[best];
        let milliseconds = start.elapsed().as_secs_f64() * 1e3;
        let mut recipe = json!({
            "v": 1, "model": sha256, "instruction": asked.instruction, "mode": self.mode(),
            "seed": seed, "temperature": self.temperature(),
            "image": hex_sha256(outcome.source.as_raw()),
        });
        if let Some(plan) = &asked.plan {
            recipe["plan"] = json!(plan);
        }
        self.args.told(&mut recipe);
        let png = encode_png(&outcome.image, Some(("earl-recipe", &recipe.to_string())))?;
        let notes: Vec<String> = opened.notes.into_iter().chain(outcome.fitted.clone()).collect();
        let facts = json!({
            "recipe": recipe, "notes": notes, "plan": outcome.plan,
            "width": outcome.image.width(), "height": outcome.image.height(),
            "outside": { "pixels": outcome.outside_pixels, "changed": outcome.outside_changed },
            "tokens": outcome.tokens, "forwards": outcome.forwards, "log_prob": outcome.log_prob,
            "doubt": outcome.doubt, "verdict": verdict, "candidates": tried,
            "milliseconds": milliseconds,
        });
        Ok(Edited { png, facts, text: describe(&outcome, &notes, verdict, milliseconds) })
    }

    /// What the model's own verifier says, where it is asked.
    fn verdict(
        &self,
        editor: &Editor,
        instruction: &str,
        outcome: &EditOutcome,
    ) -> Result<Option<f64>> {
        let asked = match self.args.rank {
            Some(rank) => rank == Rank::Verifier,
            None => self.args.candidates > 1,
        };
        if !asked {
            return Ok(None);
        }
        Ok(pollster::block_on(editor.verdict(instruction, outcome))?)
    }

    /// As asked; several candidates at temperature 0 would all be the same one.
    fn temperature(&self) -> f32 {
        let asked = self.args.temperature;
        if self.args.candidates > 1 && asked == 0.0 { 1.0 } else { asked }
    }

    /// Cells of the canvas that `--region` touches.
    fn within(&self, editor: &Editor, source: &image::RgbImage) -> Result<Option<Vec<bool>>> {
        let vision = &editor.config().vision;
        let cells = |region: Region| region.cells_of_canvas(source.dimensions(), vision);
        Ok(self.args.region.map(cells).transpose()?)
    }

    fn mode(&self) -> Mode {
        self.args.mode.unwrap_or_default().mode()
    }

    fn candidate(
        &self,
        editor: &Editor,
        source: &image::RgbImage,
        asked: &Asked,
        seed: u64,
    ) -> Result<EditOutcome> {
        let request = EditRequest {
            instruction: asked.instruction.clone(),
            mode: self.mode(),
            seed: Seed(seed),
            temperature: self.temperature(),
            plan: asked.plan.clone(),
            within: self.within(editor, source)?,
            top_k: self.args.top_k,
            ahead: self.args.ahead.unwrap_or(AHEAD),
        };
        Ok(pollster::block_on(editor.edit(source, &request, &mut |_| ControlFlow::Continue(())))?)
    }

    fn batch(&self, file: &Path) -> Result<()> {
        let text =
            fs::read_to_string(file).with_context(|| format!("reading `{}`", file.display()))?;
        let folder = &self.args.out;
        fs::create_dir_all(folder).with_context(|| format!("making `{}`", folder.display()))?;
        let start = Instant::now();
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        let line = |(at, line): (usize, &&str)| self.line(file, at, line);
        let results: Vec<Result<Value>> = match self.model {
            Model::Tiny(..) => lines.par_iter().enumerate().map(line).collect(),
            // One edit keeps every core busy.
            Model::Full(_) => lines.iter().enumerate().map(line).collect(),
        };
        let results: Vec<Value> = results.into_iter().collect::<Result<_>>()?;
        let rows: Vec<String> = results.iter().map(ToString::to_string).collect();
        let mut text = rows.join("\n");
        text.push('\n');
        write_file(&folder.join("results.jsonl"), text.as_bytes())?;
        let failed = results.iter().filter(|row| !row["error"].is_null()).count();
        let summary = json!({
            "edited": results.len() - failed, "failed": failed, "out": folder,
            "seconds": start.elapsed().as_secs_f64(),
        });
        if self.args.json {
            return super::print_json(&summary);
        }
        super::print_lines(&format!(
            "{} edited, {failed} failed (see `error` in {})",
            results.len() - failed,
            folder.join("results.jsonl").display()
        ));
        Ok(())
    }

    /// The result row of a line. A bad line is a row with its error; only a file that can't be
    /// written stops the batch.
    fn line(&self, file: &Path, at: usize, line: &str) -> Result<Value> {
        let edit = || -> Result<Edited> {
            let line: Line = serde_json::from_str(line).context("not a line of a batch")?;
            let beside = file.parent().unwrap_or(Path::new("")).join(&line.image);
            let image = if line.image.exists() { line.image } else { beside };
            let Line { instruction, seed, plan, .. } = line;
            self.edit(&Asked { image, instruction, seed: seed.unwrap_or(self.args.seed), plan })
        };
        match edit() {
            Ok(edited) => {
                let name = format!("{at:06}.png");
                write_file(&self.args.out.join(&name), &edited.png)?;
                let mut facts = edited.facts;
                facts["index"] = json!(at);
                facts["output"] = json!(name);
                Ok(facts)
            }
            Err(problem) => {
                eprintln!("warning: line {}: {problem:#}", at + 1);
                Ok(
                    json!({ "index": at, "error": format!("{problem:#}"), "hint": hint::of(&problem) }),
                )
            }
        }
    }
}

fn read_plan(path: &Path) -> Result<Vec<PlanStep>> {
    let text = fs::read(path).with_context(|| format!("reading `{}`", path.display()))?;
    serde_json::from_slice(&text).map_err(|problem| {
        hint::error(
            format!("`{}` is no plan: {problem}", path.display()),
            "give a JSON array of steps, as `trainer edit --json` prints it under `plan`",
        )
    })
}

fn describe(
    outcome: &EditOutcome,
    notes: &[String],
    verdict: Option<f64>,
    milliseconds: f64,
) -> String {
    let mut text = String::new();
    for note in notes {
        text += &format!("note: {note}\n");
    }
    if !outcome.doubt.is_empty() {
        text += &format!("doubt: {}\n", outcome.doubt);
    }
    for step in &outcome.plan {
        let tint = step.tint.as_ref().map_or_else(String::new, |tint| format!("{tint} "));
        text += &match step.cells {
            0 => format!("{} {}\n", step.verb, step.name),
            cells => format!(
                "{} {tint}{} at row {}, column {}, {cells}×{cells} cells\n",
                step.verb,
                step.name,
                step.row + 1,
                step.col + 1
            ),
        };
    }
    if let Some(verdict) = verdict {
        text += &format!("right with {:.0} %, says the model's verifier\n", 100.0 * verdict);
    }
    text + &format!(
        "{} of {} pixels outside the edit changed; {} tokens, {milliseconds:.0} ms\n",
        outcome.outside_changed, outcome.outside_pixels, outcome.tokens
    )
}
