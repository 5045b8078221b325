//! `trainer rl`: the run around the policy, from a supervised model to a better one.

use super::run::{REFERENCE, RunFlags};
use crate::config::RunConfig;
use crate::eval::{Settings, evaluate};
use crate::hint;
use crate::interrupt;
use crate::picture;
use crate::progress::Progress;
use crate::rl::config::{RlConfig, RlData};
use crate::rl::judging::{Limits, judge_all};
use crate::rl::metrics::IterationReport;
use crate::rl::offline::Offline;
use crate::rl::rollout::{RolloutLine, Rollouts};
use crate::rl::train::{Done, Policy};
use crate::rl::verifiers::Verifiers;
use crate::rl::verify::{Corrupted, Given, Reward, Strict};
use crate::run_dir::{RunDir, write_file};
use crate::store::{Stored, check_finite};
use anyhow::{Context, Result};
use burn::tensor::Device;
use earl_model::checkpoint::{TensorMap, safetensors};
use earl_model::editor::{SEEING_PREFIX, VISION_PREFIX};
use earl_model::{Editor, ModelConfig};
use earl_scenes::{Example, Split};
use image::RgbImage;
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Flags of `rl`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    run: RunFlags,
    /// The model to start from, and to stay near: a bundle, a run or a safetensors file.
    #[arg(long, value_name = "MODEL", required_unless_present = "resume")]
    init: Option<PathBuf>,
    /// Iterations of the run, instead of the configuration's.
    #[arg(long, conflicts_with = "resume")]
    iterations: Option<u64>,
    /// Share of rewards replaced by noise, instead of the configuration's.
    #[arg(long, value_name = "P", conflicts_with = "resume")]
    corrupt: Option<f64>,
    /// Train on the rollouts of this file, `rl.prompts` lines an iteration and each line once, instead of
    /// sampling them: `rollouts.jsonl` of `--save-rollouts`, or of another sampler.
    #[arg(long, value_name = "FILE", conflicts_with = "resume")]
    rollouts: Option<PathBuf>,
    /// Keep every rollout with its reward in the run's `rollouts.jsonl`.
    #[arg(long)]
    save_rollouts: bool,
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
/// For a bad configuration, model or file of rollouts, a folder that can't be written, too many failed
/// verdicts, log-probabilities that disagree, or a loss that is no number.
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
    let init = args.init.as_ref().context("no model to start from; pass `--init`")?;
    let mut config = RunConfig::read(path)?;
    config.rl.iterations = args.iterations.unwrap_or(config.rl.iterations);
    if let Some(seed) = args.run.seed {
        config.rl.seed = seed;
        // Far from the seeds that supervised training takes its scenes from.
        config.rl.data.seed = RlData::default().seed.wrapping_add(seed);
    }
    config.rl.corrupt = args.corrupt.unwrap_or(config.rl.corrupt);
    config.rl.check()?;
    let stored = Stored::read(init)?;
    let mut facts = serde_json::json!({
        "seed": config.rl.seed, "parent": init,
        "parent_sha256": stored.sha256,
    });
    if let Some(path) = &args.rollouts {
        let offline = Offline::read(path, &stored.config, config.rl.mode)?;
        config.rl.iterations = config.rl.iterations.min(offline.iterations(config.rl.prompts));
        config.rl.rollouts = Some(absolute(path)?);
        facts["rollouts_sha256"] = offline.sha256.into();
    }
    config.rl.replay = config.rl.replay.as_deref().map(absolute).transpose()?;
    let model = serde_json::to_string(&stored.config)?;
    let bytes = safetensors::write(&stored.edit_tensors(), &model)?;
    let files: [(&str, &[u8]); 1] = [(REFERENCE, &bytes)];
    Ok((args.run.create("rl", path, &config, facts, &files)?, config))
}

/// Rollouts of the iteration under way, where verdicts are worth money or time.
const PENDING: &str = "pending.jsonl";

/// A path that holds wherever the run is resumed from.
fn absolute(path: &Path) -> Result<PathBuf> {
    path.canonicalize().with_context(|| format!("reading `{}`", path.display()))
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
    verifiers: Verifiers,
    offline: Option<Offline>,
    save_rollouts: bool,
    /// Iterations done at the newest checkpoint.
    saved: Cell<Option<u64>>,
    last: Option<IterationReport>,
}

impl<'a> Session<'a> {
    fn open(args: &Args, run: RunDir, config: &'a RunConfig) -> Result<Self> {
        let start = Stored::read(&run.path(REFERENCE))?;
        let device = args.run.device.open()?;
        let (mut iterations, mut state, mut saved) = (0, State::default(), None);
        let (mut weights, mut moments) = (start.edit_tensors(), TensorMap::new());
        if let Some(checkpoint) = run.load::<State>()? {
            (iterations, state) = (checkpoint.step, checkpoint.state);
            saved = Some(iterations);
            weights = safetensors::read(&checkpoint.model)?.0;
            moments = safetensors::read(&checkpoint.optim)?.0;
            eprintln!("going on from iteration {iterations}");
        }
        run.truncate_metrics(iterations)?;
        run.truncate_lines("rollouts.jsonl", "iteration", iterations)?;
        let mut frozen = start.part(VISION_PREFIX);
        frozen.extend(start.part(SEEING_PREFIX));
        let done = Done { iterations, updates: state.updates };
        let (model, rl) = (start.config.clone(), config.rl.clone());
        let policy = Policy::new(rl, &model, &device, done, &weights, &start.tensors, moments)?;
        let verifiers = Verifiers::open(&config.rl, &config.judge, &run)?;
        let offline = offline(&run, &config.rl, &model)?;
        let (saved, save_rollouts) = (Cell::new(saved), args.save_rollouts);
        Ok(Self {
            run,
            config,
            model,
            frozen,
            device,
            policy,
            state,
            verifiers,
            offline,
            save_rollouts,
            saved,
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
            let report = self
                .iterate(iteration)
                .with_context(|| format!("at iteration {iteration}; {}", self.run.last_good()))?;
            let Some(report) = report else {
                self.save()?;
                self.say_stopped();
                return Ok(());
            };
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
                self.say_stopped();
                return Ok(());
            }
        }
        self.save()
    }

    fn say_stopped(&self) {
        eprintln!("stopped; go on with `trainer rl --resume {}`", self.run.path("").display());
    }

    /// One iteration: rollouts, rewards, one optimizer step; nothing if Ctrl-C came while judging.
    fn iterate(&mut self, iteration: u64) -> Result<Option<IterationReport>> {
        let config = &self.config.rl;
        let start = Instant::now();
        let editor = self.editor()?;
        let rollouts = self.rollouts(&editor, iteration)?;
        let sampled = start.elapsed().as_secs_f64();
        let pictures = rollouts.pictures(&editor, config.mode)?;
        let Some(rewards) = self.rewards(&editor, &rollouts, &pictures)? else { return Ok(None) };
        let judged = start.elapsed().as_secs_f64();
        if iteration.is_multiple_of(config.probe_every) {
            self.sheet(iteration, &rollouts, &pictures)?;
        }
        if self.save_rollouts {
            let lines = rollouts.lines(iteration, config.mode, &rewards);
            self.run.append("rollouts.jsonl", &lines)?;
        }
        let step = self
            .policy
            .step(&rollouts, &rewards)
            .with_context(|| format!("training on prompts {}", rollouts.ids()))?;
        if iteration == 0 && self.offline.is_some() && step.logprob_gap > config.gap_limit {
            eprintln!(
                "warning: the rollouts were not sampled from `--init` at temperature 1: log-probabilities differ by {:.3} nats",
                step.logprob_gap
            );
        }
        let all = start.elapsed().as_secs_f64();
        self.state.updates = self.policy.updates();
        self.state.rollouts += rollouts.written.len() as u64;
        self.state.tokens +=
            rollouts.written.iter().map(|written| written.program.len() as u64).sum::<u64>();
        self.state.seconds += all;
        let seconds = [sampled, judged - sampled, all - judged];
        Ok(Some(IterationReport::new(&rollouts, &rewards, step, seconds)))
    }

    /// Those of the file, those that waited for their verdicts when the run was cut, or new ones.
    fn rollouts(&self, editor: &Editor, iteration: u64) -> Result<Rollouts> {
        let config = &self.config.rl;
        if let Some(offline) = &self.offline {
            let lines = offline.lines(iteration, config.prompts);
            return Rollouts::from_lines(editor, config.mode, lines);
        }
        if !self.verifiers.asks_a_server() {
            return Rollouts::make(editor, config, iteration);
        }
        let pending = self.run.path(PENDING);
        let kept = std::fs::read_to_string(&pending).unwrap_or_default();
        let kept: Vec<RolloutLine> =
            kept.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        if !kept.is_empty() && kept.iter().all(|line| line.iteration == iteration) {
            return Rollouts::from_lines(editor, config.mode, &kept);
        }
        let rollouts = Rollouts::make(editor, config, iteration)?;
        let lines = rollouts.lines(iteration, config.mode, &vec![None; rollouts.written.len()]);
        let lines = lines.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>()?;
        write_file(&pending, lines.join("\n").as_bytes())?;
        Ok(rollouts)
    }

    /// A reward for each rollout; nothing if Ctrl-C came first.
    fn rewards(
        &self,
        editor: &Editor,
        rollouts: &Rollouts,
        pictures: &[RgbImage],
    ) -> Result<Option<Vec<Option<Reward>>>> {
        let config = &self.config.rl;
        let inner = self.verifiers.named(editor, config);
        let given = Given { inner: &*inner };
        let strict = Strict { inner: &given, share: config.right_share };
        let verifier = Corrupted { inner: &strict, share: config.corrupt, seed: config.seed };
        let asked = rollouts.asked(pictures, self.state.rollouts);
        let pause = Duration::from_secs_f64(config.pause_limit_s);
        let limits = Limits { failed: config.failed_limit, pause };
        let mut pausing = |problem: &str| {
            self.save()?;
            eprintln!(
                "paused: {problem}; rollouts, verdicts and weights are kept in `{}`; Ctrl-C stops",
                self.run.path("").display()
            );
            Ok(())
        };
        judge_all(&verifier, &asked, &limits, &mut pausing, &|| self.verifiers.keep_spent())
    }

    /// Source and rollouts of the first prompts, a row each.
    fn sheet(&self, iteration: u64, rollouts: &Rollouts, pictures: &[RgbImage]) -> Result<()> {
        let rows: Vec<Vec<RgbImage>> = rollouts
            .cases
            .iter()
            .zip(&rollouts.groups)
            .map(|(case, group)| {
                let edits = &pictures[group.clone()];
                std::iter::once(&case.picture).chain(edits).cloned().collect::<Vec<_>>()
            })
            .collect();
        let path = self.run.path(&format!("samples/iteration-{iteration:06}.png"));
        picture::write(&path, &picture::sheet(&rows, 1))
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
        let taken = self.policy.taken();
        check_finite(&weights)
            .with_context(|| format!("after iteration {taken}; {}", self.run.last_good()))?;
        if self.saved.replace(Some(taken)) != Some(taken) {
            let weights = safetensors::write(&weights, &config)?;
            let moments = safetensors::write(&moments, &config)?;
            self.run.save(taken, &self.state, &weights, &moments)?;
        }
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

/// The file of rollouts the run was started with, unchanged.
fn offline(run: &RunDir, config: &RlConfig, model: &ModelConfig) -> Result<Option<Offline>> {
    let Some(path) = &config.rollouts else { return Ok(None) };
    let offline = Offline::read(path, model, config.mode)?;
    if run.facts()?["rollouts_sha256"] != offline.sha256.as_str() {
        let problem = format!("`{}` is not the file the run was started with", path.display());
        return Err(hint::error(problem, "bring that file back, or start another run"));
    }
    Ok(Some(offline))
}
