//! Log-probabilities of given ids, and the supervised loss over them.
//!
//! Source: EARL `rl/utils.py`, `compute_token_log_probs` (vocabularies apart); Emu3's training loss.
//! Start at [`sft_loss`].

use super::lm::Emu3Lm;
use crate::error::ModelError;
use crate::ids::TokenId;
use crate::lm::Chunk;
use burn::tensor::activation::log_softmax;
use burn::tensor::{Int, Tensor, TensorData};

/// Over which ids a probability is normalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Normalised {
    /// All of them.
    Joint,
    /// Codes among codes, everything below this first code among itself.
    Split(usize),
}

/// Mean over all labelled tokens of the batch of the negative log-probability of the label, in nats.
///
/// `labels[row · seq + t]` is the id at place `t` itself (as Emu3 has it), predicted by place
/// `t − 1`; `None` is left out. A label in a row's first place has nothing that predicts it and is
/// left out too.
///
/// # Shapes
/// - returns: `[1]`
///
/// # Errors
/// [`ModelError::Option`] if the sizes disagree, an id is unknown or no label is left.
pub fn sft_loss(
    lm: &Emu3Lm,
    chunk: &Chunk,
    labels: &[Option<TokenId>],
) -> Result<Tensor<1>, ModelError> {
    lm.check_ids(chunk)?;
    let refuse = |problem: String| Err(ModelError::Option { name: "labels", problem });
    if labels.len() != chunk.ids.len() {
        return refuse(format!("{} labels for {} ids", labels.len(), chunk.ids.len()));
    }
    let (mut places, mut targets) = (Vec::new(), Vec::new());
    for (at, label) in labels.iter().enumerate().filter(|(at, _)| at % chunk.seq > 0) {
        if let Some(id) = label {
            if id.0 as usize >= lm.config().vocab_size {
                return refuse(format!("{} is outside the vocabulary", id.0));
            }
            places.push(at as i32 - 1);
            targets.push(id.0 as i32);
        }
    }
    if targets.is_empty() {
        return refuse("none is left".into());
    }
    let hidden = lm.forward(chunk, &mut lm.cache());
    let device = hidden.device();
    let count = targets.len();
    let ids = |ids: Vec<i32>| Tensor::<1, Int>::from_data(TensorData::new(ids, [count]), &device);
    let width = hidden.dims()[2];
    let hidden = hidden.reshape([chunk.batch * chunk.seq, width]).select(0, ids(places));
    let logits = lm.logits(hidden.unsqueeze()).squeeze_dim(0); // [count, vocab]
    Ok(earl_kernels::cross_entropy(logits, ids(targets)).mean())
}

/// Log-probability of each target, in nats.
///
/// # Shapes
/// - `logits`: `[n, vocab]`, `targets`: `n` ids below `vocab`
/// - returns: `[n]`, all `<= 0`
///
/// # Errors
/// [`ModelError::Option`] if the sizes disagree or an id is unknown.
pub fn token_log_probs(
    logits: Tensor<2>,
    targets: &[TokenId],
    normalised: Normalised,
) -> Result<Tensor<1>, ModelError> {
    let [n, vocab] = logits.dims();
    if n != targets.len() || targets.iter().any(|id| id.0 as usize >= vocab) {
        let problem = format!("{} ids for {n} rows of {vocab} logits", targets.len());
        return Err(ModelError::Option { name: "targets", problem });
    }
    let device = logits.device();
    let among = |logits: Tensor<2>, first: usize| {
        let last = logits.dims()[1] - 1;
        let at: Vec<i32> = targets
            .iter()
            .map(|id| (id.0 as usize).saturating_sub(first).min(last) as i32)
            .collect();
        let at = Tensor::<2, Int>::from_data(TensorData::new(at, [n, 1]), &device);
        log_softmax(logits, 1).gather(1, at).squeeze_dim::<1>(1) // [n]
    };
    match normalised {
        Normalised::Split(first_code) if 0 < first_code && first_code < vocab => {
            let is_code: Vec<f32> =
                targets.iter().map(|id| f32::from(u8::from(id.0 as usize >= first_code))).collect();
            let is_code = Tensor::<1>::from_data(TensorData::new(is_code, [n]), &device);
            let words = among(logits.clone().narrow(1, 0, first_code), 0);
            let codes = among(logits.narrow(1, first_code, vocab - first_code), first_code);
            Ok(words * (1.0 - is_code.clone()) + codes * is_code)
        }
        _ => Ok(among(logits, 0)),
    }
}
