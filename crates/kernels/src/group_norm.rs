//! Group normalisation of pictures, with what follows it in a convolutional tokenizer.
//!
//! Sources: Wu and He, arXiv 1803.08494; spatial normalisation: Zheng et al., arXiv 2209.09002.
//! Forward only on flex, as [`crate::conv2d`]. Start at [`group_norm`].

use burn::Tensor;

/// What a normalisation does besides normalising.
#[derive(Clone, Copy, Debug)]
pub struct GroupNorm {
    /// Neighbouring maps that share mean and variance lie in one of these; they divide the maps.
    pub groups: usize,
    /// Added to the variance.
    pub eps: f64,
    /// Whether `x · sigmoid(x)` follows.
    pub silu: bool,
}

/// `(x − mean) / sqrt(variance + eps) · gain + bias` by groups of maps; with `spatial`, a scale and a
/// shift for every place, resized by [`crate::nearest`]; then `silu` if `norm` says so.
///
/// # Shapes
/// - `x`: `[batch, maps, height, width]`
/// - `gain`, `bias`: `[maps]`
/// - `spatial`: scale and shift, `[batch, maps, rows, columns]`
/// - returns: `[batch, maps, height, width]`
///
/// # Panics
/// If sizes disagree or the groups do not divide the maps.
#[must_use]
pub fn group_norm(
    x: Tensor<4>,
    gain: Tensor<1>,
    bias: Tensor<1>,
    spatial: Option<[Tensor<4>; 2]>,
    norm: GroupNorm,
) -> Tensor<4> {
    let [batch, maps, ..] = x.dims();
    assert!(maps.is_multiple_of(norm.groups), "group_norm: {maps} maps, {} groups", norm.groups);
    assert_eq!([gain.dims(), bias.dims()], [[maps]; 2], "group_norm: gains and biases");
    for part in spatial.iter().flatten() {
        assert_eq!(part.dims()[..2], [batch, maps], "group_norm: maps of scale and shift");
    }
    #[cfg(feature = "flex-forward")]
    if crate::fused::infers_on(&x.device()) {
        return crate::fused::group_norm::group_norm(x, gain, bias, spatial, norm);
    }
    elsewhere!(plain(x, gain, bias, spatial, norm))
}

/// The specification, and what backends other than flex run.
#[cfg(feature = "plain")]
pub(crate) fn plain(
    x: Tensor<4>,
    gain: Tensor<1>,
    bias: Tensor<1>,
    spatial: Option<[Tensor<4>; 2]>,
    norm: GroupNorm,
) -> Tensor<4> {
    let [batch, maps, height, width] = x.dims();
    let x = x.reshape([batch, norm.groups, maps / norm.groups * height * width]);
    let x = x.clone() - x.mean_dim(2);
    let variance = x.clone().square().mean_dim(2); // [batch, groups, 1]
    let x = x / variance.add_scalar(norm.eps).sqrt();
    let each = |values: Tensor<1>| values.reshape([1, maps, 1, 1]);
    let mut x = x.reshape([batch, maps, height, width]) * each(gain) + each(bias);
    if let Some(spatial) = spatial {
        let [scale, shift] = spatial.map(|part| crate::nearest(part, height, width));
        x = x * scale + shift;
    }
    if norm.silu { burn::tensor::activation::silu(x) } else { x }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::{GroupNorm, group_norm, plain};
    use crate::testing::{assert_close, noise, values};
    use burn::Tensor;
    use burn::tensor::Device;

    fn picture(shape: [usize; 4], seed: u64) -> Tensor<4> {
        let noise = noise(shape.iter().product(), seed);
        Tensor::<1>::from_floats(noise.as_slice(), &Device::flex()).reshape(shape)
    }

    fn each(maps: usize, seed: u64) -> Tensor<1> {
        Tensor::from_floats(noise(maps, seed).as_slice(), &Device::flex())
    }

    #[test]
    fn worked_by_hand() {
        // Mean 2, variance 1; then scaled by 3 at both places of the second column.
        let x = Tensor::<1>::from_floats([1.0, 3.0, 1.0, 3.0], &Device::flex());
        let spatial = [[1.0, 3.0], [0.0, 0.5]]
            .map(|row| Tensor::<1>::from_floats(row, &Device::flex()).reshape([1, 1, 1, 2]));
        let norm = GroupNorm { groups: 1, eps: 0.0, silu: false };
        let [gain, bias] = [2.0, 1.0].map(|value| Tensor::from_floats([value], &Device::flex()));
        let got = group_norm(x.reshape([1, 1, 2, 2]), gain, bias, Some(spatial), norm);
        assert_close(&values(got), &[-1.0, 9.5, -1.0, 9.5], 1e-6);
    }

    /// Batch, maps, height, width, groups, rows and columns of the scale.
    #[test]
    fn agrees_with_plain_at_odd_sizes() {
        for [batch, maps, height, width, groups, rows, columns] in [
            [1, 1, 1, 1, 1, 1, 1],
            [2, 6, 7, 9, 3, 7, 9],
            [1, 64, 16, 16, 32, 4, 4],
            [3, 4, 5, 40, 2, 3, 7],
        ] {
            let x = picture([batch, maps, height, width], 1).add_scalar(3.0);
            let part = |seed| picture([batch, maps, rows, columns], seed);
            for (spatial, silu) in [(None, true), (Some([part(4), part(5)]), false)] {
                let norm = GroupNorm { groups, eps: 1e-6, silu };
                let run = |of: fn(_, _, _, _, _) -> _| -> Vec<f32> {
                    values(of(x.clone(), each(maps, 2), each(maps, 3), spatial.clone(), norm))
                };
                assert_close(&run(group_norm), &run(plain), 1e-5);
            }
        }
    }

    #[test]
    fn one_thread_or_many() {
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("pool");
            let norm = GroupNorm { groups: 4, eps: 1e-6, silu: true };
            let x = picture([2, 8, 30, 20], 1);
            pool.install(|| values(group_norm(x, each(8, 2), each(8, 3), None, norm)))
        };
        assert_eq!(run(1), run(5));
    }
}
