//! The verifier in training: optimizer steps on a pool of judged edits, and what is reported of new ones.

use super::batch::{Batch, Judged};
use super::config::VerifierConfig;
use crate::host::values;
use crate::optim::{Optimizer, gradients};
use anyhow::{Result, bail};
use burn::module::{Module, Param};
use burn::tensor::activation::{log_sigmoid, relu};
use burn::tensor::{Device, Tensor, TensorData};
use earl_model::checkpoint::{HostTensor, TensorMap, apply, collect};
use earl_model::editor::VERIFIER_PREFIX;
use earl_model::lm::initial_tensors;
use earl_model::sample::rng::{Key, uniform};
use earl_model::verifier::{CellFacts, FACTS, Verifier};
use serde::Serialize;

/// Logit of "right" of a cell before anything is learnt: 64 such cells make an edit right as often as not.
const FIRST_LOGIT: f32 = 4.5;
/// Probabilities nearer to 1 than this count as this near, so that the loss stays finite.
const NEAREST: f64 = 1e-6;
/// Purpose of the random numbers that draw edits from the pool.
const DRAW: u64 = 41;
/// Names of the pool's tensors in a checkpoint, beside the optimizer's.
const POOL: [&str; 2] = ["pool.facts", "pool.right"];

/// [`Verifier`]'s layers, as they are trained.
#[derive(Module, Debug)]
struct Layers {
    /// `[FACTS, width]`.
    facts: Param<Tensor<2>>,
    /// `[width]`.
    out: Param<Tensor<1>>,
    /// `[1]`.
    bias: Param<Tensor<1>>,
}

impl Layers {
    fn zeros(width: usize, device: &Device) -> Self {
        Self {
            facts: Param::from_tensor(Tensor::zeros([FACTS, width], device)),
            out: Param::from_tensor(Tensor::zeros([width], device)),
            bias: Param::from_tensor(Tensor::zeros([1], device)),
        }
    }

    /// Facts of all cells, `[cells, FACTS]` → logits of "right", `[cells]`.
    fn forward(&self, facts: Tensor<2>) -> Tensor<1> {
        let units = relu(facts.matmul(self.facts.val())); // [cells, width]
        let logits = (units * self.out.val().unsqueeze()).sum_dim(1).squeeze_dim(1);
        logits + self.bias.val()
    }

    /// `log p(right)` of each edit, `[edits]`.
    fn log_right(&self, edits: &[&Judged], device: &Device) -> Tensor<1> {
        let facts: Vec<f32> =
            edits.iter().flat_map(|edit| edit.facts.iter().flatten()).copied().collect();
        let (n, cells) = (edits.len(), facts.len() / FACTS);
        let facts = Tensor::from_data(TensorData::new(facts, [cells, FACTS]), device);
        let logits = self.forward(facts).reshape([n, cells / n]);
        log_sigmoid(logits).sum_dim(1).squeeze_dim(1)
    }
}

/// The verifier in training, and the judged edits it learns from.
pub(crate) struct Student {
    config: VerifierConfig,
    device: Device,
    layers: Option<Layers>,
    optimizer: Optimizer,
    pool: Vec<Judged>,
}

/// What a step reports, measured on its new edits before anything was learnt from them.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct VerifierStep {
    /// Cross-entropy of right and wrong, nats an edit.
    pub loss: f64,
    /// Share of edits that the verifier calls as the oracle does.
    pub accuracy: f64,
    /// Share of right edits among all.
    pub right: f64,
    /// Chance that a right rollout of a prompt is held for likelier right than a wrong one of it.
    pub order: f64,
    /// The same, by the rollouts' own log-probabilities.
    pub order_by_likelihood: f64,
    /// Share of prompts whose rollout the verifier likes most is right.
    pub best_by_verifier: f64,
    /// Share of prompts whose likeliest rollout is right.
    pub best_by_likelihood: f64,
    /// Share of prompts with a right rollout.
    pub best_by_oracle: f64,
    /// Cross-entropy of what it learnt from, after that: mean of the step's updates.
    pub trained_loss: f64,
    /// Learning rate of the last update.
    pub rate: f64,
}

impl VerifierStep {
    /// One line for people.
    #[must_use]
    pub(crate) fn line(&self) -> String {
        let Self { loss, order, order_by_likelihood, .. } = self;
        let [a, b, c] = [self.best_by_verifier, self.best_by_likelihood, self.best_by_oracle]
            .map(|share| 100.0 * share);
        format!(
            "loss {loss:.3}, order {order:.3} (likelihood {order_by_likelihood:.3}), picks {a:.0} % right (likelihood {b:.0}, oracle {c:.0})"
        )
    }
}

impl Student {
    /// A verifier after `updates` optimizer steps: its weights (none: new ones, a function of the seed), and the
    /// optimizer's moments with the pool.
    ///
    /// # Errors
    /// If the tensors are not those of a verifier.
    pub(crate) fn new(
        config: VerifierConfig,
        device: &Device,
        updates: u64,
        weights: Option<&TensorMap>,
        mut state: TensorMap,
    ) -> Result<Self> {
        let training = device.clone().autodiff();
        let layers = Layers::zeros(config.width, &training);
        let layers = match weights {
            Some(weights) => apply(layers, VERIFIER_PREFIX, weights)?,
            None => started(layers, config.seed)?,
        };
        let pool = match POOL.map(|name| state.remove(name)) {
            [Some(facts), Some(right)] => pool_of(&facts, &right),
            _ => Vec::new(),
        };
        let optimizer = Optimizer::resume(config.optim.clone(), updates, state, device);
        Ok(Self { config, device: training, layers: Some(layers), optimizer, pool })
    }

    /// Optimizer steps taken.
    #[must_use]
    pub(crate) fn updates(&self) -> u64 {
        self.optimizer.taken()
    }

    /// Weights; optimizer moments and pool; by name.
    ///
    /// # Errors
    /// If the device does not give them back.
    pub(crate) fn checkpoint(&self) -> Result<(TensorMap, TensorMap)> {
        let mut state = self.optimizer.state()?;
        let n = self.pool.len();
        let cells = self.pool.first().map_or(0, |edit| edit.facts.len());
        let facts = self.pool.iter().flat_map(|edit| edit.facts.iter().flatten()).copied();
        let right = self.pool.iter().map(|edit| f32::from(u8::from(edit.right)));
        let tensors = [
            HostTensor { shape: vec![n, cells, FACTS], data: facts.collect() },
            HostTensor { shape: vec![n], data: right.collect() },
        ];
        state.extend(POOL.map(String::from).into_iter().zip(tensors));
        Ok((self.weights()?, state))
    }

    fn weights(&self) -> Result<TensorMap> {
        Ok(collect(self.layers()?, VERIFIER_PREFIX)?)
    }

    fn layers(&self) -> Result<&Layers> {
        match &self.layers {
            Some(layers) => Ok(layers),
            None => bail!("the weights were lost in a failed step"),
        }
    }

    /// Measures the verifier on new edits, adds them to the pool, and learns from what it holds.
    ///
    /// # Errors
    /// If a loss or a gradient is not finite.
    pub(crate) fn step(&mut self, batch: Batch) -> Result<VerifierStep> {
        let mut report = self.measured(&batch)?;
        self.pool.extend(batch.edits);
        for _ in 0..self.config.updates {
            let (loss, rate) = self.update()?;
            report.trained_loss += loss / self.config.updates as f64;
            report.rate = rate;
        }
        Ok(report)
    }

    /// One optimizer step on edits drawn from the pool: loss and learning rate.
    fn update(&mut self) -> Result<(f64, f64)> {
        let done = self.updates();
        let rate = self.config.optim.rate(done, self.config.steps * self.config.updates);
        let draw = |position| {
            let key =
                Key { seed: self.config.seed, purpose: DRAW, index: done, position, token: 0 };
            &self.pool[(uniform(key) * self.pool.len() as f64) as usize % self.pool.len()]
        };
        let edits: Vec<&Judged> = (0..self.config.batch).map(draw).collect();
        let right: Vec<bool> = edits.iter().map(|edit| edit.right).collect();
        let log_right = self.layers()?.log_right(&edits, &self.device);
        let total = loss(log_right, &right, &self.device);
        let known = f64::from(values(total.clone())?[0]);
        if !known.is_finite() {
            bail!("the loss is {known}");
        }
        let grads = gradients(self.layers()?, &total.backward(), VERIFIER_PREFIX);
        let Some(layers) = self.layers.take() else { bail!("no weights") };
        let (layers, _) = self.optimizer.step(layers, VERIFIER_PREFIX, grads, rate)?;
        self.layers = Some(layers);
        Ok((known, rate))
    }

    /// How the verifier, as it ships, judges new edits.
    fn measured(&self, batch: &Batch) -> Result<VerifierStep> {
        let verifier = Verifier::from_tensors(&self.weights()?)?;
        let verdicts: Vec<f64> =
            batch.edits.iter().map(|edit| verifier.verdict(&edit.facts)).collect();
        Ok(measured(batch, &verdicts))
    }
}

/// Layers that have learnt nothing: a function of the seed.
fn started(layers: Layers, seed: u64) -> Result<Layers> {
    let mut first = initial_tensors(&collect(&layers, VERIFIER_PREFIX)?, 1, seed);
    if let Some(bias) = first.get_mut(&format!("{VERIFIER_PREFIX}bias")) {
        bias.data.fill(FIRST_LOGIT);
    }
    Ok(apply(layers, VERIFIER_PREFIX, &first)?)
}

/// The edits of a checkpoint's pool.
fn pool_of(facts: &HostTensor, right: &HostTensor) -> Vec<Judged> {
    let cells = facts.shape.get(1).map_or(1, |cells| (cells * FACTS).max(1));
    let of_cell = |facts: &[f32]| -> CellFacts {
        let mut cell = [0.0; FACTS];
        cell.copy_from_slice(facts);
        cell
    };
    let edits = facts.data.chunks_exact(cells).zip(&right.data);
    let edit = |(facts, right): (&[f32], &f32)| Judged {
        facts: facts.chunks_exact(FACTS).map(of_cell).collect(),
        right: *right > 0.5,
    };
    edits.map(edit).collect()
}

/// Mean cross-entropy of right and wrong, `[1]`.
fn loss(log_right: Tensor<1>, right: &[bool], device: &Device) -> Tensor<1> {
    let as_number: Vec<f32> = right.iter().map(|&right| f32::from(u8::from(right))).collect();
    let right: Tensor<1> = Tensor::from_data(TensorData::new(as_number, [right.len()]), device);
    let wrong = right.clone().neg().add_scalar(1.0);
    let log_wrong = log_right.clone().exp().neg().add_scalar(1.0).clamp_min(NEAREST).log();
    (right * log_right + wrong * log_wrong).mean().neg()
}

/// What is told of new edits.
fn measured(batch: &Batch, verdicts: &[f64]) -> VerifierStep {
    let n = batch.edits.len().max(1) as f64;
    let (mut order, mut by_likelihood) = (Order::default(), Order::default());
    let (mut best, mut groups) = ([0usize; 3], 0usize);
    for first in (0..batch.edits.len()).step_by(batch.group) {
        let range = first..first + batch.written;
        let right: Vec<bool> = batch.edits[range.clone()].iter().map(|edit| edit.right).collect();
        let (verdicts, likely) = (&verdicts[range.clone()], &batch.log_probs[range]);
        order.add(verdicts, &right);
        by_likelihood.add(likely, &right);
        groups += 1;
        best[0] += usize::from(right[highest(verdicts)]);
        best[1] += usize::from(right[highest(likely)]);
        best[2] += usize::from(right.contains(&true));
    }
    let [best_by_verifier, best_by_likelihood, best_by_oracle] =
        best.map(|count| count as f64 / groups.max(1) as f64);
    let (mut loss, mut agree, mut right) = (0.0, 0.0, 0.0);
    for (edit, &verdict) in batch.edits.iter().zip(verdicts) {
        let of_truth = if edit.right { verdict } else { 1.0 - verdict };
        loss -= of_truth.max(NEAREST).ln() / n;
        agree += f64::from(u8::from((verdict > 0.5) == edit.right)) / n;
        right += f64::from(u8::from(edit.right)) / n;
    }
    VerifierStep {
        loss,
        accuracy: agree,
        right,
        order: order.share(),
        order_by_likelihood: by_likelihood.share(),
        best_by_verifier,
        best_by_likelihood,
        best_by_oracle,
        ..VerifierStep::default()
    }
}

/// The first of the highest scores.
fn highest(scores: &[f64]) -> usize {
    (0..scores.len()).fold(0, |best, at| if scores[at] > scores[best] { at } else { best })
}

/// Pairs of a right and a wrong edit, and how many of them a score has in order; ties count half.
#[derive(Default)]
struct Order {
    pairs: f64,
    kept: f64,
}

impl Order {
    fn add(&mut self, scores: &[f64], right: &[bool]) {
        for (a, _) in scores.iter().zip(right).filter(|(_, right)| **right) {
            for (b, _) in scores.iter().zip(right).filter(|(_, right)| !**right) {
                self.pairs += 1.0;
                self.kept += if a > b { 1.0 } else { f64::from(u8::from(a >= b)) / 2.0 };
            }
        }
    }

    /// One half without a pair.
    fn share(&self) -> f64 {
        if self.pairs > 0.0 { self.kept / self.pairs } else { 0.5 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optim::OptimConfig;

    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-4, "{found} is not {expected}");
    }

    #[test]
    fn the_loss_is_cross_entropy_of_right_and_wrong() {
        let device = Device::flex();
        let log_right = [0.5f32.ln(), 0.9f32.ln(), 0.25f32.ln(), 0.0];
        let tensor = Tensor::from_data(TensorData::new(log_right.to_vec(), [4]), &device);
        let found = values(loss(tensor, &[true, true, false, false], &device)).unwrap()[0];
        let expected = -(0.5f64.ln() + 0.9f64.ln() + 0.75f64.ln() + 1e-6f64.ln()) / 4.0;
        near(f64::from(found), expected);
    }

    #[test]
    fn order_counts_pairs_of_a_group() {
        let mut order = Order::default();
        order.add(&[3.0, 2.0, 1.0, 2.0], &[true, false, true, true]);
        near(order.share(), 1.5 / 3.0);
        near(Order::default().share(), 0.5);
    }

    /// Two prompts of two rollouts each, with a true edit and a source behind them.
    #[test]
    fn new_edits_are_measured_prompt_by_prompt() {
        let right = [false, true, true, false, true, false, true, false];
        let edit = |right| Judged { facts: Vec::new(), right };
        let batch = Batch {
            group: 4,
            written: 2,
            edits: right.map(edit).into(),
            log_probs: vec![-1.0, -2.0, f64::NAN, f64::NAN, -1.0, -3.0, f64::NAN, f64::NAN],
        };
        let report = measured(&batch, &[0.1, 0.9, 0.9, 0.0, 0.4, 0.2, 0.9, 0.0]);
        let figures = [
            report.best_by_verifier,
            report.best_by_likelihood,
            report.best_by_oracle,
            report.order,
            report.order_by_likelihood,
            report.right,
            report.accuracy,
        ];
        figures
            .into_iter()
            .zip([1.0, 0.5, 1.0, 1.0, 0.5, 0.5, 0.875])
            .for_each(|(a, b)| near(a, b));
        let expected = -(4.0 * 0.9f64.ln() + 0.4f64.ln() + 0.8f64.ln()) / 8.0;
        near(report.loss, expected);
    }

    /// Edits whose cells are all likely, or one of them not.
    fn judged(count: usize) -> Vec<Judged> {
        let cell = |log_prob: f32| [log_prob, 0.0, -0.1, 0.2, 1.0, 1.0];
        let edit = |at: usize| {
            let right = at.is_multiple_of(2);
            let mut facts = vec![cell(-0.01); 16];
            if !right {
                facts[at % 16] = cell(-1.0 - at as f32 / 40.0);
            }
            Judged { facts, right }
        };
        (0..count).map(edit).collect()
    }

    fn batch(count: usize) -> Batch {
        Batch { group: 4, written: 2, edits: judged(count), log_probs: vec![0.0; count] }
    }

    #[test]
    fn what_is_trained_is_what_ships() {
        let device = Device::flex();
        let config = VerifierConfig::default();
        let student = Student::new(config, &device, 0, None, TensorMap::new()).unwrap();
        let verifier = Verifier::from_tensors(&student.checkpoint().unwrap().0).unwrap();
        let edits = judged(6);
        let layers = student.layers.as_ref().unwrap();
        let trained = layers.log_right(&edits.iter().collect::<Vec<_>>(), &student.device);
        for (log_right, edit) in values(trained).unwrap().into_iter().zip(&edits) {
            near(f64::from(log_right), verifier.verdict(&edit.facts).ln());
        }
    }

    #[test]
    fn one_unlikely_cell_is_learnt_and_a_cut_run_learns_the_same() {
        let device = Device::flex();
        let optim = OptimConfig { learning_rate: 3e-2, ..VerifierConfig::default().optim };
        let config = VerifierConfig { steps: 4, updates: 60, optim, ..VerifierConfig::default() };
        let new = |updates, weights: Option<&TensorMap>, state| {
            Student::new(config.clone(), &device, updates, weights, state).unwrap()
        };
        let mut whole = new(0, None, TensorMap::new());
        let reports: Vec<_> = (0..4).map(|_| whole.step(batch(24)).unwrap()).collect();
        assert!(reports[3].loss < 0.5 * reports[0].loss, "{reports:?}");
        near(reports[3].best_by_verifier, 1.0);

        let mut first = new(0, None, TensorMap::new());
        let two = |student: &mut Student| {
            (0..2).map(|_| student.step(batch(24)).unwrap()).collect::<Vec<_>>()
        };
        two(&mut first);
        let (weights, state) = first.checkpoint().unwrap();
        let mut second = new(first.updates(), Some(&weights), state);
        two(&mut second);
        assert_eq!(second.checkpoint().unwrap(), whole.checkpoint().unwrap());
    }
}
