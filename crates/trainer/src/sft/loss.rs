//! The losses of a supervised step: control tokens, picture codes, and seeing.
//!
//! Positions of source and instruction are never in the program's loss. Control tokens and codes
//! have a softmax each; every loss is a mean over the whole optimizer step's tokens of its kind
//! times its weight, so that grouping can't change it.

use super::batch::{Batch, Edit};
use super::config::SftConfig;
use crate::host::int_tensor;
use burn::tensor::activation::log_sigmoid;
use burn::tensor::{Device, Tensor, TensorData};
use earl_kernels::cross_entropy;
use earl_model::lm::{LanguageModel, SEE_SIZES, SeeingHead, Seen};
use earl_model::sequence::{self, Vocabulary};

/// Means over a step, each in nats; tensors `[1]`.
pub(crate) struct Losses {
    /// What is minimised.
    pub total: Tensor<1>,
    /// Control tokens.
    pub control: Tensor<1>,
    /// Picture codes.
    pub code: Tensor<1>,
    /// Seeing: sum of its four heads.
    pub seeing: Tensor<1>,
    /// Share of source cells named right.
    pub named: Tensor<1>,
    /// Control tokens and codes in the loss.
    pub tokens: (usize, usize),
}

/// The losses of one batch.
#[must_use]
pub(crate) fn losses(
    lm: &LanguageModel,
    head: &SeeingHead,
    vocabulary: &Vocabulary,
    batch: &Batch,
    config: &SftConfig,
    device: &Device,
) -> Losses {
    let sources: Vec<&earl_model::CodeGrid> = batch.sources.iter().collect();
    let mut source_cache = lm.cache();
    let read = lm.forward(&sequence::source_chunk(vocabulary, &sources), &mut source_cache, false);
    let keys = lm.pointer_keys(read.last); // [sources, cells, pointer]
    let (seeing, named) = seeing_loss(&head.forward(read.seen, lm), batch, device);

    let zero = || Tensor::<1>::zeros([1], device);
    let (mut control, mut code) = (zero(), zero());
    let (mut controls, mut codes) = (0, 0);
    for group in &batch.groups {
        let rows: Vec<usize> = group.iter().map(|edit| edit.source).collect();
        let mut cache = source_cache.select(&rows, device);
        let words: Vec<&[usize]> = group.iter().map(|edit| edit.words.as_slice()).collect();
        drop(lm.forward(&sequence::words_chunk(vocabulary, &words), &mut cache, false));
        let programs: Vec<&sequence::ProgramLayout> =
            group.iter().map(|edit| &edit.program).collect();
        let chunk = sequence::program_chunk(lm.config().text.max_words, &programs);
        let hidden = lm.forward(&chunk, &mut cache, true).last; // [edits, seq, hidden]
        let keys = keys.clone().select(0, int_tensor(rows.iter().copied(), device));
        let sums = program_loss(lm, vocabulary, group, hidden, keys, device);
        control = control + sums.control;
        code = code + sums.code;
        controls += sums.controls;
        codes += sums.codes;
    }
    let control = control.div_scalar(controls.max(1) as f64);
    let code = code.div_scalar(codes.max(1) as f64);
    let total = control.clone()
        + code.clone().mul_scalar(config.code_weight)
        + seeing.clone().mul_scalar(config.seeing_weight);
    Losses { total, control, code, seeing, named, tokens: (controls, codes) }
}

struct Sums {
    control: Tensor<1>,
    code: Tensor<1>,
    controls: usize,
    codes: usize,
}

/// Sums of the token losses of a group.
fn program_loss(
    lm: &LanguageModel,
    vocabulary: &Vocabulary,
    group: &[Edit],
    hidden: Tensor<3>,
    keys: Tensor<3>,
    device: &Device,
) -> Sums {
    let [edits, seq, width] = hidden.dims();
    let cells = keys.dims()[1];
    let (mut control_rows, mut control_targets) = (Vec::new(), Vec::new());
    let (mut code_rows, mut code_targets) = (Vec::new(), Vec::new());
    for (edit, row) in group.iter().zip((0..).step_by(seq)) {
        for (at, target) in edit.program.targets.iter().enumerate() {
            if edit.program.is_code[at] {
                code_rows.push(row + at);
                code_targets.push(target.0 as usize - vocabulary.control_len());
            } else {
                control_rows.push(row + at);
                control_targets.push(target.0 as usize);
            }
        }
    }
    let pointers = lm.pointer_logits(hidden.clone(), keys).reshape([edits * seq, cells]);
    let flat = hidden.reshape([edits * seq, width]);
    let pick = |rows: &[usize]| int_tensor(rows.iter().copied(), device);
    let (controls, codes) = (control_rows.len(), code_rows.len());
    let rows = pick(&control_rows);
    let logits = lm.control_logits(flat.clone().select(0, rows.clone()), pointers.select(0, rows));
    let control = cross_entropy(logits, pick(&control_targets)).sum();
    let code = if codes == 0 {
        Tensor::zeros([1], device)
    } else {
        let logits = lm.code_logits(flat.select(0, pick(&code_rows)));
        cross_entropy(logits, pick(&code_targets)).sum()
    };
    Sums { control, code, controls, codes }
}

/// Sum of the seeing heads' mean losses, and the share of cells named right.
fn seeing_loss(seen: &Seen, batch: &Batch, device: &Device) -> (Tensor<1>, Tensor<1>) {
    let labels = &batch.labels;
    let names = int_tensor(labels.iter().map(|label| label.name.0 as usize), device);
    let tints = int_tensor(labels.iter().map(|label| label.tint), device);
    let parts = int_tensor(labels.iter().map(|label| label.part), device);
    let signs: Vec<f32> = labels
        .iter()
        .flat_map(|label| label.free.map(|free| if free { 1.0 } else { -1.0 }))
        .collect();
    let signs = Tensor::<2>::from_data(TensorData::new(signs, [labels.len(), SEE_SIZES]), device);
    let named = seen.name.clone().argmax(1).squeeze_dim::<1>(1).equal(names.clone()).float().mean();
    let free = log_sigmoid(seen.free.clone() * signs).mean().neg();
    let loss = cross_entropy(seen.name.clone(), names).mean()
        + cross_entropy(seen.tint.clone(), tints).mean()
        + cross_entropy(seen.part.clone(), parts).mean()
        + free;
    (loss, named.detach())
}
