//! Fused group normalisation: a group is read twice for its mean and variance and once more to be
//! scaled, shifted and passed on.

use burn::Tensor;

use super::parallel::for_each;
use super::simd::{Level, load_some, sigmoid, store_some, vector_fn};
use super::{finished, floats, in_rows, room, tensor};
use crate::group_norm::GroupNorm;

/// See [`crate::group_norm()`]; the caller has checked sizes.
pub(crate) fn group_norm(
    x: Tensor<4>,
    gain: Tensor<1>,
    bias: Tensor<1>,
    spatial: Option<[Tensor<4>; 2]>,
    norm: GroupNorm,
) -> Tensor<4> {
    let shape @ [_, maps, height, width] = x.dims();
    let small = spatial.as_ref().map(|[scale, _]| [scale.dims()[2], scale.dims()[3]]);
    let (x, gain, bias) = (in_rows(x), in_rows(gain), in_rows(bias));
    let spatial = spatial.map(|parts| parts.map(in_rows));
    let (area, in_group) = (height * width, maps / norm.groups);
    let mut output = room(floats(&x).len());
    let groups = floats(&x)
        .chunks_exact(in_group * area)
        .zip(output.chunks_exact_mut(in_group * area))
        .enumerate()
        .collect();
    for_each(groups, |(group, (x, output)): (usize, (&[f32], &mut [f32]))| {
        let level = Level::widest();
        let [mean, inverse] = statistics(level, x, norm.eps as f32);
        for (at, (x, output)) in x.chunks_exact(area).zip(output.chunks_exact_mut(area)).enumerate()
        {
            let map = group % norm.groups * in_group + at;
            let affine = [mean, inverse * floats(&gain)[map], floats(&bias)[map]];
            let Some(([rows, columns], spatial)) = small.zip(spatial.as_ref()) else {
                apply(level, x, output, affine, norm.silu);
                continue;
            };
            let map = group * in_group + at;
            let [scale, shift] = spatial
                .each_ref()
                .map(|part| &floats(part)[map * rows * columns..][..rows * columns]);
            let mut line = Line { at: None, scale: vec![0.0; width], shift: vec![0.0; width] };
            for (row, (x, output)) in
                x.chunks_exact(width).zip(output.chunks_exact_mut(width)).enumerate()
            {
                line.show(row * rows / height, [scale, shift], columns);
                modulate(level, x, output, affine, [&line.scale, &line.shift], norm.silu);
            }
        }
    });
    finished(tensor(output, shape))
}

/// A row of the scale and the shift, as wide as the picture.
struct Line {
    at: Option<usize>,
    scale: Vec<f32>,
    shift: Vec<f32>,
}

impl Line {
    fn show(&mut self, row: usize, [scale, shift]: [&[f32]; 2], columns: usize) {
        if self.at.replace(row) == Some(row) {
            return;
        }
        for (wide, narrow) in [(&mut self.scale, scale), (&mut self.shift, shift)] {
            let (narrow, width) = (&narrow[row * columns..][..columns], wide.len());
            for (at, value) in wide.iter_mut().enumerate() {
                *value = narrow[at * columns / width];
            }
        }
    }
}

vector_fn! {
    /// Mean, and `1 / sqrt(variance + eps)`.
    fn statistics<S>(s, x: &[f32], eps: f32) -> [f32; 2] {
        let count = x.len() as f32;
        let mut sum = s.splat(0.0);
        for x in x.chunks(S::LANES) {
            sum = s.add(sum, load_some(s, x, 0.0));
        }
        let mean = s.sum(sum) / count;
        let mut squares = s.splat(0.0);
        for x in x.chunks(S::LANES) {
            let x = s.sub(load_some(s, x, mean), s.splat(mean));
            squares = s.fma(x, x, squares);
        }
        [mean, 1.0 / (s.sum(squares) / count + eps).sqrt()]
    }
}

vector_fn! {
    /// `(x − mean) · gain + bias`, then `silu` if asked for.
    fn apply<S>(s, x: &[f32], output: &mut [f32], affine: [f32; 3], silu: bool) {
        let [mean, gain, bias] = affine.map(|value| s.splat(value));
        for (x, output) in x.chunks(S::LANES).zip(output.chunks_mut(S::LANES)) {
            let y = s.fma(s.sub(load_some(s, x, 0.0), mean), gain, bias);
            store_some(s, output, if silu { s.mul(y, sigmoid(s, y)) } else { y });
        }
    }
}

vector_fn! {
    /// [`apply`], scaled and shifted place by place before the `silu`.
    fn modulate<S>(s, x: &[f32], output: &mut [f32], affine: [f32; 3], spatial: [&[f32]; 2], silu: bool) {
        let [mean, gain, bias] = affine.map(|value| s.splat(value));
        let spatial = spatial[0].chunks(S::LANES).zip(spatial[1].chunks(S::LANES));
        let rows = x.chunks(S::LANES).zip(output.chunks_mut(S::LANES)).zip(spatial);
        for ((x, output), (scale, shift)) in rows {
            let y = s.fma(s.sub(load_some(s, x, 0.0), mean), gain, bias);
            let y = s.fma(y, load_some(s, scale, 0.0), load_some(s, shift, 0.0));
            store_some(s, output, if silu { s.mul(y, sigmoid(s, y)) } else { y });
        }
    }
}
