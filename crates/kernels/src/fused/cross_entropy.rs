//! Fused token loss: the forward pass keeps each row's log-sum-exp, the backward pass overwrites
//! the logits with their gradient.

use burn::Tensor;
use burn::tensor::{DType, Int};
use burn_flex::FlexTensor;

use super::parallel::{for_each, rows_in_piece};
use super::simd::{Level, exp, load_some, store_some, vector_fn};
use super::{Operation, constant, contiguous, floats, floats_mut, room, run, tensor};

/// Floats in a piece of work.
const PIECE: usize = 16_384;

/// See [`crate::cross_entropy`].
pub(crate) fn cross_entropy(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    let vocab = logits.dims()[1];
    let targets = indices(&constant(targets.into_dispatch()), vocab);
    run(&CrossEntropy { targets, vocab }, [logits.into_dispatch()])
}

/// The targets as places in a row of `vocab` logits.
fn indices(targets: &FlexTensor, vocab: usize) -> Vec<usize> {
    let targets = targets.to_contiguous();
    let targets: Vec<i64> = match targets.dtype() {
        DType::I64 => targets.storage::<i64>().to_vec(),
        DType::U32 => targets.storage::<u32>().iter().map(|&target| i64::from(target)).collect(),
        _ => targets.storage::<i32>().iter().map(|&target| i64::from(target)).collect(),
    };
    let place = |(row, target): (usize, i64)| {
        assert!(
            (0..vocab as i64).contains(&target),
            "cross_entropy: target {target} of row {row} is outside the vocabulary 0..{vocab}"
        );
        target as usize
    };
    targets.into_iter().enumerate().map(place).collect()
}

#[derive(Clone, Debug)]
struct CrossEntropy {
    /// One a row, each below `vocab`.
    targets: Vec<usize>,
    vocab: usize,
}

impl Operation<1> for CrossEntropy {
    /// The logits and the log-sum-exp of each row.
    type Saved = (FlexTensor, Vec<f32>);

    fn forward(&self, [logits]: [FlexTensor; 1], level: Level) -> (FlexTensor, Self::Saved) {
        let logits = contiguous(logits);
        let rows = rows_in_piece(self.vocab, PIECE);
        let mut log_sums = room(self.targets.len());
        let pieces =
            floats(&logits).chunks(rows * self.vocab).zip(log_sums.chunks_mut(rows)).collect();
        for_each(pieces, |(logits, log_sums)| {
            log_sum_exp(level, logits, self.vocab, log_sums);
        });
        let rows = floats(&logits).chunks(self.vocab.max(1));
        let losses = rows.zip(&self.targets).zip(&log_sums);
        let losses: Vec<f32> = losses.map(|((row, &target), sum)| sum - row[target]).collect();
        let rows = losses.len();
        (tensor(losses, [rows]), (logits, log_sums))
    }

    fn backward(
        &self,
        (mut logits, log_sums): Self::Saved,
        gradient: FlexTensor,
        _wanted: [bool; 1],
    ) -> [Option<FlexTensor>; 1] {
        let gradient = contiguous(gradient);
        // Nothing needs the logits after this, unless somebody still holds them.
        if floats_mut(&mut logits).is_none() {
            logits = tensor(floats(&logits).to_vec(), logits.layout().shape().clone());
        }
        if let Some(logits) = floats_mut(&mut logits) {
            let rows = rows_in_piece(self.vocab, PIECE);
            let pieces = logits
                .chunks_mut(rows * self.vocab)
                .zip(log_sums.chunks(rows))
                .zip(floats(&gradient).chunks(rows).zip(self.targets.chunks(rows)))
                .collect();
            for_each(pieces, |((logits, log_sums), (gradient, targets))| {
                backward(Level::widest(), logits, self.vocab, log_sums, gradient, targets);
            });
        }
        [Some(logits)]
    }
}

vector_fn! {
    fn log_sum_exp<S>(s, logits: &[f32], vocab: usize, log_sums: &mut [f32]) {
        for (row, log_sum) in logits.chunks_exact(vocab).zip(log_sums) {
            let mut peaks = s.splat(f32::NEG_INFINITY);
            for x in row.chunks(S::LANES) {
                peaks = s.max(peaks, load_some(s, x, f32::NEG_INFINITY));
            }
            let peak = s.peak(peaks);
            let (offset, mut sums) = (s.splat(peak), s.splat(0.0));
            for x in row.chunks(S::LANES) {
                let x = load_some(s, x, f32::NEG_INFINITY);
                sums = s.add(sums, exp(s, s.sub(x, offset)));
            }
            *log_sum = peak + s.sum(sums).ln();
        }
    }
}

vector_fn! {
    /// Overwrites each row of logits with `(softmax − onehot(target)) · gradient`.
    fn backward<S>(s, logits: &mut [f32], vocab: usize, log_sums: &[f32], gradient: &[f32], targets: &[usize]) {
        let scales = log_sums.iter().zip(gradient).zip(targets);
        for (row, ((&log_sum, &gradient), &target)) in logits.chunks_exact_mut(vocab).zip(scales) {
            let (offset, scale) = (s.splat(log_sum), s.splat(gradient));
            for x in row.chunks_mut(S::LANES) {
                let softmax = exp(s, s.sub(load_some(s, x, 0.0), offset));
                store_some(s, x, s.mul(softmax, scale));
            }
            row[target] -= gradient;
        }
    }
}
