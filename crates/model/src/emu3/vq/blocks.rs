//! What both halves of the image tokenizer are made of: convolutions, norms, residual and attention blocks.
//!
//! Layout `[batch, channels, height, width]` throughout. A norm is a group norm in the encoder and
//! a spatial norm in the decoder: there the transformed codebook rows scale and shift it.

use super::super::config::{Emu3VqConfig, GROUPS, LATENT};
use super::super::load::Loader;
use crate::checkpoint::HostTensor;
use crate::error::ModelError;
use burn::tensor::Tensor;
use burn::tensor::activation::{silu, softmax};
use earl_kernels::{Convolution, GroupNorm, Walk, group_norm};

/// Added to the variance in every group norm.
const GROUP_NORM_EPS: f64 = 1e-6;
/// Added to the variance in every batch norm.
const BATCH_NORM_EPS: f32 = 1e-5;

/// A convolution that keeps the picture's size, halves or doubles it.
#[derive(Debug)]
pub(super) struct Conv(Convolution);

impl Conv {
    /// A published two-dimensional convolution.
    pub(super) fn load(loader: &Loader, name: &str) -> Result<Self, ModelError> {
        let weight = loader.tensor(&format!("{name}.weight"))?;
        let bias = loader.tensor(&format!("{name}.bias"))?;
        Ok(Self(Convolution::new(weight, Some(bias))))
    }

    /// A published convolution over time that sees the same picture at all of `taps`: their sum.
    pub(super) fn folded(
        loader: &Loader,
        name: &str,
        taps: &[usize],
        with_bias: bool,
    ) -> Result<Self, ModelError> {
        let weight = fold(&loader.host(&format!("{name}.weight"))?, taps)?;
        let bias = with_bias.then(|| loader.tensor(&format!("{name}.bias"))).transpose()?;
        Ok(Self(Convolution::new(loader.upload(weight)?, bias)))
    }

    /// `[batch, in, height, width]` → `[batch, out, height, width]`.
    pub(super) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.0.forward(x, None, self.0.same())
    }

    /// What [`Conv::forward`] gives, added to `shortcut`.
    pub(super) fn onto(&self, shortcut: Tensor<4>, x: Tensor<4>) -> Tensor<4> {
        self.0.forward(x, Some(shortcut), self.0.same())
    }

    /// Every second place, after a row and a column of zeros at the bottom and the right alone.
    pub(super) fn halving(&self, x: Tensor<4>) -> Tensor<4> {
        self.0.forward(x, None, Walk { repeat: 1, padding: [0, 1], stride: 2 })
    }

    /// Of the picture with every place repeated down and across.
    pub(super) fn doubling(&self, x: Tensor<4>) -> Tensor<4> {
        self.0.forward(x, None, Walk { repeat: 2, ..self.0.same() })
    }
}

/// `[out, in, time, kernel, kernel]` → the sum of some time slices, `[out, in, kernel, kernel]`.
fn fold(kernel: &HostTensor, taps: &[usize]) -> Result<HostTensor, ModelError> {
    let [out, inputs, time, height, width] = kernel.shape[..] else {
        return Err(ModelError::Tensors(format!("{:?} is no kernel over time", kernel.shape)));
    };
    let area = height * width;
    let data = kernel
        .data
        .chunks_exact(time * area)
        .flat_map(|slices| {
            (0..area).map(move |at| taps.iter().map(|tap| slices[tap * area + at]).sum())
        })
        .collect();
    Ok(HostTensor { shape: vec![out, inputs, height, width], data })
}

/// Normalises groups of channels; scaled and shifted by the latent where the decoder has it so.
#[derive(Debug)]
pub(super) struct Norm {
    gain: Tensor<1>,
    bias: Tensor<1>,
    spatial: Option<(Conv, Conv)>,
}

impl Norm {
    pub(super) fn load(loader: &Loader, name: &str, spatial: bool) -> Result<Self, ModelError> {
        let own = if spatial { format!("{name}.norm_layer") } else { name.to_owned() };
        let conv = |part: &str| Conv::load(loader, &format!("{name}.{part}"));
        Ok(Self {
            gain: loader.tensor(&format!("{own}.weight"))?,
            bias: loader.tensor(&format!("{own}.bias"))?,
            spatial: spatial.then(|| Ok((conv("conv_y")?, conv("conv_b")?))).transpose()?,
        })
    }

    /// `x` of any size; `latent`: `[batch, LATENT, rows, columns]`, read by spatial norms alone.
    pub(super) fn forward(&self, x: Tensor<4>, latent: Option<&Tensor<4>>) -> Tensor<4> {
        self.run(x, latent, false)
    }

    /// [`Norm::forward`], then `silu`.
    pub(super) fn silu(&self, x: Tensor<4>, latent: Option<&Tensor<4>>) -> Tensor<4> {
        self.run(x, latent, true)
    }

    fn run(&self, x: Tensor<4>, latent: Option<&Tensor<4>>, silu: bool) -> Tensor<4> {
        // 1×1 convolutions commute with repeating places: convolve small, then resize.
        let spatial = self.spatial.as_ref().zip(latent).map(|((scale, shift), latent)| {
            [scale, shift].map(|conv| conv.forward(latent.clone()))
        });
        let norm = GroupNorm { groups: GROUPS, eps: GROUP_NORM_EPS, silu };
        group_norm(x, self.gain.clone(), self.bias.clone(), spatial, norm)
    }
}

/// Two normalised convolutions beside a shortcut.
#[derive(Debug)]
pub(super) struct ResBlock {
    norm1: Norm,
    conv1: Conv,
    norm2: Norm,
    conv2: Conv,
    shortcut: Option<Conv>,
}

impl ResBlock {
    /// From `from` to `to` channels; the shortcut has a map only where they differ.
    pub(super) fn load(
        loader: &Loader,
        name: &str,
        [from, to]: [usize; 2],
        spatial: bool,
    ) -> Result<Self, ModelError> {
        let conv = |part: &str| Conv::load(loader, &format!("{name}.{part}"));
        let norm = |part: &str| Norm::load(loader, &format!("{name}.{part}"), spatial);
        Ok(Self {
            norm1: norm("norm1")?,
            conv1: conv("conv1")?,
            norm2: norm("norm2")?,
            conv2: conv("conv2")?,
            shortcut: (from != to).then(|| conv("nin_shortcut")).transpose()?,
        })
    }

    pub(super) fn forward(&self, x: Tensor<4>, latent: Option<&Tensor<4>>) -> Tensor<4> {
        let h = self.conv1.forward(self.norm1.silu(x.clone(), latent));
        let shortcut = match &self.shortcut {
            Some(shortcut) => shortcut.forward(x),
            None => x,
        };
        self.conv2.onto(shortcut, self.norm2.silu(h, latent))
    }
}

/// One attention head over all places.
#[derive(Debug)]
pub(super) struct AttentionBlock {
    norm: Norm,
    q: Conv,
    k: Conv,
    v: Conv,
    proj_out: Conv,
}

impl AttentionBlock {
    pub(super) fn load(loader: &Loader, name: &str, spatial: bool) -> Result<Self, ModelError> {
        let conv = |part: &str| Conv::load(loader, &format!("{name}.{part}"));
        Ok(Self {
            norm: Norm::load(loader, &format!("{name}.norm"), spatial)?,
            q: conv("q")?,
            k: conv("k")?,
            v: conv("v")?,
            proj_out: conv("proj_out")?,
        })
    }

    pub(super) fn forward(&self, x: Tensor<4>, latent: Option<&Tensor<4>>) -> Tensor<4> {
        let [batch, channels, height, width] = x.dims();
        let normed = self.norm.forward(x.clone(), latent);
        // [batch, channels, places]
        let [q, k, v] = [&self.q, &self.k, &self.v]
            .map(|map| map.forward(normed.clone()).reshape([batch, channels, height * width]));
        let scores = q.swap_dims(1, 2).matmul(k).div_scalar((channels as f64).sqrt());
        let mixed = v.matmul(softmax(scores, 2).swap_dims(1, 2));
        self.proj_out.onto(x, mixed.reshape([batch, channels, height, width]))
    }
}

/// Residual blocks of one level, with attention after each where the level has it.
#[derive(Debug)]
pub(super) struct Level(Vec<(ResBlock, Option<AttentionBlock>)>);

impl Level {
    /// `blocks` blocks named `NAME.block.J` and `NAME.attn.J`, the first from `from` channels.
    pub(super) fn load(
        loader: &Loader,
        config: &Emu3VqConfig,
        name: &str,
        level: usize,
        from: usize,
        spatial: bool,
    ) -> Result<Self, ModelError> {
        // The decoder has one block more than the encoder.
        let blocks = config.num_res_blocks + usize::from(spatial);
        let to = config.width(level);
        let load = |block: usize| {
            let sizes = [if block == 0 { from } else { to }, to];
            let res = ResBlock::load(loader, &format!("{name}.block.{block}"), sizes, spatial)?;
            let attention = config
                .attn_resolutions
                .contains(&level)
                .then(|| AttentionBlock::load(loader, &format!("{name}.attn.{block}"), spatial));
            Ok((res, attention.transpose()?))
        };
        Ok(Self((0..blocks).map(load).collect::<Result<_, ModelError>>()?))
    }

    pub(super) fn forward(&self, mut x: Tensor<4>, latent: Option<&Tensor<4>>) -> Tensor<4> {
        for (res, attention) in &self.0 {
            x = res.forward(x, latent);
            if let Some(attention) = attention {
                x = attention.forward(x, latent);
            }
        }
        x
    }
}

/// The three blocks between encoder and latent, and between latent and decoder.
#[derive(Debug)]
pub(super) struct Middle(ResBlock, AttentionBlock, ResBlock);

impl Middle {
    pub(super) fn load(
        loader: &Loader,
        name: &str,
        width: usize,
        spatial: bool,
    ) -> Result<Self, ModelError> {
        let res =
            |part: &str| ResBlock::load(loader, &format!("{name}.{part}"), [width, width], spatial);
        let attention = AttentionBlock::load(loader, &format!("{name}.attn_1"), spatial)?;
        Ok(Self(res("block_1")?, attention, res("block_2")?))
    }

    pub(super) fn forward(&self, x: Tensor<4>, latent: Option<&Tensor<4>>) -> Tensor<4> {
        let x = self.1.forward(self.0.forward(x, latent), latent);
        self.2.forward(x, latent)
    }
}

/// A batch norm with running statistics, as the scale and the shift it is.
#[derive(Debug)]
struct Affine {
    /// `[1, LATENT, 1, 1]`
    scale: Tensor<4>,
    shift: Tensor<4>,
}

impl Affine {
    fn load(loader: &Loader, name: &str) -> Result<Self, ModelError> {
        let [gain, bias, mean, variance] = ["weight", "bias", "running_mean", "running_var"]
            .map(|of| loader.host(&format!("{name}.{of}")));
        let (gain, bias, mean, variance) = (gain?.data, bias?.data, mean?.data, variance?.data);
        let scale: Vec<f32> = gain
            .iter()
            .zip(&variance)
            .map(|(gain, v)| gain / (v + BATCH_NORM_EPS).sqrt())
            .collect();
        let shift: Vec<f32> =
            bias.iter().zip(&mean).zip(&scale).map(|((bias, mean), s)| bias - mean * s).collect();
        let each = |data: Vec<f32>| match data.iter().find(|value| !value.is_finite()) {
            None => loader.upload(HostTensor { shape: vec![1, LATENT, 1, 1], data }),
            Some(value) => Err(ModelError::Tensors(format!(
                "`{name}` scales by {value}; its running variance must not be negative"
            ))),
        };
        Ok(Self { scale: each(scale)?, shift: each(shift)? })
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        x * self.scale.clone() + self.shift.clone()
    }
}

/// The temporal residual blocks of one side, at a single frame.
#[derive(Debug)]
pub(super) struct TimeRes(Vec<[(Affine, Conv); 2]>);

impl TimeRes {
    pub(super) fn load(loader: &Loader, side: &str, blocks: usize) -> Result<Self, ModelError> {
        let half = |block: usize, half: usize| {
            let name = format!("{side}.time_res_stack.{block}");
            let conv = Conv::folded(loader, &format!("{name}.conv{half}.conv"), &[2], true)?;
            Ok((Affine::load(loader, &format!("{name}.norm{half}"))?, conv))
        };
        let load = |block: usize| Ok([half(block, 1)?, half(block, 2)?]);
        Ok(Self((0..blocks).map(load).collect::<Result<_, ModelError>>()?))
    }

    pub(super) fn forward(&self, mut x: Tensor<4>) -> Tensor<4> {
        for [(norm1, conv1), (norm2, conv2)] in &self.0 {
            let h = conv1.forward(silu(norm1.forward(x.clone())));
            x = conv2.onto(x, silu(norm2.forward(h)));
        }
        x
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_slices_are_summed() {
        // One map, three frames of a 1×2 kernel.
        let kernel = HostTensor {
            shape: vec![1, 1, 3, 1, 2],
            data: vec![1.0, 2.0, 10.0, 20.0, 100.0, 200.0],
        };
        assert_eq!(fold(&kernel, &[2]).unwrap().data, [100.0, 200.0]);
        let all = fold(&kernel, &[0, 1, 2]).unwrap();
        assert_eq!((all.shape, all.data), (vec![1, 1, 1, 2], vec![111.0, 222.0]));
        assert!(fold(&HostTensor { shape: vec![1], data: vec![0.0] }, &[0]).is_err());
    }
}
