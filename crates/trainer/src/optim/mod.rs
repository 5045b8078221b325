//! Optimizer steps on whole modules: gradients in, a module with new weights out.
//!
//! Muon (Jordan 2024, with the scale of arXiv 2502.16982) for the matrices of hidden layers, `AdamW`
//! for everything else, one global gradient-norm clip. State is kept on the host under the
//! parameters' names, so that a checkpoint is plain named tensors and a resumed run is bit-equal.
//! Burn's own optimizers clip per tensor and key their state by random ids; hence this file.
//! Start at [`Optimizer::step`].

mod muon;

use anyhow::{Context, Result, anyhow, bail};
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Gradients, Tensor, TensorData};
use earl_model::checkpoint::tensors::Path;
use earl_model::checkpoint::{HostTensor, TensorMap};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Settings of the optimizer; every key has a default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct OptimConfig {
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Learning rate at the last step, as a share of the peak (cosine in between).
    pub final_share: f64,
    /// Steps from 0 to the peak.
    pub warmup_steps: u64,
    /// Decay of the mean of gradients.
    pub beta1: f32,
    /// Decay of the mean of squared gradients.
    pub beta2: f32,
    /// Added to the root of the mean square.
    pub epsilon: f32,
    /// Decoupled weight decay of matrices (not of tables, gains and biases).
    pub weight_decay: f32,
    /// Largest global norm of a gradient.
    pub clip_norm: f64,
    /// Muon for hidden matrices; otherwise `AdamW` everywhere.
    pub muon: bool,
}

impl Default for OptimConfig {
    fn default() -> Self {
        Self {
            learning_rate: 2e-3,
            final_share: 0.05,
            warmup_steps: 100,
            beta1: 0.9,
            beta2: 0.98,
            epsilon: 1e-8,
            weight_decay: 0.01,
            clip_norm: 1.0,
            muon: true,
        }
    }
}

impl OptimConfig {
    /// The first broken rule, if any.
    ///
    /// # Errors
    /// Names the key and the value found.
    pub(crate) fn check(&self) -> Result<()> {
        if !(self.learning_rate > 0.0 && self.learning_rate < 1.0) {
            bail!("`optim.learning_rate` is {}; it must lie between 0 and 1", self.learning_rate);
        }
        if !(0.0..=1.0).contains(&self.final_share) {
            bail!("`optim.final_share` is {}; it must lie in 0..=1", self.final_share);
        }
        if !(0.0..1.0).contains(&self.beta1) || !(0.0..1.0).contains(&self.beta2) {
            bail!(
                "`optim.beta1`, `optim.beta2` are {}, {}; both must lie in 0..1",
                self.beta1,
                self.beta2
            );
        }
        if self.clip_norm <= 0.0 {
            bail!("`optim.clip_norm` is {}; it must be above 0", self.clip_norm);
        }
        Ok(())
    }

    /// Learning rate of a step (from 0) in a run of `steps`.
    #[must_use]
    pub(crate) fn rate(&self, step: u64, steps: u64) -> f64 {
        if step < self.warmup_steps {
            return self.learning_rate * (step + 1) as f64 / self.warmup_steps as f64;
        }
        let span = steps.saturating_sub(self.warmup_steps).max(1) as f64;
        let done = ((step - self.warmup_steps) as f64 / span).min(1.0);
        let cosine = 0.5 * (1.0 + (std::f64::consts::PI * done).cos());
        self.learning_rate * (self.final_share + (1.0 - self.final_share) * cosine)
    }
}

/// Gradients on the host, by parameter name.
pub(crate) type GradientMap = BTreeMap<String, Vec<f32>>;

/// Copies the gradients of every parameter of `module` to the host.
///
/// # Errors
/// If the device does not give them back.
pub(crate) fn gradients<M: Module>(
    module: &M,
    grads: &Gradients,
    prefix: &str,
) -> Result<GradientMap> {
    let mut reader =
        Reader { path: Path::new(prefix), grads, found: GradientMap::new(), failed: None };
    module.visit(&mut reader);
    match reader.failed {
        Some(problem) => bail!("gradient of {problem}"),
        None => Ok(reader.found),
    }
}

/// Root of the sum of squares over all gradients, in double precision and fixed order.
#[must_use]
pub(crate) fn global_norm(grads: &GradientMap) -> f64 {
    let squares = |grad: &Vec<f32>| grad.iter().map(|&g| f64::from(g) * f64::from(g)).sum::<f64>();
    grads.values().map(squares).sum::<f64>().sqrt()
}

/// Moments of every parameter, and the steps taken.
#[derive(Debug)]
pub(crate) struct Optimizer {
    config: OptimConfig,
    taken: u64,
    moments: TensorMap,
}

impl Optimizer {
    /// An optimizer that goes on from [`Optimizer::state`].
    #[must_use]
    pub(crate) fn resume(config: OptimConfig, taken: u64, moments: TensorMap) -> Self {
        Self { config, taken, moments }
    }

    /// Steps taken and moments by name.
    #[must_use]
    pub(crate) fn state(&self) -> (u64, &TensorMap) {
        (self.taken, &self.moments)
    }

    /// One step at learning rate `rate`; returns the new module and the gradients' norm before the clip.
    ///
    /// # Errors
    /// If a gradient is not finite: nothing is changed then.
    pub(crate) fn step<M: Module>(
        &mut self,
        module: M,
        prefix: &str,
        mut grads: GradientMap,
        rate: f64,
    ) -> Result<(M, f64)> {
        let norm = global_norm(&grads);
        if !norm.is_finite() {
            bail!("the gradient's norm is {norm}");
        }
        let scale = (self.config.clip_norm / norm).min(1.0) as f32;
        grads.values_mut().flatten().for_each(|g| *g *= scale);
        self.taken += 1;
        let mut updater =
            Updater { path: Path::new(prefix), optimizer: self, grads, rate, failed: None };
        let module = module.map(&mut updater);
        match updater.failed {
            Some(problem) => Err(problem),
            None => Ok((module, norm)),
        }
    }

    fn moment(&mut self, name: String, shape: &[usize]) -> &mut Vec<f32> {
        let zeros =
            || HostTensor { shape: shape.to_vec(), data: vec![0.0; shape.iter().product()] };
        &mut self.moments.entry(name).or_insert_with(zeros).data
    }

    fn adamw(&mut self, name: &str, shape: &[usize], weights: &mut [f32], grad: &[f32], rate: f32) {
        let OptimConfig { beta1, beta2, epsilon, .. } = self.config;
        let decay = if is_matrix(name, shape) { self.config.weight_decay } else { 0.0 };
        let correct1 = 1.0 - beta1.powi(self.taken as i32);
        let correct2 = 1.0 - beta2.powi(self.taken as i32);
        let mut mean = std::mem::take(self.moment(format!("{name}#mean"), shape));
        let square = self.moment(format!("{name}#square"), shape);
        for (((weight, &g), m), v) in weights.iter_mut().zip(grad).zip(&mut mean).zip(square) {
            *m = beta1 * *m + (1.0 - beta1) * g;
            *v = beta2 * *v + (1.0 - beta2) * g * g;
            let update = (*m / correct1) / ((*v / correct2).sqrt() + epsilon);
            *weight -= rate * (update + decay * *weight);
        }
        *self.moment(format!("{name}#mean"), shape) = mean;
    }

    fn muon(
        &mut self,
        name: &str,
        shape: [usize; 2],
        weights: &mut [f32],
        grad: &[f32],
        rate: f32,
    ) -> Result<()> {
        let decay = self.config.weight_decay;
        let momentum = self.moment(format!("{name}#momentum"), &shape);
        let update = muon::orthogonal_update(momentum, grad, shape)?;
        for (weight, update) in weights.iter_mut().zip(update) {
            *weight -= rate * (update + decay * *weight);
        }
        Ok(())
    }
}

/// Is this a matrix between hidden layers (not a table, gain or bias)?
fn is_matrix(name: &str, shape: &[usize]) -> bool {
    shape.len() == 2 && name.ends_with(".weight")
}

struct Reader<'a> {
    path: Path,
    grads: &'a Gradients,
    found: GradientMap,
    failed: Option<String>,
}

impl ModuleVisitor for Reader<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.enter(name);
    }
    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let name = self.path.name();
        if let Some(grad) = param.val().grad(self.grads) {
            match grad.into_data().try_into_vec::<f32>() {
                Ok(values) => drop(self.found.insert(name, values)),
                Err(problem) => self.failed = Some(format!("`{name}`: {problem:?}")),
            }
        }
    }
}

struct Updater<'a> {
    path: Path,
    optimizer: &'a mut Optimizer,
    grads: GradientMap,
    rate: f64,
    failed: Option<anyhow::Error>,
}

impl Updater<'_> {
    fn update(
        &mut self,
        name: &str,
        shape: &[usize],
        weights: &mut [f32],
        grad: &[f32],
    ) -> Result<()> {
        let rate = self.rate as f32;
        match *shape {
            [rows, cols] if self.optimizer.config.muon && is_matrix(name, shape) => {
                self.optimizer.muon(name, [rows, cols], weights, grad, rate)
            }
            _ => {
                self.optimizer.adamw(name, shape, weights, grad, rate);
                Ok(())
            }
        }
        .with_context(|| format!("updating `{name}`"))
    }
}

impl ModuleMapper for Updater<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.enter(name);
    }
    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let name = self.path.name();
        let Some(grad) = self.grads.remove(&name) else {
            return param;
        };
        param.map(|tensor| {
            let (shape, device) = (tensor.dims(), tensor.device());
            let updated = tensor.clone().into_data().try_into_vec::<f32>();
            let updated = updated.map_err(|problem| anyhow!("`{name}`: {problem:?}")).and_then(
                |mut weights| {
                    self.update(&name, &shape, &mut weights, &grad)?;
                    Ok(Tensor::from_data(TensorData::new(weights, shape), &device).require_grad())
                },
            );
            updated.unwrap_or_else(|problem| {
                self.failed = Some(problem);
                tensor
            })
        })
    }
}
