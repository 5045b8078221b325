//! `trainer rl`: the run around the policy, from a supervised model to a better one.

use super::{new_run, open_run};
use crate::config::RunConfig;
use crate::device::DeviceName;
use crate::eval::{Settings, evaluate};
use crate::interrupt;
use crate::judge::Judge;
use crate::picture;
use crate::progress::Progress;
use crate::rl::metrics::IterationReport;
use crate::rl::rollout::{RolloutLine, Rollouts};
use crate::rl::train::{Done, Policy};
use crate::rl::verify::{Corrupted, Mllm, Oracle, Reward, Verifier, VerifierName};
use crate::run_dir::{RunDir, write_file};
use crate::store::Stored;
use anyhow::{Context, Result, bail};
use burn::tensor::Device;
use earl_model::checkpoint::{TensorMap, safetensors};
use earl_model::editor::{SEEING_PREFIX, VISION_PREFIX};
use earl_model::{Editor, ModelConfig};
use earl_scenes::{Example, Split};
use image::RgbImage;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

/// Flags of `rl`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Configuration of the run (TOML).
    #[arg(long, required_unless_present = "resume")]
    config: Option<PathBuf>,
    /// The model to start from, and to stay near: a bundle, a run or a safetensors file.
    #[arg(long, value_name = "MODEL", required_unless_present = "resume")]
    init: Option<PathBuf>,
    /// Folder of the new run [default: runs/rl-<config>-N].
    #[arg(long, conflicts_with = "resume")]
    out: Option<PathBuf>,
    /// Go on with this run from its newest whole checkpoint.
    #[arg(long, value_name = "RUN", conflicts_with_all = ["config", "init"])]
    resume: Option<PathBuf>,
    /// Iterations of the run, instead of the configuration's.
    #[arg(long, conflicts_with = "resume")]
    iterations: Option<u64>,
    /// Seed of rollouts and scenes, instead of the configuration's.
    #[arg(long, conflicts_with = "resume")]
    seed: Option<u64>,
    /// Share of rewards replaced by noise, instead of the configuration's.
    #[arg(long, value_name = "P", conflicts_with = "resume")]
    corrupt: Option<f64>,
    /// Keep every rollout with its reward in the run's `rollouts.jsonl`.
    #[arg(long)]
    save_rollouts: bool,
    /// Where to train; rollouts are written there too.
    #[arg(long, value_enum, default_value_t)]
    device: DeviceName,
    /// Print the last iteration's figures as one JSON object on stdout.
    #[arg(long)]
    json: bool,
}

/// What a checkpoint holds beside tensors.
#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    updates: u64,
    rollouts: u64,
    tokens: u64,
    seconds: f64,
}

/// One line of `metrics.jsonl`.
#[derive(Serialize)]
struct Line<'a, T: Serialize> {
    step: u64,
    rollouts_seen: u64,
    #[serde(flatten)]
    what: &'a T,
}

/// Trains by rewards, or goes on.
///
/// # Errors
/// For a bad configuration or model, a folder that can't be written, too many failed verdicts, or
/// log-probabilities that disagree.
pub(crate) fn run(args: &Args) -> Result<()> {
    interrupt::listen()?;
    let (run, config) = open_run(args.resume.as_deref(), || start(args))?;
    let mut session = Session::open(args, run, &config)?;
    session.train()?;
    if args.json {
        super::print_json(&session.summary())?;
    }
    Ok(())
}

fn start(args: &Args) -> Result<(RunDir, RunConfig)> {
    let (Some(path), Some(init)) = (&args.config, &args.init) else {
        bail!("no configuration; pass `--config` and `--init`")
    };
    let mut config = RunConfig::read(path)?;
    config.rl.iterations = args.iterations.unwrap_or(config.rl.iterations);
    config.rl.seed = args.seed.unwrap_or(config.rl.seed);
    config.rl.corrupt = args.corrupt.unwrap_or(config.rl.corrupt);
    config.rl.check()?;
    let stored = Stored::read(init)?;
    let facts = serde_json::json!({
        "device": format!("{:?}", args.device), "seed": config.rl.seed, "parent": init,
        "parent_sha256": stored.sha256,
    });
    let run = new_run("rl", path, args.out.as_deref(), &config, facts)?;
    let model = serde_json::to_string(&stored.config)?;
    let bytes = safetensors::write(&stored.edit_tensors(), &model)?;
    write_file(&run.path("weights/reference.safetensors"), &bytes)?;
    Ok((run, config))
}

struct Session<'a> {
    run: RunDir,
    config: &'a RunConfig,
    model: ModelConfig,
    /// What is not trained: picture tokenizer and seeing head.
    frozen: TensorMap,
    device: Device,
    policy: Policy,
    state: State,
    judge: Option<Judge>,
    save_rollouts: bool,
    last: Option<IterationReport>,
}

impl<'a> Session<'a> {
    fn open(args: &Args, run: RunDir, config: &'a RunConfig) -> Result<Self> {
        let start = Stored::read(&run.path("weights/reference.safetensors"))?;
        let device = args.device.open()?;
        let (mut iterations, mut state) = (0, State::default());
        let (mut weights, mut moments) = (start.edit_tensors(), TensorMap::new());
        if let Some(checkpoint) = run.load::<State>()? {
            (iterations, state) = (checkpoint.step, checkpoint.state);
            weights = safetensors::read(&checkpoint.model)?.0;
            moments = safetensors::read(&checkpoint.optim)?.0;
            eprintln!("going on from iteration {iterations}");
        }
        run.truncate_metrics(iterations)?;
        let mut frozen = start.part(VISION_PREFIX);
        frozen.extend(start.part(SEEING_PREFIX));
        let done = Done { iterations, updates: state.updates };
        let (model, rl) = (start.config.clone(), config.rl.clone());
        let policy = Policy::new(rl, &model, &device, done, &weights, &start.tensors, moments)?;
        let asks = config.rl.verifier == VerifierName::Mllm;
        let judge = asks.then(|| Judge::new(&config.judge)).transpose()?;
        let save_rollouts = args.save_rollouts;
        Ok(Self {
            run,
            config,
            model,
            frozen,
            device,
            policy,
            state,
            judge,
            save_rollouts,
            last: None,
        })
    }

    fn train(&mut self) -> Result<()> {
        let config = &self.config.rl;
        let mut progress = Progress::new("rl", self.policy.taken(), config.iterations);
        if self.policy.taken() == 0 {
            self.look(&progress)?;
        }
        while self.policy.taken() < config.iterations {
            let iteration = self.policy.taken();
            let report = self.iterate(iteration).with_context(|| {
                format!(
                    "at iteration {iteration}; the last good checkpoint is in `{}`",
                    self.run.path("checkpoints").display()
                )
            })?;
            let line = Line { step: iteration, rollouts_seen: self.state.rollouts, what: &report };
            self.run.log(&line)?;
            progress.step(iteration + 1, &report.line());
            self.last = Some(report);
            let done = self.policy.taken();
            if done.is_multiple_of(config.probe_every) {
                self.look(&progress)?;
            }
            if done.is_multiple_of(config.checkpoint_every) || interrupt::asked() {
                self.save()?;
            }
            if interrupt::asked() {
                let run = self.run.path("");
                eprintln!("stopped; go on with `trainer rl --resume {}`", run.display());
                return Ok(());
            }
        }
        self.save()
    }

    /// One iteration: rollouts, rewards, one optimizer step.
    fn iterate(&mut self, iteration: u64) -> Result<IterationReport> {
        let config = &self.config.rl;
        let start = Instant::now();
        let editor = self.editor()?;
        let rollouts = Rollouts::make(&editor, config, iteration)?;
        let sampled = start.elapsed().as_secs_f64();
        let pictures = rollouts.pictures(&editor, config.mode)?;
        let rewards = self.rewards(&editor, &rollouts, &pictures)?;
        let judged = start.elapsed().as_secs_f64();
        if iteration.is_multiple_of(config.probe_every) {
            self.sheet(iteration, &rollouts, &pictures)?;
        }
        if self.save_rollouts {
            self.keep(iteration, &rollouts, &rewards)?;
        }
        let step = self.policy.step(&rollouts, &rewards)?;
        let all = start.elapsed().as_secs_f64();
        self.state.updates = self.policy.updates();
        self.state.rollouts += rollouts.written.len() as u64;
        self.state.tokens +=
            rollouts.written.iter().map(|written| written.program.len() as u64).sum::<u64>();
        self.state.seconds += all;
        let seconds = [sampled, judged - sampled, all - judged];
        Ok(IterationReport::new(&rollouts, &rewards, step, seconds))
    }

    fn rewards(
        &self,
        editor: &Editor,
        rollouts: &Rollouts,
        pictures: &[RgbImage],
    ) -> Result<Vec<Option<Reward>>> {
        let config = &self.config.rl;
        let oracle = Oracle { editor, mode: config.mode };
        let mllm = self.judge.as_ref().map(|judge| Mllm { judge });
        let inner: &dyn Verifier = match &mllm {
            Some(mllm) => mllm,
            None => &oracle,
        };
        let corrupted = Corrupted { inner, share: config.corrupt, seed: config.seed };
        let rewards = corrupted.rewards(rollouts, pictures, self.state.rollouts);
        let failed = rewards.iter().filter(|reward| reward.is_err()).count();
        let limit = config.failed_limit * rewards.len() as f64;
        let mut first = None;
        let rewards = rewards
            .into_iter()
            .map(|reward| reward.map_err(|problem| first.get_or_insert(problem).to_string()).ok())
            .collect();
        match first {
            Some(problem) if failed as f64 > limit => Err(problem.context(format!(
                "the verifier gave no verdict on {failed} of {} rollouts, more than `rl.failed_limit` = {}",
                pictures.len(),
                config.failed_limit
            ))),
            _ => Ok(rewards),
        }
    }

    /// Source and rollouts of the first prompts, a row each.
    fn sheet(&self, iteration: u64, rollouts: &Rollouts, pictures: &[RgbImage]) -> Result<()> {
        let rows: Vec<Vec<RgbImage>> = rollouts
            .cases
            .iter()
            .zip(pictures.chunks(rollouts.group_size))
            .map(|(case, edits)| {
                std::iter::once(&case.picture).chain(edits).cloned().collect::<Vec<_>>()
            })
            .collect();
        let path = self.run.path(&format!("samples/iteration-{iteration:06}.png"));
        picture::write(&path, &picture::sheet(&rows, 1))
    }

    fn keep(&self, iteration: u64, rollouts: &Rollouts, rewards: &[Option<Reward>]) -> Result<()> {
        let path = self.run.path("rollouts.jsonl");
        let rewards: Vec<Option<f64>> =
            rewards.iter().map(|reward| reward.map(|reward| reward.overall)).collect();
        let lines = rollouts.lines(iteration, self.config.rl.mode, &rewards);
        let text: Vec<String> = lines
            .iter()
            .map(|line: &RolloutLine| serde_json::to_string(line))
            .collect::<Result<_, _>>()?;
        let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
        let text = text.join("\n") + "\n";
        file.write_all(text.as_bytes()).with_context(|| format!("writing `{}`", path.display()))
    }

    /// Scores held-out edits, greedily, and logs what is right.
    fn look(&self, progress: &Progress) -> Result<()> {
        let (editor, config) = (self.editor()?, &self.config.rl);
        let examples: Vec<Example> = (0..config.probe_examples)
            .map(|index| earl_scenes::example(1, index, Split::Seen, None))
            .collect();
        let settings = Settings { mode: config.mode, temperature: 0.0, seed: 0, best_of: 1 };
        let rows = evaluate(&editor, &examples, settings, &|| ())?;
        let mut by_op: BTreeMap<&str, [usize; 2]> = BTreeMap::new();
        for row in &rows {
            let [right, n] = by_op.entry(row.op.name()).or_default();
            *right += usize::from(row.score.success);
            *n += 1;
        }
        let right: usize = by_op.values().map(|[right, _]| right).sum();
        progress.say(&format!("  held-out edits right: {right} of {}", rows.len()));
        let success = right as f64 / rows.len().max(1) as f64;
        let what = serde_json::json!({ "held_out_success": success, "held_out": by_op });
        let step = self.policy.taken().saturating_sub(1);
        self.run.log(&Line { step, rollouts_seen: self.state.rollouts, what: &what })
    }

    fn editor(&self) -> Result<Editor> {
        Ok(Editor::from_tensors(self.model.clone(), &self.weights()?, &self.device)?)
    }

    fn weights(&self) -> Result<TensorMap> {
        let mut weights = self.policy.checkpoint()?.0;
        weights.extend(self.frozen.clone());
        Ok(weights)
    }

    fn save(&self) -> Result<()> {
        let config = serde_json::to_string(&self.model)?;
        let (weights, moments) = self.policy.checkpoint()?;
        let weights = safetensors::write(&weights, &config)?;
        let moments = safetensors::write(&moments, &config)?;
        self.run.save(self.policy.taken(), &self.state, &weights, &moments)?;
        let usable = safetensors::write(&self.weights()?, &config)?;
        write_file(&self.run.path("weights/model.safetensors"), &usable)
    }

    fn summary(&self) -> serde_json::Value {
        serde_json::json!({
            "run": self.run.path(""), "iteration": self.policy.taken(),
            "iterations": self.config.rl.iterations, "rollouts": self.state.rollouts,
            "tokens": self.state.tokens, "seconds": self.state.seconds, "last": self.last,
        })
    }
}
