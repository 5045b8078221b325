//! `trainer verifier`: the run around a model's own verifier.

use super::run::{REFERENCE, RunFlags};
use crate::config::RunConfig;
use crate::interrupt;
use crate::progress::Progress;
use crate::rl::config::RlData;
use crate::run_dir::{RunDir, write_file};
use crate::store::{Stored, check_finite};
use crate::verifier::batch::Batch;
use crate::verifier::train::{Student, VerifierStep};
use anyhow::{Context, Result};
use earl_model::Editor;
use earl_model::checkpoint::{TensorMap, safetensors};
use earl_model::editor::VERIFIER_PREFIX;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Flags of `verifier`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    run: RunFlags,
    /// The model whose edits are to be told apart, and which reads them: a bundle, a run or a safetensors file.
    #[arg(long, value_name = "MODEL", required_unless_present = "resume")]
    init: Option<PathBuf>,
    /// Steps of the run, instead of the configuration's.
    #[arg(long, conflicts_with = "resume")]
    steps: Option<u64>,
}

/// What a checkpoint holds beside tensors.
#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    updates: u64,
    edits: u64,
    seconds: f64,
}

/// One line of `metrics.jsonl`.
#[derive(Serialize)]
struct Line<'a> {
    step: u64,
    edits_seen: u64,
    seconds: f64,
    #[serde(flatten)]
    report: &'a VerifierStep,
}

/// Trains a verifier, or goes on.
///
/// # Errors
/// For a bad configuration or model, a folder that can't be written, or a loss that is no number.
pub(crate) fn run(args: &Args) -> Result<()> {
    interrupt::listen()?;
    let (run, config) = args.run.open(|path| start(args, path))?;
    let mut session = Session::open(args, run, &config)?;
    session.train()?;
    if args.run.json {
        super::print_json(&session.summary())?;
    }
    Ok(())
}

fn start(args: &Args, path: &Path) -> Result<(RunDir, RunConfig)> {
    let init = args.init.as_ref().context("no model to read edits; pass `--init`")?;
    let mut config = RunConfig::read(path)?;
    config.verifier.steps = args.steps.unwrap_or(config.verifier.steps);
    if let Some(seed) = args.run.seed {
        config.verifier.seed = seed;
        config.verifier.data.seed = RlData::default().seed.wrapping_add(seed);
    }
    config.verifier.check()?;
    let stored = Stored::read(init)?;
    let mut tensors = stored.edit_tensors();
    tensors.retain(|name, _| !name.starts_with(VERIFIER_PREFIX));
    let facts = serde_json::json!({
        "seed": config.verifier.seed, "parent": init,
        "parent_sha256": stored.sha256, "in_integers": stored.is_bundle,
    });
    let bytes = safetensors::write(&tensors, &serde_json::to_string(&stored.config)?)?;
    let files: [(&str, &[u8]); 1] = [(REFERENCE, &bytes)];
    Ok((args.run.create("verifier", path, &config, facts, &files)?, config))
}

struct Session<'a> {
    run: RunDir,
    config: &'a RunConfig,
    model: Stored,
    editor: Editor,
    student: Student,
    /// Steps done.
    taken: u64,
    state: State,
    /// Steps done at the newest checkpoint.
    saved: Option<u64>,
    last: Option<VerifierStep>,
}

impl<'a> Session<'a> {
    fn open(args: &Args, run: RunDir, config: &'a RunConfig) -> Result<Self> {
        // A bundle's edits are those it makes everywhere, in integers: so are the readings.
        let is_bundle = run.facts()?["in_integers"] == true;
        let model = Stored { is_bundle, ..Stored::read(&run.path(REFERENCE))? };
        let device = args.run.device.open()?;
        let editor = model.editor(&device)?;
        let (mut taken, mut state, mut saved) = (0, State::default(), None);
        let (mut weights, mut kept) = (None, TensorMap::new());
        if let Some(checkpoint) = run.load::<State>()? {
            (taken, state, saved) = (checkpoint.step, checkpoint.state, Some(checkpoint.step));
            weights = Some(safetensors::read(&checkpoint.model)?.0);
            kept = safetensors::read(&checkpoint.optim)?.0;
            eprintln!("going on from step {taken}");
        }
        run.truncate_metrics(taken)?;
        let settings = config.verifier.clone();
        let student = Student::new(settings, &device, state.updates, weights.as_ref(), kept)?;
        Ok(Self { run, config, model, editor, student, taken, state, saved, last: None })
    }

    fn train(&mut self) -> Result<()> {
        let config = &self.config.verifier;
        let mut progress = Progress::new("verifier", self.taken, config.steps);
        while self.taken < config.steps {
            let step = self.taken;
            let report = self
                .step(step)
                .with_context(|| format!("at step {step}; {}", self.run.last_good()))?;
            let (edits_seen, seconds) = (self.state.edits, self.state.seconds);
            self.run.log(&Line { step, edits_seen, seconds, report: &report })?;
            progress.step(step + 1, &report.line());
            self.last = Some(report);
            if (step + 1).is_multiple_of(config.checkpoint_every) || interrupt::asked() {
                self.save()?;
            }
            if interrupt::asked() {
                let run = self.run.path("");
                eprintln!("stopped; go on with `trainer verifier --resume {}`", run.display());
                return Ok(());
            }
        }
        self.save()
    }

    fn step(&mut self, step: u64) -> Result<VerifierStep> {
        let start = Instant::now();
        let batch = Batch::make(&self.editor, &self.config.verifier, step)?;
        self.state.edits += batch.edits.len() as u64;
        let report = self.student.step(batch)?;
        self.state.updates = self.student.updates();
        self.taken = step + 1;
        self.state.seconds += start.elapsed().as_secs_f64();
        Ok(report)
    }

    /// A checkpoint, and the model with its verifier.
    fn save(&mut self) -> Result<()> {
        let config = serde_json::to_string(&self.model.config)?;
        let (weights, kept) = self.student.checkpoint()?;
        let taken = self.taken;
        check_finite(&weights)
            .with_context(|| format!("after step {taken}; {}", self.run.last_good()))?;
        if self.saved.replace(taken) != Some(taken) {
            let own = safetensors::write(&weights, &config)?;
            let kept = safetensors::write(&kept, &config)?;
            self.run.save(taken, &self.state, &own, &kept)?;
        }
        let mut usable = self.model.tensors.clone();
        usable.extend(weights);
        let usable = safetensors::write(&usable, &config)?;
        write_file(&self.run.path("weights/model.safetensors"), &usable)
    }

    fn summary(&self) -> serde_json::Value {
        serde_json::json!({
            "run": self.run.path(""), "step": self.taken,
            "steps": self.config.verifier.steps, "edits": self.state.edits,
            "seconds": self.state.seconds, "last": self.last,
        })
    }
}
