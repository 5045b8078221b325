//! The seeing head: what a source cell shows, read from a middle layer.
//!
//! The object's name is scored against the decoder's own table of words, so that what a cell shows
//! and the word for it come to lie together; tint, part and free boxes have small heads of their
//! own. A loss in training; the editor reads the names, to tell when a plan speaks of things that
//! are not there.

use super::LanguageModel;
use super::block::Linear;
use crate::checkpoint::TensorMap;
use crate::config::{BOX_CELLS, ModelConfig};
use crate::sequence::grammar::PARTS;
use burn::module::Module;
use burn::tensor::{Device, Tensor};

/// Classes of the part head: every sprite part, and "background".
pub const SEE_PARTS: usize = PARTS + 1;
/// Boxes whose freedom is told: one for each size.
pub const SEE_SIZES: usize = BOX_CELLS.len();

/// Heads on the source cells.
#[derive(Module, Debug)]
pub struct SeeingHead {
    /// Cell → the space of the word table.
    pub name: Linear,
    /// Cell → natural colour or a tint.
    pub tint: Linear,
    /// Cell → part of the object, or background.
    pub part: Linear,
    /// Cell → does a free box of each size start here?
    pub free: Linear,
}

/// Logits of the heads; `n` cells.
pub struct Seen {
    /// `[n, control]`.
    pub name: Tensor<2>,
    /// `[n, 1 + tints]`.
    pub tint: Tensor<2>,
    /// `[n, SEE_PARTS]`.
    pub part: Tensor<2>,
    /// `[n, SEE_SIZES]`, of a yes.
    pub free: Tensor<2>,
}

impl SeeingHead {
    /// Heads of zeros.
    #[must_use]
    pub fn zeros(config: &ModelConfig, device: &Device) -> Self {
        let width = config.lm.hidden_size;
        Self {
            name: Linear::zeros(width, width, device),
            tint: Linear::zeros(width, 1 + config.text.tints.len(), device),
            part: Linear::zeros(width, SEE_PARTS, device),
            free: Linear::zeros(width, SEE_SIZES, device),
        }
    }

    /// The same heads in 8 bits, as [`LanguageModel::pack`]; their names in `tensors` begin with `prefix`.
    #[must_use]
    pub fn pack(self, tensors: &TensorMap, prefix: &str) -> Self {
        let map =
            |map: Linear, part: &str| map.pack(tensors, &format!("{prefix}{part}")).on_device();
        Self {
            name: map(self.name, "name"),
            tint: map(self.tint, "tint"),
            part: map(self.part, "part"),
            free: map(self.free, "free"),
        }
    }

    /// `seen`: `[batch, cells, hidden]` of the source chunk → logits of `batch · cells` cells.
    #[must_use]
    pub fn forward(&self, seen: Tensor<3>, lm: &LanguageModel) -> Seen {
        let x = normed(seen, lm);
        Seen {
            name: self.score_names(x.clone(), lm),
            tint: flat(self.tint.forward(x.clone())),
            part: flat(self.part.forward(x.clone())),
            free: flat(self.free.forward(x)),
        }
    }

    /// The names alone: `[batch, cells, hidden]` → `[batch · cells, control]`.
    #[must_use]
    pub fn names(&self, seen: Tensor<3>, lm: &LanguageModel) -> Tensor<2> {
        self.score_names(normed(seen, lm), lm)
    }

    fn score_names(&self, normed: Tensor<3>, lm: &LanguageModel) -> Tensor<2> {
        lm.word_logits(flat(self.name.forward(normed)))
    }
}

fn normed(seen: Tensor<3>, lm: &LanguageModel) -> Tensor<3> {
    let config = &lm.config().lm;
    let gain = Tensor::ones([config.hidden_size], &seen.device());
    earl_kernels::rms_norm(seen, gain, config.rms_norm_eps)
}

/// `[batch, cells, classes]` → `[batch · cells, classes]`.
fn flat(y: Tensor<3>) -> Tensor<2> {
    let [batch, cells, classes] = y.dims();
    y.reshape([batch * cells, classes])
}
