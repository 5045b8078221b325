//! `trainer sft`: the run around the supervised loop, from configuration to weights that can be used.

use super::run::RunFlags;
use crate::config::RunConfig;
use crate::device::DeviceName;
use crate::interrupt;
use crate::progress::Progress;
use crate::run_dir::{RunDir, write_file};
use crate::sft::batch::BatchMaker;
use crate::sft::codes::CodeTable;
use crate::sft::probe::{entropies, probe};
use crate::sft::train::{SftStep, Trainer};
use crate::sft::widen::widen;
use crate::store::{Stored, check_finite};
use crate::tok;
use anyhow::{Context, Result};
use earl_kernels::precision::{Matmul, set_matmul};
use earl_model::checkpoint::{TensorMap, safetensors};
use earl_model::editor::VISION_PREFIX;
use earl_model::vision::LayeredVq;
use earl_model::{Editor, ModelConfig};
use earl_scenes::{Split, Style};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Flags of `sft`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    run: RunFlags,
    /// Start from this model's weights: a bundle, a run or a safetensors file; words it lacks are added.
    #[arg(long, value_name = "MODEL", conflicts_with = "resume")]
    init: Option<PathBuf>,
    /// Take this model's picture tokenizer instead of making one; `--init` brings its own.
    #[arg(long, value_name = "MODEL", conflicts_with_all = ["init", "resume"])]
    tokenizer: Option<PathBuf>,
    /// Steps of the run, instead of the configuration's.
    #[arg(long, conflicts_with = "resume")]
    steps: Option<u64>,
}

/// What a checkpoint holds beside tensors.
#[derive(Debug, Serialize, Deserialize)]
struct State {
    edits: u64,
    seconds: f64,
}

/// One line of `metrics.jsonl`.
#[derive(Serialize)]
struct Line<'a, T: Serialize> {
    step: u64,
    edits_seen: u64,
    #[serde(flatten)]
    what: &'a T,
}

/// Trains, or goes on training.
///
/// # Errors
/// For a bad configuration, a folder that can't be written, or a loss that is no number.
pub(crate) fn run(args: &Args) -> Result<()> {
    interrupt::listen()?;
    let mut init = args.init.as_deref().map(Stored::read).transpose()?;
    let lent = args.tokenizer.as_deref().map(Stored::read).transpose()?;
    let (run, config) = args.run.open(|path| start(args, path, &mut init))?;
    let model = config.model_config()?;
    if config.sft.mixed_precision && !set_matmul(Matmul::Mixed) {
        eprintln!("note: this CPU does not multiply bfloat16; products are made in f32");
    }
    let tokenizer = tokenizer(&run, &config, &model, init.as_ref().or(lent.as_ref()))?;
    let mut session = Session::open(args, run, &config, &model, tokenizer, init)?;
    session.train()?;
    if args.run.json {
        super::print_json(&session.summary())?;
    }
    Ok(())
}

fn start(args: &Args, path: &Path, init: &mut Option<Stored>) -> Result<(RunDir, RunConfig)> {
    let mut config = RunConfig::read(path)?;
    config.sft.steps = args.steps.unwrap_or(config.sft.steps);
    config.sft.seed = args.run.seed.unwrap_or(config.sft.seed);
    config.sft.data.seed = args.run.seed.unwrap_or(config.sft.data.seed);
    if let Some(given) = init.take() {
        *init = Some(widen(given, &config.model_config()?)?);
    }
    let facts = serde_json::json!({
        "seed": config.sft.seed, "parent": args.init,
    });
    let run = args.run.create("sft", path, &config, facts, &[])?;
    Ok((run, config))
}

/// The run's tokenizer, made once and kept in its folder, or that of another model; weights to start from
/// bring their own, since their codes mean nothing in another.
fn tokenizer(
    run: &RunDir,
    config: &RunConfig,
    model: &ModelConfig,
    given: Option<&Stored>,
) -> Result<LayeredVq> {
    let path = run.path("weights/tokenizer.safetensors");
    if path.is_file() {
        return Ok(LayeredVq::from_tensors(&model.vision, &Stored::read(&path)?.tensors)?);
    }
    let tokenizer = match given.map(|given| given.part(VISION_PREFIX)) {
        Some(tensors) if !tensors.is_empty() => LayeredVq::from_tensors(&model.vision, &tensors)?,
        _ => {
            eprintln!("making the picture tokenizer's codebook");
            tok::tokenizer(&config.tok, &model.vision)?
        }
    };
    let bytes = safetensors::write(&tokenizer.tensors(), &serde_json::to_string(model)?)?;
    write_file(&path, &bytes)?;
    Ok(tokenizer)
}

struct Session<'a> {
    run: RunDir,
    config: &'a RunConfig,
    model: &'a ModelConfig,
    tokenizer: LayeredVq,
    codes: CodeTable,
    trainer: Trainer,
    state: State,
    last: Option<SftStep>,
}

impl<'a> Session<'a> {
    fn open(
        args: &Args,
        run: RunDir,
        config: &'a RunConfig,
        model: &'a ModelConfig,
        tokenizer: LayeredVq,
        init: Option<Stored>,
    ) -> Result<Self> {
        let device = args.run.device.open()?.autodiff();
        let mut state = State { edits: 0, seconds: 0.0 };
        let sft = config.sft.clone();
        let trainer = if let Some(checkpoint) = run.load::<State>()? {
            state = checkpoint.state;
            let weights = safetensors::read(&checkpoint.model)?.0;
            let moments = safetensors::read(&checkpoint.optim)?.0;
            eprintln!("going on from step {}", checkpoint.step);
            Trainer::resume(sft, model, device, checkpoint.step, &weights, moments)?
        } else {
            let given = init.map_or_else(TensorMap::new, |init| init.tensors);
            Trainer::from_weights(sft, model, device, given)?
        };
        run.truncate_metrics(trainer.steps_taken())?;
        let codes = CodeTable::new(&tokenizer, Style::Fluent3d);
        Ok(Self { run, config, model, tokenizer, codes, trainer, state, last: None })
    }

    fn train(&mut self) -> Result<()> {
        let config = &self.config.sft;
        let vocabulary = self.trainer.vocabulary().clone();
        let mut progress = Progress::new("sft", self.trainer.steps_taken(), config.steps);
        let start = Instant::now();
        let (edits_before, seconds_before) = (self.state.edits, self.state.seconds);
        while self.trainer.steps_taken() < config.steps {
            let step = self.trainer.steps_taken();
            let maker =
                BatchMaker { vocabulary: &vocabulary, codes: &self.codes, config: &config.data };
            let report = maker.make(step).and_then(|batch| self.trainer.step(&batch));
            let report = report.with_context(|| {
                let scenes = config.data.scenes_per_step as u64;
                format!(
                    "at step {step} (scenes {}–{} of `sft.data.seed` = {}); {}",
                    step * scenes,
                    (step + 1) * scenes - 1,
                    config.data.seed,
                    self.run.last_good()
                )
            })?;
            self.state.edits += report.edits as u64;
            self.state.seconds = seconds_before + start.elapsed().as_secs_f64();
            self.run.log(&Line { step, edits_seen: self.state.edits, what: &report })?;
            self.last = Some(report);
            let rate = (self.state.edits - edits_before) as f64 / start.elapsed().as_secs_f64();
            progress.step(step + 1, &describe(&report, rate));
            self.after_step(&progress)?;
            if interrupt::asked() {
                self.save()?;
                eprintln!(
                    "stopped; go on with `trainer sft --resume {}`",
                    self.run.path("").display()
                );
                return Ok(());
            }
        }
        self.save()
    }

    fn after_step(&mut self, progress: &Progress) -> Result<()> {
        let (done, config) = (self.trainer.steps_taken(), &self.config.sft);
        if done.is_multiple_of(config.probe_every) {
            self.look(progress)?;
        }
        if done.is_multiple_of(config.checkpoint_every) {
            self.save()?;
        }
        Ok(())
    }

    /// Looks at held-out edits and logs what the model gets right.
    fn look(&self, progress: &Progress) -> Result<()> {
        let editor = self.editor()?;
        let tallies = probe(&editor, &self.codes, Split::Seen, self.config.sft.probe_examples);
        for (op, tally) in &tallies {
            let share = |part: usize, whole: usize| part as f64 / whole.max(1) as f64;
            progress.say(&format!(
                "  {:10} verbs {:.2} found {:.2} plan {:.2} codes {:.2}",
                op.name(),
                share(tally.verbs, tally.n),
                share(tally.found, tally.n),
                share(tally.plan, tally.n),
                share(tally.codes, tally.drawn),
            ));
        }
        let by_op: std::collections::BTreeMap<&str, _> =
            tallies.iter().map(|(op, tally)| (op.name(), tally)).collect();
        let [control, code] = entropies(&editor, Split::Seen)?;
        progress.say(&format!("  entropy of control tokens {control:.3}, of codes {code:.3} nats"));
        let what = serde_json::json!({
            "probe": by_op, "entropy_control": control, "entropy_code": code,
        });
        let step = self.trainer.steps_taken() - 1;
        self.run.log(&Line { step, edits_seen: self.state.edits, what: &what })
    }

    fn editor(&self) -> Result<Editor> {
        let device = DeviceName::Flex.open()?;
        Ok(Editor::from_tensors(self.model.clone(), &self.weights()?, &device)?)
    }

    /// What an edit uses: decoder, seeing head and tokenizer.
    fn weights(&self) -> Result<TensorMap> {
        let mut weights = self.trainer.checkpoint()?.0;
        weights.extend(self.tokenizer.tensors());
        Ok(weights)
    }

    fn save(&self) -> Result<()> {
        let config = serde_json::to_string(self.model)?;
        let (weights, moments) = self.trainer.checkpoint()?;
        let step = self.trainer.steps_taken();
        check_finite(&weights)
            .with_context(|| format!("after step {step}; {}", self.run.last_good()))?;
        let (weights, moments) =
            (safetensors::write(&weights, &config)?, safetensors::write(&moments, &config)?);
        self.run.save(step, &self.state, &weights, &moments)?;
        let usable = safetensors::write(&self.weights()?, &config)?;
        write_file(&self.run.path("weights/model.safetensors"), &usable)
    }

    fn summary(&self) -> serde_json::Value {
        serde_json::json!({
            "run": self.run.path(""), "step": self.trainer.steps_taken(), "steps": self.config.sft.steps,
            "edits_seen": self.state.edits, "seconds": self.state.seconds, "last": self.last,
        })
    }
}

fn describe(report: &SftStep, rate: f64) -> String {
    format!(
        "loss {:.3} · control {:.3} · codes {:.3} · seeing {:.3} · grad {:.2} · {rate:.0} edits/s",
        report.loss, report.control, report.code, report.seeing, report.grad_norm
    )
}
