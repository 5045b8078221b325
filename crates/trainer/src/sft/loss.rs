//! The losses of a supervised step: control tokens, picture codes, and seeing.
//!
//! Positions of source and instruction are never in the program's loss. Control tokens and codes
//! have a softmax each; every loss is a mean over the whole optimizer step's tokens of its kind
//! times its weight, so that cutting a batch into passes can't change it. A pass is one packed row: no
//! token of it is padding.

use super::batch::{Batch, CellLabel, Pass};
use super::config::SftConfig;
use crate::host::int_tensor;
use burn::tensor::activation::log_sigmoid;
use burn::tensor::{Device, Tensor, TensorData};
use earl_kernels::cross_entropy;
use earl_model::lm::{Erase, LanguageModel, Look, Packed, SEE_SIZES, SeeingHead, Seen};
use earl_model::sequence::{Packer, Vocabulary};
use std::ops::Range;

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
    /// Erase map, a source cell.
    pub erase: Tensor<1>,
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
    let passes = batch.passes(config.data.group_size).into_iter();
    let sums = passes.map(|pass| {
        let row = Row::new(vocabulary, lm.config().text.max_words, batch, &pass);
        let cells = row.sources.iter().map(ExactSizeIterator::len).sum::<usize>();
        let first = pass.sources.start * (cells / pass.sources.len());
        row.losses(lm, head, &batch.labels[first..first + cells], device)
    });
    let zero = Sums::zeros(device);
    let Sums { control, code, seeing, erase, named, controls, codes, choices } =
        sums.fold(zero, Sums::plus);
    let cells = batch.labels.len().max(1) as f64;
    let control = control.div_scalar(controls.max(1) as f64);
    let code = code.div_scalar(codes.max(1) as f64);
    let seeing = seeing.div_scalar(cells);
    let erase = erase.div_scalar(choices.max(1) as f64);
    let total = control.clone()
        + code.clone().mul_scalar(config.code_weight)
        + seeing.clone().mul_scalar(config.seeing_weight)
        + erase.clone().mul_scalar(config.erase_weight);
    let named = named.div_scalar(cells);
    Losses { total, control, code, seeing, erase, named, tokens: (controls, codes) }
}

/// Sums over tokens or cells.
struct Sums {
    control: Tensor<1>,
    code: Tensor<1>,
    seeing: Tensor<1>,
    erase: Tensor<1>,
    named: Tensor<1>,
    controls: usize,
    codes: usize,
    /// Cells an erase map was wanted of.
    choices: usize,
}

impl Sums {
    fn zeros(device: &Device) -> Self {
        let zero = || Tensor::zeros([1], device);
        let (control, code, seeing, erase, named) = (zero(), zero(), zero(), zero(), zero());
        Self { control, code, seeing, erase, named, controls: 0, codes: 0, choices: 0 }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            control: self.control + other.control,
            code: self.code + other.code,
            seeing: self.seeing + other.seeing,
            erase: self.erase + other.erase,
            named: self.named + other.named,
            controls: self.controls + other.controls,
            codes: self.codes + other.codes,
            choices: self.choices + other.choices,
        }
    }
}

/// One pass as a packed row, and where its targets are.
struct Row<'a> {
    packed: Packed,
    /// Tokens of each source.
    sources: Vec<Range<usize>>,
    /// Source and token of each predicted control token, and the token to come.
    controls: Vec<(usize, usize)>,
    control_targets: Vec<usize>,
    /// What of its source is left before each, and after the whole program.
    left: Vec<&'a [bool]>,
    kept: Vec<&'a [bool]>,
    codes: Vec<usize>,
    code_targets: Vec<usize>,
}

impl<'a> Row<'a> {
    fn new(vocabulary: &Vocabulary, max_words: usize, batch: &'a Batch, pass: &Pass) -> Self {
        let mut packer = Packer::new(vocabulary, max_words);
        let (mut sources, mut controls, mut control_targets) = (Vec::new(), Vec::new(), Vec::new());
        let (mut left, mut kept) = (Vec::new(), Vec::new());
        let (mut codes, mut code_targets) = (Vec::new(), Vec::new());
        let mut edits = batch.edits[pass.edits.clone()].iter().peekable();
        for source in pass.sources.clone() {
            let (picture, tokens) = packer.source(&batch.sources[source]);
            sources.push(tokens);
            while let Some(edit) = edits.next_if(|edit| edit.source == source) {
                let (words, _) = packer.words(picture, &edit.words);
                let (_, tokens) = packer.program(words, &edit.program);
                let program = &edit.program;
                let targets = program.targets.iter().zip(&program.is_code).zip(&program.left);
                for (token, ((target, &is_code), of_source)) in tokens.zip(targets) {
                    if is_code {
                        codes.push(token);
                        code_targets.push(target.0 as usize - vocabulary.control_len());
                    } else {
                        controls.push((source - pass.sources.start, token));
                        control_targets.push(target.0 as usize);
                        left.push(of_source.as_slice());
                        kept.push(program.kept.as_slice());
                    }
                }
            }
        }
        let packed = packer.finish();
        Self { packed, sources, controls, control_targets, left, kept, codes, code_targets }
    }

    /// The row's sums; `labels` are those of its source cells.
    fn losses(
        &self,
        lm: &LanguageModel,
        head: &SeeingHead,
        labels: &[CellLabel],
        device: &Device,
    ) -> Sums {
        let pick = |rows: &[usize]| int_tensor(rows.iter().copied(), device);
        let read = lm.forward_packed(&self.packed);
        let cells = int_tensor(self.sources.iter().cloned().flatten(), device);
        let seen = read.seen.squeeze_dim::<2>(0).select(0, cells); // [cells, hidden]
        let (seeing, named) = seeing_loss(&head.forward(seen.unsqueeze(), lm), labels, device);

        let hidden = read.last.squeeze_dim::<2>(0); // [tokens, hidden]
        let look = lm.packed_look(&hidden, &self.sources, &self.controls, &self.left);
        let (erase, choices) = self.erase_loss(&look, device);
        let rows = int_tensor(self.controls.iter().map(|&(_, row)| row), device);
        let logits = lm.control_logits(hidden.clone().select(0, rows), look);
        let control = cross_entropy(logits, pick(&self.control_targets)).sum();
        let code = if self.codes.is_empty() {
            Tensor::zeros([1], device)
        } else {
            let logits = lm.code_logits(hidden.select(0, pick(&self.codes)));
            cross_entropy(logits, pick(&self.code_targets)).sum()
        };
        let (controls, codes) = (self.controls.len(), self.codes.len());
        Sums { control, code, seeing, erase, named, controls, codes, choices }
    }

    /// Sum of the erase map's losses over what is left at each choice of a step, and how many cells that is.
    fn erase_loss(&self, look: &Look, device: &Device) -> (Tensor<1>, usize) {
        let Some(Erase { map, .. }) = &look.erase else { return (Tensor::zeros([1], device), 0) };
        let [rows, cells] = map.dims();
        let mut signs = vec![0.0f32; rows * cells];
        for (signs, (left, kept)) in signs.chunks_mut(cells).zip(self.left.iter().zip(&self.kept)) {
            for (sign, (left, kept)) in signs.iter_mut().zip(left.iter().zip(*kept)) {
                *sign = if !left {
                    0.0
                } else if *kept {
                    -1.0
                } else {
                    1.0
                };
            }
        }
        let choices = signs.iter().filter(|sign| **sign != 0.0).count();
        let signs = Tensor::<2>::from_data(TensorData::new(signs, [rows, cells]), device);
        // A sign of 0 leaves ln 2 and no gradient.
        let none = (rows * cells - choices) as f64 * std::f64::consts::LN_2;
        (log_sigmoid(map.clone() * signs).sum().neg().sub_scalar(none), choices)
    }
}

/// Sum of the seeing heads' losses over the cells, and how many of them are named right.
fn seeing_loss(seen: &Seen, labels: &[CellLabel], device: &Device) -> (Tensor<1>, Tensor<1>) {
    let names = int_tensor(labels.iter().map(|label| label.name.0 as usize), device);
    let tints = int_tensor(labels.iter().map(|label| label.tint), device);
    let parts = int_tensor(labels.iter().map(|label| label.part), device);
    let signs: Vec<f32> = labels
        .iter()
        .flat_map(|label| label.free.map(|free| if free { 1.0 } else { -1.0 }))
        .collect();
    let signs = Tensor::<2>::from_data(TensorData::new(signs, [labels.len(), SEE_SIZES]), device);
    let named = seen.name.clone().argmax(1).squeeze_dim::<1>(1).equal(names.clone()).float().sum();
    let free = log_sigmoid(seen.free.clone() * signs).sum().div_scalar(SEE_SIZES as f64).neg();
    let loss = cross_entropy(seen.name.clone(), names).sum()
        + cross_entropy(seen.tint.clone(), tints).sum()
        + cross_entropy(seen.part.clone(), parts).sum()
        + free;
    (loss, named.detach())
}
