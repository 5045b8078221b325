//! Fused dot products of queries with keys, for inference: the same bits whatever rows are beside.

use burn::Tensor;

use super::simd::{Level, dot, vector_fn};
use super::{finished, floats, in_rows, room, tensor};

/// See [`crate::scores()`]; the caller has checked the sizes.
pub(crate) fn scores(q: Tensor<3>, k: Tensor<3>) -> Tensor<3> {
    let ([batch, seq, dim], [_, keys, _]) = (q.dims(), k.dims());
    let [q, k] = [q, k].map(in_rows);
    let mut output = room(batch * seq * keys);
    if !output.is_empty() && dim > 0 {
        let given = floats(&q).chunks_exact(seq * dim).zip(floats(&k).chunks_exact(keys * dim));
        for ((q, k), output) in given.zip(output.chunks_exact_mut(seq * keys)) {
            products(Level::exact(), q, k, dim, output);
        }
    }
    finished(tensor(output, [batch, seq, keys]))
}

vector_fn! {
    fn products<S>(s, q: &[f32], k: &[f32], dim: usize, output: &mut [f32]) {
        let keys = k.len() / dim;
        for (q, output) in q.chunks_exact(dim).zip(output.chunks_exact_mut(keys)) {
            for (k, output) in k.chunks_exact(dim).zip(output) {
                *output = dot(s, k, q);
            }
        }
    }
}
