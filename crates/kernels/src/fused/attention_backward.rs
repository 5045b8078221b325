//! Fused grouped-query attention, backward: scores made again from log-sum-exp, block by block.
//!
//! With `P = softmax(S)`, `D = rowsum(dO ∘ O)`: `dV = Pᵀ·dO`, `dS = P ∘ (dO·Vᵀ − D)`, `dQ = dS·K`,
//! `dK = dSᵀ·Q`. Pieces as in the forward pass, so that every gradient has one writer.
//! Source: Dao, arXiv 2307.08691. Start at [`backward`].

use super::attention::{BLOCK, Problem};
use super::gemm::{Left, Right, multiply, padded};
use super::simd::{Simd, exp, vector_fn};

/// Packed copies and sums of one key/value head.
struct Scratch {
    /// Queries, divided by √`head_dim`, and gradients of the output: `[rows, depth]`.
    queries: Vec<f32>,
    gradients: Vec<f32>,
    /// `rowsum(dO ∘ O)`: `[rows]`.
    deltas: Vec<f32>,
    /// Keys and values, one a column: `[head_dim, width]`.
    key_columns: Vec<f32>,
    value_columns: Vec<f32>,
    /// Keys, one a row: `[keys, depth]`.
    key_rows: Vec<f32>,
    /// Gradients of the keys and values: `[keys, depth]`.
    dk: Vec<f32>,
    dv: Vec<f32>,
    /// A block of weights and of their gradients: `[BLOCK, width]`.
    weights: Vec<f32>,
    slopes: Vec<f32>,
    /// A block of gradients of the queries: `[BLOCK, depth]`.
    dq: Vec<f32>,
}

impl Scratch {
    fn new(problem: &Problem) -> Self {
        let sizes = problem.sizes;
        let (width, depth) = (padded(sizes.keys), padded(sizes.head_dim));
        let zeros = |len: usize| vec![0.0; len];
        let block = BLOCK.min(sizes.rows());
        Self {
            queries: zeros(sizes.rows() * depth),
            gradients: zeros(sizes.rows() * depth),
            deltas: zeros(sizes.rows()),
            key_columns: zeros(sizes.head_dim * width),
            value_columns: zeros(sizes.head_dim * width),
            key_rows: zeros(sizes.keys * depth),
            dk: zeros(sizes.keys * depth),
            dv: zeros(sizes.keys * depth),
            weights: zeros(block * width),
            slopes: zeros(block * width),
            dq: zeros(block * depth),
        }
    }

    /// Copies what one key/value head needs; `output` and `gradient` as in [`backward`].
    fn fill(
        &mut self,
        problem: &Problem,
        batch: usize,
        kv_head: usize,
        output: &[f32],
        gradient: &[f32],
    ) {
        let sizes = problem.sizes;
        let (group, depth) = (sizes.group(), padded(sizes.head_dim));
        problem.pack_queries(batch, kv_head, &mut self.queries);
        problem.pack_columns(&problem.k, batch, kv_head, &mut self.key_columns);
        problem.pack_columns(&problem.v, batch, kv_head, &mut self.value_columns);
        problem.pack_rows(&problem.k, batch, kv_head, &mut self.key_rows);
        self.dk.fill(0.0);
        self.dv.fill(0.0);
        let rows = self.gradients.chunks_exact_mut(depth).zip(&mut self.deltas);
        for (row, (packed, delta)) in rows.enumerate() {
            let head = (row / group) * sizes.heads + kv_head * group + row % group;
            let at = head * sizes.head_dim;
            let gradient = &gradient[at..at + sizes.head_dim];
            packed[..sizes.head_dim].copy_from_slice(gradient);
            let output = &output[at..at + sizes.head_dim];
            *delta = gradient.iter().zip(output).map(|(gradient, output)| gradient * output).sum();
        }
    }
}

vector_fn! {
    /// One batch entry: `output`, `gradient` and `dq` as `[seq, heads, head_dim]`, `log_sums` as
    /// `[kv_heads, rows]`, `dk` and `dv` as `[keys, kv_heads, head_dim]`; writes all of the last three.
    pub(super) fn backward<S>(
        s,
        problem: &Problem,
        batch: usize,
        output: &[f32],
        gradient: &[f32],
        log_sums: &[f32],
        dq: &mut [f32],
        dk: &mut [f32],
        dv: &mut [f32],
    ) {
        let sizes = problem.sizes;
        let bias = problem.bias(batch);
        let mut scratch = Scratch::new(problem);
        for (kv_head, log_sums) in log_sums.chunks_exact(sizes.rows()).enumerate() {
            scratch.fill(problem, batch, kv_head, output, gradient);
            for (block, log_sums) in log_sums.chunks(BLOCK).enumerate() {
                let top = block * BLOCK;
                one_block(s, problem, &mut scratch, &bias, top, log_sums);
                unpack_queries(problem, &scratch.dq, kv_head, top, log_sums.len(), dq);
            }
            for (to, from) in [(&mut *dk, &scratch.dk), (&mut *dv, &scratch.dv)] {
                let rows = to.chunks_exact_mut(sizes.kv_heads * sizes.head_dim);
                for (to, from) in rows.zip(from.chunks_exact(padded(sizes.head_dim))) {
                    let at = kv_head * sizes.head_dim;
                    to[at..at + sizes.head_dim].copy_from_slice(&from[..sizes.head_dim]);
                }
            }
        }
    }
}

/// Rows `top..top + log_sums.len()`: their `dq` into the scratch, their share added to `dk`, `dv`.
#[allow(clippy::too_many_lines, reason = "five products in the order of the formulas above")]
#[inline(always)]
fn one_block<S: Simd>(
    s: S,
    problem: &Problem,
    scratch: &mut Scratch,
    bias: &[f32],
    top: usize,
    log_sums: &[f32],
) {
    let sizes = problem.sizes;
    let (width, depth) = (padded(sizes.keys), padded(sizes.head_dim));
    let height = log_sums.len();
    let seen = sizes.limit(top + height - 1);
    let Scratch { queries, gradients, deltas, key_columns, value_columns, .. } = scratch;
    let Scratch { key_rows, dk, dv, weights, slopes, dq, .. } = scratch;
    let (queries, gradients) = (&queries[top * depth..], &gradients[top * depth..]);

    let left = |values| Left { values, row: depth, column: 1 };
    let right = |values| Right { values, row: width };
    let shape = [height, padded(seen), sizes.head_dim];
    multiply(s, shape, left(queries), &right(key_columns), weights, width, false); // S
    multiply(s, shape, left(gradients), &right(value_columns), slopes, width, false); // dO·Vᵀ
    for (i, &log_sum) in log_sums.iter().enumerate() {
        let weights = &mut weights[i * width..][..padded(seen)];
        let slopes = &mut slopes[i * width..][..padded(seen)];
        let stairs = problem.stairs(top + i);
        weights_and_slopes(s, weights, slopes, bias, stairs, log_sum, deltas[top + i]);
    }
    let across = |values| Left { values, row: width, column: 1 };
    let down = |values| Left { values, row: 1, column: width };
    let right = |values| Right { values, row: depth };
    multiply(s, [height, depth, seen], across(slopes), &right(key_rows), dq, depth, false);
    let shape = [seen, depth, height];
    multiply(s, shape, down(weights), &right(gradients), dv, depth, true);
    multiply(s, shape, down(slopes), &right(queries), dk, depth, true); // √head_dim is in the queries
}

/// Turns a row of scores into weights `P`, and `dO·Vᵀ` into slopes `P ∘ (dO·Vᵀ − D)`.
#[inline(always)]
fn weights_and_slopes<S: Simd>(
    s: S,
    weights: &mut [f32],
    slopes: &mut [f32],
    bias: &[f32],
    stairs: &[f32],
    log_sum: f32,
    delta: f32,
) {
    let (log_sum, delta) = (s.splat(log_sum), s.splat(delta));
    let hidden = bias.chunks_exact(S::LANES).zip(stairs.chunks_exact(S::LANES));
    let rows = weights.chunks_exact_mut(S::LANES).zip(slopes.chunks_exact_mut(S::LANES));
    for ((weights, slopes), (bias, stairs)) in rows.zip(hidden) {
        // SAFETY: all four chunks hold LANES floats.
        unsafe {
            let hidden = s.add(s.load(bias.as_ptr()), s.load(stairs.as_ptr()));
            let score = s.add(s.load(weights.as_ptr()), hidden);
            let weight = exp(s, s.sub(score, log_sum));
            let slope = s.mul(weight, s.sub(s.load(slopes.as_ptr()), delta));
            s.store(weights.as_mut_ptr(), weight);
            s.store(slopes.as_mut_ptr(), slope);
        }
    }
}

/// Copies a block of query gradients to their places, divided by √`head_dim`.
fn unpack_queries(
    problem: &Problem,
    from: &[f32],
    kv_head: usize,
    top: usize,
    height: usize,
    dq: &mut [f32],
) {
    let sizes = problem.sizes;
    let (group, scale) = (sizes.group(), sizes.scale());
    for (i, from) in from.chunks_exact(padded(sizes.head_dim)).take(height).enumerate() {
        let (position, member) = ((top + i) / group, (top + i) % group);
        let at = (position * sizes.heads + kv_head * group + member) * sizes.head_dim;
        let to = dq[at..at + sizes.head_dim].iter_mut();
        to.zip(from).for_each(|(to, from)| *to = from * scale);
    }
}
