//! Fused attention for a handful of query rows, as in generation, where a cache is read once.
//!
//! Copying keys and values into the blocked layout would cost more than using them, so each key
//! meets every query where it lies. What a row gives does not depend on the rows beside it, nor on
//! later keys that it does not see. Start at [`few`].

use super::attention::{Problem, exponentials};
use super::gemm::padded;
use super::simd::{dot, load_some, store_some, vector_fn};
use crate::attention::FEW;

vector_fn! {
    /// One batch entry, [`FEW`] rows of a key/value head at a time: `output` as
    /// `[seq, heads, head_dim]`, `log_sums` as `[kv_heads, rows]`.
    pub(super) fn few<S>(s, problem: &Problem, batch: usize, output: &mut [f32], log_sums: &mut [f32]) {
        let sizes = problem.sizes;
        let (rows, group, head_dim) = (sizes.rows(), sizes.group(), sizes.head_dim);
        let width = padded(sizes.keys);
        let bias = problem.bias(batch);
        let mut queries = vec![0.0; rows * padded(head_dim)];
        // Always FEW rows, the spare ones zero, so that the sums below stay in registers.
        let mut scores = vec![0.0; FEW * width];
        for (kv_head, log_sums) in log_sums.chunks_exact_mut(rows).enumerate() {
            problem.pack_queries(batch, kv_head, &mut queries);
            let together = queries.chunks(FEW * padded(head_dim));
            for (piece, (queries, log_sums)) in together.zip(log_sums.chunks_mut(FEW)).enumerate() {
                let top = piece * FEW;
                for key in 0..sizes.keys {
                    let vector = problem.k.at(batch, key, kv_head);
                    for (row, query) in queries.chunks_exact(padded(head_dim)).enumerate() {
                        scores[row * width + key] = dot(s, vector, &query[..head_dim]);
                    }
                }
                let mut inverse = [0.0; FEW];
                for (row, log_sum) in log_sums.iter_mut().enumerate() {
                    let scores = &mut scores[row * width..][..width];
                    let stairs = problem.stairs(top + row);
                    (*log_sum, inverse[row]) = exponentials(s, scores, &bias, stairs);
                }
                for start in (0..head_dim).step_by(S::LANES) {
                    let end = head_dim.min(start + S::LANES);
                    let mut sums = [s.splat(0.0); FEW];
                    for key in 0..sizes.keys {
                        let value = load_some(s, &problem.v.at(batch, key, kv_head)[start..end], 0.0);
                        for (row, sum) in sums.iter_mut().enumerate() {
                            *sum = s.fma(s.splat(scores[row * width + key]), value, *sum);
                        }
                    }
                    for (row, &sum) in sums.iter().enumerate().take(log_sums.len()) {
                        let row_at = top + row;
                        let head = row_at / group * sizes.heads + kv_head * group + row_at % group;
                        let to = &mut output[head * head_dim..][start..end];
                        store_some(s, to, s.mul(sum, s.splat(inverse[row])));
                    }
                }
                scores.fill(0.0);
            }
        }
    }
}
