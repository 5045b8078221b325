//! Optimizer steps on whole modules: gradients in, a module with new weights out.
//!
//! Muon for the matrices of hidden layers, `AdamW` for everything else, one global gradient-norm clip;
//! the arithmetic is `earl_kernels`'. State goes by the parameters' names, so that a checkpoint is plain
//! named tensors and a resumed run is bit-equal. Burn's own optimizers clip per tensor and key their
//! state by random ids; hence this file. Start at [`Optimizer::step`].

use crate::host::values;
use anyhow::{Context, Result, bail};
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Device, Gradients, Tensor, TensorData};
use earl_kernels::{AdamW, Matrix, Muon, adamw, muon, sum_of_squares};
use earl_model::checkpoint::tensors::Path;
use earl_model::checkpoint::{HostTensor, TensorMap};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

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

/// Gradients by parameter name, flat, without autodiff.
pub(crate) type GradientMap = BTreeMap<String, Tensor<1>>;

/// The gradients of every parameter of `module`.
#[must_use]
pub(crate) fn gradients<M: Module>(module: &M, grads: &Gradients, prefix: &str) -> GradientMap {
    let mut reader = Reader { path: Path::new(prefix), grads, found: GradientMap::new() };
    module.visit(&mut reader);
    reader.found
}

/// Adds the gradients of one micro-batch to those of the ones before.
pub(crate) fn add(sum: &mut GradientMap, more: GradientMap) {
    for (name, grad) in more {
        match sum.entry(name) {
            Entry::Vacant(entry) => drop(entry.insert(grad)),
            Entry::Occupied(mut entry) => {
                let total = entry.get().clone() + grad;
                entry.insert(total);
            }
        }
    }
}

/// Root of the sum of squares over all gradients, in fixed order.
#[must_use]
pub(crate) fn global_norm(grads: &GradientMap) -> f64 {
    grads.values().map(|grad| sum_of_squares(grad.clone())).sum::<f64>().sqrt()
}

/// Moments of every parameter, and the steps taken.
#[derive(Debug)]
pub(crate) struct Optimizer {
    config: OptimConfig,
    taken: u64,
    moments: BTreeMap<String, Moment>,
}

#[derive(Debug)]
struct Moment {
    shape: Vec<usize>,
    /// Flat, without autodiff.
    values: Tensor<1>,
}

/// A parameter to be stepped.
struct Parameter {
    name: String,
    shape: Vec<usize>,
    /// Flat, without autodiff.
    weight: Tensor<1>,
    gradient: Tensor<1>,
}

impl Optimizer {
    /// An optimizer that goes on from [`Optimizer::state`] on a device.
    #[must_use]
    pub(crate) fn resume(
        config: OptimConfig,
        taken: u64,
        moments: TensorMap,
        device: &Device,
    ) -> Self {
        let moment = |host: HostTensor| {
            let data = TensorData::new(host.data, [host.shape.iter().product::<usize>()]);
            Moment { shape: host.shape, values: Tensor::from_data(data, device).inner() }
        };
        let moments = moments.into_iter().map(|(name, host)| (name, moment(host))).collect();
        Self { config, taken, moments }
    }

    /// Steps taken.
    #[must_use]
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    /// Moments by name.
    ///
    /// # Errors
    /// If the device does not give them back.
    pub(crate) fn state(&self) -> Result<TensorMap> {
        let host = |(name, moment): (&String, &Moment)| {
            let data = values(moment.values.clone()).with_context(|| format!("`{name}`"))?;
            Ok((name.clone(), HostTensor { shape: moment.shape.clone(), data }))
        };
        self.moments.iter().map(host).collect()
    }

    /// One step at learning rate `rate`; returns the new module and the gradients' norm before the clip.
    ///
    /// # Errors
    /// If a gradient is not finite: nothing is changed then.
    pub(crate) fn step<M: Module>(
        &mut self,
        module: M,
        prefix: &str,
        grads: GradientMap,
        rate: f64,
    ) -> Result<(M, f64)> {
        let norm = global_norm(&grads);
        if !norm.is_finite() {
            bail!("the gradient's norm is {norm}");
        }
        let scale = (self.config.clip_norm / norm).min(1.0) as f32;
        self.taken += 1;
        let mut taker = Taker { path: Path::new(prefix), grads, found: Vec::new() };
        module.visit(&mut taker);
        let (matrices, others) = taker.found.into_iter().partition(|parameter| {
            self.config.muon && is_matrix(&parameter.name, &parameter.shape)
        });
        let mut updated = self.muon(matrices, rate as f32, scale);
        for parameter in others {
            let (name, weight) = self.adamw(parameter, rate as f32, scale);
            updated.insert(name, weight);
        }
        let mut giver = Giver { path: Path::new(prefix), updated };
        Ok((module.map(&mut giver), norm))
    }

    /// Takes a moment out; zeros like `like` the first time.
    fn take(&mut self, name: &str, like: &Tensor<1>) -> Tensor<1> {
        self.moments.remove(name).map_or_else(|| like.zeros_like(), |moment| moment.values)
    }

    fn put(&mut self, name: String, shape: Vec<usize>, values: Tensor<1>) {
        self.moments.insert(name, Moment { shape, values });
    }

    fn adamw(&mut self, parameter: Parameter, rate: f32, scale: f32) -> (String, Tensor<1>) {
        let Parameter { name, shape, weight, gradient } = parameter;
        let OptimConfig { beta1, beta2, epsilon, .. } = self.config;
        let decay = if is_matrix(&name, &shape) { self.config.weight_decay } else { 0.0 };
        let step = AdamW { rate, beta1, beta2, epsilon, decay, scale, taken: self.taken as i32 };
        let [mean, square] = ["mean", "square"].map(|moment| format!("{name}#{moment}"));
        let before = (self.take(&mean, &weight), self.take(&square, &weight));
        let [weight, after1, after2] = adamw(weight, gradient, before.0, before.1, &step);
        self.put(mean, shape.clone(), after1);
        self.put(square, shape, after2);
        (name, weight)
    }

    fn muon(&mut self, matrices: Vec<Parameter>, rate: f32, scale: f32) -> GradientMap {
        let step = Muon { rate, decay: self.config.weight_decay, scale };
        let mut names = Vec::new();
        let mut matrix = |parameter: Parameter| {
            let Parameter { name, shape, weight, gradient } = parameter;
            let sides = [shape[0], shape[1]];
            let moment = format!("{name}#momentum");
            let momentum = self.take(&moment, &weight).reshape(sides);
            names.push((name, moment, shape));
            Matrix { weight: weight.reshape(sides), gradient: gradient.reshape(sides), momentum }
        };
        let matrices = matrices.into_iter().map(&mut matrix).collect();
        let stepped = names.into_iter().zip(muon(matrices, &step));
        let flat = |matrix: Tensor<2>| matrix.flatten::<1>(0, 1);
        let put = |((name, moment, shape), [weight, momentum]): (_, [Tensor<2>; 2])| {
            self.put(moment, shape, flat(momentum));
            (name, flat(weight))
        };
        stepped.map(put).collect()
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
}

impl ModuleVisitor for Reader<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.enter(name);
    }
    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(grad) = param.val().grad(self.grads) {
            self.found.insert(self.path.name(), grad.flatten(0, D - 1));
        }
    }
}

/// Puts parameters and gradients together.
struct Taker {
    path: Path,
    grads: GradientMap,
    found: Vec<Parameter>,
}

impl ModuleVisitor for Taker {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.enter(name);
    }
    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let name = self.path.name();
        if let Some(gradient) = self.grads.remove(&name) {
            let weight = param.val().inner();
            let shape = weight.dims().to_vec();
            self.found.push(Parameter { name, shape, weight: weight.flatten(0, D - 1), gradient });
        }
    }
}

/// Puts new weights into a module.
struct Giver {
    path: Path,
    updated: BTreeMap<String, Tensor<1>>,
}

impl ModuleMapper for Giver {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.enter(name);
    }
    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match self.updated.remove(&self.path.name()) {
            None => param,
            Some(weight) => {
                param.map(|tensor| Tensor::from_inner(weight.reshape(tensor.dims())).require_grad())
            }
        }
    }
}
