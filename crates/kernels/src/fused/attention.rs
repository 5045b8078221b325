//! Fused grouped-query attention, forward: scores live only as a block of rows in the cache.
//!
//! One piece of work is one batch entry; within it, each key/value head serves all its query
//! heads at once as rows `i · group + g`, so that neighbouring rows see nearly the same keys and a
//! causal block stops at its last visible one. The forward pass keeps log-sum-exp per row; the
//! backward pass (`attention_backward`) makes the scores again.
//! Source: Dao, arXiv 2307.08691 (FlashAttention-2), without the blocking over keys: here a row of
//! scores fits. Start at [`Attention`].

use burn::Tensor;
use burn_flex::FlexTensor;

use super::attention_backward::backward;
use super::attention_few::few;
use super::gemm::{Left, Right, multiply, padded};
use super::parallel::for_each;
use super::simd::{Level, Simd, exp, vector_fn};
use super::{Operation, contiguous, floats, in_rows, room, run, tensor};
use crate::attention::{FEW, SHORT};

/// Rows of scores made at once; with 160 keys they take 30 KiB, the size of a first-level cache.
pub(super) const BLOCK: usize = 48;

/// See [`crate::attention`]; the caller has checked the sizes.
pub(crate) fn attention(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    key_mask: Option<Tensor<2>>,
    causal: bool,
) -> Tensor<4> {
    let [batch, seq, heads, head_dim] = q.dims();
    let [_, keys, kv_heads, _] = k.dims();
    let sizes = Sizes { batch, seq, keys, heads, kv_heads, head_dim, causal };
    let mask = key_mask.map(in_rows);
    run(&Attention { sizes, mask }, [q.into_dispatch(), k.into_dispatch(), v.into_dispatch()])
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) batch: usize,
    pub(super) seq: usize,
    pub(super) keys: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) head_dim: usize,
    pub(super) causal: bool,
}

impl Sizes {
    /// Query heads of one key/value head.
    pub(super) fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// Rows of one key/value head.
    pub(super) fn rows(&self) -> usize {
        self.group() * self.seq
    }

    /// How many of the first keys the causal rule lets this row see.
    pub(super) fn limit(&self, row: usize) -> usize {
        if self.causal { row / self.group() + 1 + self.keys - self.seq } else { self.keys }
    }

    pub(super) fn scale(&self) -> f32 {
        (self.head_dim as f32).powf(-0.5)
    }
}

#[derive(Clone, Debug)]
struct Attention {
    sizes: Sizes,
    /// `[batch, keys]`
    mask: Option<FlexTensor>,
}

impl Attention {
    fn problem<'a>(&'a self, inputs: &'a [FlexTensor; 3]) -> Problem<'a> {
        Problem::new(self.sizes, inputs.each_ref().map(Heads::new), self.mask.as_ref().map(floats))
    }
}

/// One batch entry, forward: `output` as `[seq, heads, head_dim]`, `log_sums` as `[kv_heads, rows]`.
pub(super) fn attend(
    level: Level,
    problem: &Problem,
    batch: usize,
    output: &mut [f32],
    log_sums: &mut [f32],
) {
    let Sizes { seq, causal, .. } = problem.sizes;
    if problem.sizes.rows() <= FEW || (causal && seq <= SHORT && level.is_exact()) {
        few(level, problem, batch, output, log_sums);
    } else {
        forward(level, problem, batch, output, log_sums);
    }
}

impl Operation<3> for Attention {
    /// Inputs, output, and log-sum-exp as `[batch, kv_heads, rows]`.
    type Saved = ([FlexTensor; 3], FlexTensor, Vec<f32>);

    fn forward(&self, inputs: [FlexTensor; 3], level: Level) -> (FlexTensor, Self::Saved) {
        let inputs = inputs.map(unit_stride);
        let sizes = self.sizes;
        let mut output = room(sizes.batch * sizes.seq * sizes.heads * sizes.head_dim);
        let mut log_sums = room(sizes.batch * sizes.seq * sizes.heads);
        let problem = self.problem(&inputs);
        if !output.is_empty() {
            let pieces = output
                .chunks_mut(sizes.seq * sizes.heads * sizes.head_dim)
                .zip(log_sums.chunks_mut(sizes.seq * sizes.heads))
                .enumerate()
                .collect();
            for_each(pieces, |(batch, (output, log_sums))| {
                attend(level, &problem, batch, output, log_sums);
            });
        }
        let output = tensor(output, [sizes.batch, sizes.seq, sizes.heads, sizes.head_dim]);
        (output.clone(), (inputs, output, log_sums))
    }

    fn backward(
        &self,
        (inputs, output, log_sums): Self::Saved,
        gradient: FlexTensor,
        _wanted: [bool; 3],
    ) -> [Option<FlexTensor>; 3] {
        let gradient = contiguous(gradient);
        let sizes = self.sizes;
        let (q_len, k_len) = (
            sizes.seq * sizes.heads * sizes.head_dim,
            sizes.keys * sizes.kv_heads * sizes.head_dim,
        );
        let mut dq = room(sizes.batch * q_len);
        let [mut dk, mut dv] = [room(sizes.batch * k_len), room(sizes.batch * k_len)];
        let problem = self.problem(&inputs);
        if sizes.batch * q_len * k_len > 0 {
            let given = floats(&output)
                .chunks(q_len)
                .zip(floats(&gradient).chunks(q_len))
                .zip(log_sums.chunks(sizes.seq * sizes.heads));
            let made = dq.chunks_mut(q_len).zip(dk.chunks_mut(k_len).zip(dv.chunks_mut(k_len)));
            let pieces = given.zip(made).enumerate().collect();
            for_each(pieces, |(batch, (((output, gradient), log_sums), (dq, (dk, dv))))| {
                backward(Level::widest(), &problem, batch, output, gradient, log_sums, dq, dk, dv);
            });
        }
        let kv_shape = [sizes.batch, sizes.keys, sizes.kv_heads, sizes.head_dim];
        let dq = tensor(dq, [sizes.batch, sizes.seq, sizes.heads, sizes.head_dim]);
        [Some(dq), Some(tensor(dk, kv_shape)), Some(tensor(dv, kv_shape))]
    }
}

/// The same tensor with neighbouring elements of a head side by side; other strides may be any,
/// so that a view into a cache, or one shared by the batch, costs no copy.
fn unit_stride(tensor: FlexTensor) -> FlexTensor {
    let strides = tensor.layout().strides();
    if strides[3] == 1 && strides.iter().all(|&stride| stride >= 0) {
        tensor
    } else {
        tensor.to_contiguous()
    }
}

/// The vectors of one of q, k, v.
pub(super) struct Heads<'a> {
    values: &'a [f32],
    batch: usize,
    position: usize,
    head: usize,
    head_dim: usize,
}

impl<'a> Heads<'a> {
    /// `tensor` comes from [`unit_stride`].
    fn new(tensor: &'a FlexTensor) -> Self {
        let layout = tensor.layout();
        let strides = layout.strides();
        Self {
            values: &tensor.storage::<f32>()[layout.start_offset()..],
            batch: strides[0] as usize,
            position: strides[1] as usize,
            head: strides[2] as usize,
            head_dim: layout.shape()[3],
        }
    }

    /// The vectors of a single batch entry, `[positions, heads, head_dim]`, in row order.
    pub(super) fn in_rows(values: &'a [f32], heads: usize, head_dim: usize) -> Self {
        Self { values, batch: 0, position: heads * head_dim, head: head_dim, head_dim }
    }

    pub(super) fn at(&self, batch: usize, position: usize, head: usize) -> &'a [f32] {
        let start = batch * self.batch + position * self.position + head * self.head;
        &self.values[start..start + self.head_dim]
    }
}

/// What all pieces of work share.
pub(super) struct Problem<'a> {
    pub(super) sizes: Sizes,
    q: Heads<'a>,
    pub(super) k: Heads<'a>,
    pub(super) v: Heads<'a>,
    mask: Option<&'a [f32]>,
    /// Zeros, then as many −∞: `stairs[width − limit..]` hides the keys from `limit` on.
    stairs: Vec<f32>,
}

impl<'a> Problem<'a> {
    /// Queries, keys and values, and 1 or 0 for each key, `[batch, keys]`.
    pub(super) fn new(sizes: Sizes, [q, k, v]: [Heads<'a>; 3], mask: Option<&'a [f32]>) -> Self {
        let width = padded(sizes.keys);
        let mut stairs = vec![0.0; 2 * width];
        stairs[width..].fill(f32::NEG_INFINITY);
        Self { sizes, q, k, v, mask, stairs }
    }

    /// Added to the scores of every row: 0 for a visible key, −∞ for a hidden one and the padding.
    pub(super) fn bias(&self, batch: usize) -> Vec<f32> {
        let keys = self.sizes.keys;
        let mut bias = vec![f32::NEG_INFINITY; padded(keys)];
        match self.mask {
            None => bias[..keys].fill(0.0),
            Some(mask) => {
                for (bias, &shown) in bias.iter_mut().zip(&mask[batch * keys..][..keys]) {
                    *bias = if shown > 0.5 { 0.0 } else { f32::NEG_INFINITY };
                }
            }
        }
        bias
    }

    /// Added to the scores of this row: −∞ from the row's limit on.
    pub(super) fn stairs(&self, row: usize) -> &[f32] {
        &self.stairs[self.stairs.len() / 2 - self.sizes.limit(row)..]
    }

    /// One query vector a row, divided by √`head_dim`, rows padded.
    pub(super) fn pack_queries(&self, batch: usize, kv_head: usize, packed: &mut [f32]) {
        let (group, scale) = (self.sizes.group(), self.sizes.scale());
        let rows = packed.chunks_exact_mut(padded(self.sizes.head_dim));
        for (row, packed) in rows.enumerate() {
            let query = self.q.at(batch, row / group, kv_head * group + row % group);
            packed.iter_mut().zip(query).for_each(|(packed, x)| *packed = x * scale);
        }
    }

    /// One key or value vector a row, rows padded.
    pub(super) fn pack_rows(&self, from: &Heads, batch: usize, head: usize, packed: &mut [f32]) {
        let rows = packed.chunks_exact_mut(padded(self.sizes.head_dim));
        for (position, packed) in rows.enumerate() {
            packed[..self.sizes.head_dim].copy_from_slice(from.at(batch, position, head));
        }
    }

    /// One key or value vector a column, rows padded.
    pub(super) fn pack_columns(&self, from: &Heads, batch: usize, head: usize, packed: &mut [f32]) {
        let width = padded(self.sizes.keys);
        for position in 0..self.sizes.keys {
            for (i, &x) in from.at(batch, position, head).iter().enumerate() {
                packed[i * width + position] = x;
            }
        }
    }
}

vector_fn! {
    /// One batch entry: `output` as `[seq, heads, head_dim]`, `log_sums` as `[kv_heads, rows]`.
    fn forward<S>(s, problem: &Problem, batch: usize, output: &mut [f32], log_sums: &mut [f32]) {
        let sizes = problem.sizes;
        let (rows, group, head_dim) = (sizes.rows(), sizes.group(), sizes.head_dim);
        let (width, depth) = (padded(sizes.keys), padded(head_dim));
        let bias = problem.bias(batch);
        let mut queries = vec![0.0; rows * depth];
        let mut keys = vec![0.0; head_dim * width];
        let mut values = vec![0.0; sizes.keys * depth];
        let mut scores = vec![0.0; BLOCK.min(rows) * width];
        let mut sums = vec![0.0; BLOCK.min(rows) * depth];
        for (kv_head, log_sums) in log_sums.chunks_exact_mut(rows).enumerate() {
            problem.pack_queries(batch, kv_head, &mut queries);
            problem.pack_columns(&problem.k, batch, kv_head, &mut keys);
            problem.pack_rows(&problem.v, batch, kv_head, &mut values);
            let keys = Right { values: &keys, row: width };
            let values = Right { values: &values, row: depth };
            for (block, log_sums) in log_sums.chunks_mut(BLOCK).enumerate() {
                let (top, height) = (block * BLOCK, log_sums.len());
                let seen = sizes.limit(top + height - 1);
                let queries = Left { values: &queries[top * depth..], row: depth, column: 1 };
                multiply(s, [height, padded(seen), head_dim], queries, &keys, &mut scores, width, false);
                let mut inverse = [0.0; BLOCK];
                for (i, log_sum) in log_sums.iter_mut().enumerate() {
                    let row = &mut scores[i * width..][..padded(seen)];
                    (*log_sum, inverse[i]) = exponentials(s, row, &bias, problem.stairs(top + i));
                }
                let weights = Left { values: &scores, row: width, column: 1 };
                multiply(s, [height, depth, seen], weights, &values, &mut sums, depth, false);
                for (i, sums) in sums.chunks_exact(depth).take(height).enumerate() {
                    let (position, member) = ((top + i) / group, (top + i) % group);
                    let at = (position * sizes.heads + kv_head * group + member) * head_dim;
                    let to = output[at..at + head_dim].iter_mut();
                    to.zip(sums).for_each(|(to, sum)| *to = sum * inverse[i]);
                }
            }
        }
    }
}

/// Turns a row of scores into `exp(score − peak)`; returns log-sum-exp and 1 / sum, or ∞ and 0 if
/// every key is hidden.
#[inline(always)]
pub(super) fn exponentials<S: Simd>(
    s: S,
    row: &mut [f32],
    bias: &[f32],
    stairs: &[f32],
) -> (f32, f32) {
    let mut peaks = s.splat(f32::NEG_INFINITY);
    let hidden = bias.chunks_exact(S::LANES).zip(stairs.chunks_exact(S::LANES));
    for (row, (bias, stairs)) in row.chunks_exact_mut(S::LANES).zip(hidden) {
        // SAFETY: all three chunks hold LANES floats.
        unsafe {
            let hidden = s.add(s.load(bias.as_ptr()), s.load(stairs.as_ptr()));
            let score = s.add(s.load(row.as_ptr()), hidden);
            s.store(row.as_mut_ptr(), score);
            peaks = s.max(peaks, score);
        }
    }
    let peak = s.peak(peaks);
    if peak == f32::NEG_INFINITY {
        row.fill(0.0);
        return (f32::INFINITY, 0.0);
    }
    let (offset, mut sums) = (s.splat(peak), s.splat(0.0));
    for row in row.chunks_exact_mut(S::LANES) {
        // SAFETY: the chunk holds LANES floats.
        unsafe {
            let weight = exp(s, s.sub(s.load(row.as_ptr()), offset));
            s.store(row.as_mut_ptr(), weight);
            sums = s.add(sums, weight);
        }
    }
    let sum = s.sum(sums);
    (peak + sum.ln(), 1.0 / sum)
}
