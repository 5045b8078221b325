//! Pixels in, latent out: levels that halve the picture, the middle, then time folded away.

use super::super::config::Emu3VqConfig;
use super::super::load::Loader;
use super::Watch;
use super::blocks::{Conv, Level, Middle, Norm, TimeRes};
use crate::error::ModelError;
use burn::tensor::Tensor;
use burn::tensor::activation::silu;

/// The encoding half.
#[derive(Debug)]
pub(super) struct Encoder {
    conv_in: Conv,
    levels: Vec<(Level, Option<Conv>)>,
    middle: Middle,
    norm_out: Norm,
    conv_out: Conv,
    /// The first temporal convolution at its two outputs: after two zero frames, and in full.
    early: Conv,
    late: Conv,
    /// The second one, which sees two zero frames, then those two.
    from_early: Conv,
    from_late: Conv,
    time_res: TimeRes,
    quant: Conv,
}

impl Encoder {
    pub(super) fn load(loader: &Loader, config: &Emu3VqConfig) -> Result<Self, ModelError> {
        let count = config.ch_mult.len();
        let load_level = |level: usize| {
            let name = format!("encoder.down.{level}");
            let from = if level == 0 { config.ch } else { config.width(level - 1) };
            let halve = (level + 1 < count)
                .then(|| Conv::load(loader, &format!("{name}.downsample.conv")))
                .transpose()?;
            Ok((Level::load(loader, config, &name, level, from, false)?, halve))
        };
        let time = |at: usize, taps: &[usize], bias| {
            Conv::folded(loader, &format!("encoder.time_conv.{at}.conv.conv"), taps, bias)
        };
        Ok(Self {
            conv_in: Conv::load(loader, "encoder.conv_in")?,
            levels: (0..count).map(load_level).collect::<Result<_, ModelError>>()?,
            middle: Middle::load(loader, "encoder.mid", config.top_width(), false)?,
            norm_out: Norm::load(loader, "encoder.norm_out", false)?,
            conv_out: Conv::load(loader, "encoder.conv_out")?,
            early: time(0, &[2, 3], true)?,
            late: time(0, &[0, 1, 2, 3], true)?,
            from_early: time(1, &[2], false)?,
            from_late: time(1, &[3], true)?,
            time_res: TimeRes::load(loader, "encoder", config.num_res_blocks)?,
            quant: Conv::folded(loader, "quant_conv.conv", &[2], true)?,
        })
    }

    /// `[batch, 3, height, width]` → `[batch, LATENT, height / factor, width / factor]`.
    pub(super) fn forward(&self, pixels: Tensor<4>, watch: Watch<'_>) -> Tensor<4> {
        let mut h = self.conv_in.forward(pixels);
        for (at, (level, halve)) in self.levels.iter().enumerate() {
            h = level.forward(h, None);
            if let Some(halve) = halve {
                h = halve.halving(h);
                watch(&format!("enc.down.{at}"), &h);
            }
        }
        let h = self.middle.forward(h, None);
        watch("enc.mid", &h);
        let h = self.conv_out.forward(self.norm_out.silu(h, None));
        watch("enc.conv_out", &h);
        let early = silu(self.early.forward(h.clone()));
        let late = silu(self.late.forward(h));
        let h = self.from_early.forward(early) + self.from_late.forward(late);
        watch("enc.latent", &h);
        self.quant.forward(self.time_res.forward(silu(h)))
    }
}
