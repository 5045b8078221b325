//! The small operations around the blocks, one dispatch each.

use super::{Shader, THREADS, inner, outer, room};
use burn::Tensor;
use burn::tensor::{Int, TensorData};

/// See [`crate::rms_norm`].
pub(crate) fn rms_norm(x: Tensor<3>, gain: Tensor<1>, eps: f64) -> Tensor<3> {
    let shape @ [batch, seq, width] = x.dims();
    let [x, gain] = [x.into_dispatch(), gain.into_dispatch()].map(inner);
    let output = room(&x, shape);
    Shader::new("rms_norm", include_str!("wgsl/rms_norm.wgsl"))
        .whole("WIDTH", width)
        .float("EPS", eps as f32)
        .launch([1, batch * seq], &[&x, &gain, &output], None);
    outer(output)
}

/// See [`crate::scores()`].
pub(crate) fn scores(q: Tensor<3>, k: Tensor<3>) -> Tensor<3> {
    let ([batch, seq, dim], [_, keys, _]) = (q.dims(), k.dims());
    let [q, k] = [q, k].map(|tensor| inner(tensor.into_dispatch()));
    let output = room(&q, [batch, seq, keys]);
    Shader::new("scores", include_str!("wgsl/scores.wgsl")).whole("DIM", dim).launch(
        [keys.div_ceil(THREADS), batch * seq],
        &[&q, &k, &output],
        Some([seq, keys, 0, 0]),
    );
    outer(output)
}

/// See [`crate::greatest`].
pub(crate) fn greatest(x: Tensor<2>) -> Tensor<2> {
    let [rows, width] = x.dims();
    let x = inner(x.into_dispatch());
    let output = room(&x, [rows, 1]);
    Shader::new("greatest", include_str!("wgsl/greatest.wgsl")).whole("WIDTH", width).launch(
        [1, rows],
        &[&x, &output],
        None,
    );
    outer(output)
}

/// See [`crate::greedy`].
pub(crate) fn greedy(logits: Tensor<2>) -> Tensor<2> {
    let [rows, width] = logits.dims();
    let logits = inner(logits.into_dispatch());
    let output = room(&logits, [rows, 4]);
    Shader::new("greedy", include_str!("wgsl/greedy.wgsl")).whole("WIDTH", width).launch(
        [1, rows],
        &[&logits, &output],
        None,
    );
    outer(output)
}

/// Tables that one dispatch can read.
const MOST_TABLES: usize = 5;

/// Whether [`gather_sum`] takes so many tables.
pub(crate) fn gathers(tables: usize) -> bool {
    (1..=MOST_TABLES).contains(&tables)
}

/// See [`crate::gather_sum()`]; the caller has checked ids and sizes.
pub(crate) fn gather_sum<const N: usize>(
    tables: [Tensor<2>; N],
    ids: [Vec<i32>; N],
    scale: f32,
) -> Tensor<2> {
    let (count, width) = (ids[0].len(), tables[0].dims()[1]);
    let ids = TensorData::new(ids.concat(), [N * count]);
    let ids = inner(Tensor::<1, Int>::from_data(ids, &tables[0].device()).into_dispatch());
    let tables = tables.map(|table| inner(table.into_dispatch()));
    let output = room(&tables[0], [count, width]);
    let mut buffers = vec![&ids];
    buffers.extend(&tables);
    buffers.push(&output);
    let mut shader =
        Shader::new("gather_sum", include_str!("wgsl/gather_sum.wgsl")).whole("WIDTH", width);
    for (at, option) in ["1", "2", "3", "4"].into_iter().enumerate() {
        shader = shader.option(option, at + 1 < N);
    }
    shader.float("SCALE", scale).launch(
        [width.div_ceil(THREADS), count],
        &buffers,
        Some([count, 0, 0, 0]),
    );
    outer(output)
}
