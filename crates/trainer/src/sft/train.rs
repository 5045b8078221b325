//! The supervised training loop: state, one step, and what a checkpoint holds.

use super::batch::Batch;
use super::config::SftConfig;
use super::loss::losses;
use crate::optim::{Optimizer, gradients};
use anyhow::{Result, bail};
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use earl_model::ModelConfig;
use earl_model::checkpoint::{TensorMap, apply, collect};
use earl_model::editor::{LM_PREFIX, SEEING_PREFIX};
use earl_model::lm::{LanguageModel, SeeingHead, initial_tensors};
use earl_model::sequence::Vocabulary;
use serde::Serialize;

/// Decoder and seeing head: what is trained together.
#[derive(Module, Debug)]
pub(crate) struct Student {
    /// The decoder.
    pub lm: LanguageModel,
    /// Heads of the seeing loss.
    pub seeing: SeeingHead,
}

/// What one step reports; losses in nats.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct SftStep {
    /// What is minimised.
    pub loss: f64,
    /// Control tokens.
    pub control: f64,
    /// Picture codes.
    pub code: f64,
    /// Seeing: sum of its heads.
    pub seeing: f64,
    /// Erase map, a source cell; 0 without one.
    pub erase: f64,
    /// Share of source cells named right.
    pub named: f64,
    /// Norm of the gradient before the clip.
    pub grad_norm: f64,
    /// Learning rate.
    pub rate: f64,
    /// Control tokens and codes in the loss.
    pub tokens: usize,
    /// Edits in the step.
    pub edits: usize,
}

/// A decoder in training.
pub(crate) struct Trainer {
    config: SftConfig,
    vocabulary: Vocabulary,
    student: Option<Student>,
    optimizer: Optimizer,
    step: u64,
    device: Device,
}

impl Trainer {
    /// A decoder with initial weights.
    ///
    /// # Errors
    /// If the device fails.
    pub(crate) fn new(config: SftConfig, model: &ModelConfig, device: Device) -> Result<Self> {
        Self::from_weights(config, model, device, TensorMap::new())
    }

    /// A decoder at step 0 with the given weights; what they lack (the seeing head of a shipped
    /// model, say) gets initial values.
    ///
    /// # Errors
    /// If the tensors do not fit the model.
    pub(crate) fn from_weights(
        config: SftConfig,
        model: &ModelConfig,
        device: Device,
        given: TensorMap,
    ) -> Result<Self> {
        let zeros = Self::zeros(model, &device);
        let mut shapes = collect(&zeros.lm, LM_PREFIX)?;
        shapes.extend(collect(&zeros.seeing, SEEING_PREFIX)?);
        let mut weights = initial_tensors(&shapes, model.lm.num_hidden_layers, config.seed);
        weights.extend(given.into_iter().filter(|(name, _)| shapes.contains_key(name)));
        Self::resume(config, model, device, 0, &weights, TensorMap::new())
    }

    /// A decoder that goes on from [`Trainer::checkpoint`], or from other weights at step 0.
    ///
    /// # Errors
    /// If the tensors do not fit the model.
    pub(crate) fn resume(
        config: SftConfig,
        model: &ModelConfig,
        device: Device,
        step: u64,
        weights: &TensorMap,
        moments: TensorMap,
    ) -> Result<Self> {
        let zeros = Self::zeros(model, &device);
        let student = Student {
            lm: apply(zeros.lm, LM_PREFIX, weights)?,
            seeing: apply(zeros.seeing, SEEING_PREFIX, weights)?,
        };
        let optimizer = Optimizer::resume(config.optim.clone(), step, moments, &device);
        let vocabulary = Vocabulary::new(model);
        Ok(Self { config, vocabulary, student: Some(student), optimizer, step, device })
    }

    fn zeros(model: &ModelConfig, device: &Device) -> Student {
        Student {
            lm: LanguageModel::zeros(model, device),
            seeing: SeeingHead::zeros(model, device),
        }
    }

    /// Steps taken.
    #[must_use]
    pub(crate) fn steps_taken(&self) -> u64 {
        self.step
    }

    /// Ids of the model.
    #[must_use]
    pub(crate) fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// Weights (decoder and seeing head) and optimizer moments, by name.
    ///
    /// # Errors
    /// If the device does not give them back.
    pub(crate) fn checkpoint(&self) -> Result<(TensorMap, TensorMap)> {
        let student = self.student()?;
        let mut weights = collect(&student.lm, LM_PREFIX)?;
        weights.extend(collect(&student.seeing, SEEING_PREFIX)?);
        Ok((weights, self.optimizer.state()?))
    }

    fn student(&self) -> Result<&Student> {
        match &self.student {
            Some(student) => Ok(student),
            None => bail!("the model was lost in a failed step"),
        }
    }

    /// One optimizer step on a batch.
    ///
    /// # Errors
    /// If the loss or a gradient is not finite (the weights stay as they were), or the device fails.
    pub(crate) fn step(&mut self, batch: &Batch) -> Result<SftStep> {
        let student = self.student()?;
        let losses = losses(
            &student.lm,
            &student.seeing,
            &self.vocabulary,
            batch,
            &self.config,
            &self.device,
        );
        let value = |tensor: &Tensor<1>| f64::from(tensor.clone().into_scalar::<f32>());
        let loss = value(&losses.total);
        if !loss.is_finite() {
            bail!("the loss of step {} is {loss}", self.step);
        }
        let (control, code) = (value(&losses.control), value(&losses.code));
        let (seeing, named) = (value(&losses.seeing), value(&losses.named));
        let erase = value(&losses.erase);
        let grads = losses.total.backward();
        // Both modules as one: names are `lm.…` and `seeing.…`, the fields' own.
        let grads = gradients(student, &grads, "");
        let rate = self.config.optim.rate(self.step, self.config.steps);
        let Some(student) = self.student.take() else { bail!("no model") };
        let (student, grad_norm) = self.optimizer.step(student, "", grads, rate)?;
        self.student = Some(student);
        self.step += 1;
        Ok(SftStep {
            loss,
            control,
            code,
            seeing,
            erase,
            named,
            grad_norm,
            rate,
            tokens: losses.tokens.0 + losses.tokens.1,
            edits: batch.edits.len(),
        })
    }
}
