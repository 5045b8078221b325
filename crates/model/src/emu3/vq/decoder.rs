//! Codebook rows in, pixels out: time folded away, the middle, then levels that double the picture.

use super::super::config::Emu3VqConfig;
use super::super::load::Loader;
use super::Watch;
use super::blocks::{Conv, Level, Middle, Norm, TimeRes};
use crate::error::ModelError;
use burn::tensor::Tensor;
use burn::tensor::activation::silu;

/// The decoding half.
#[derive(Debug)]
pub(super) struct Decoder {
    post_quant: Conv,
    time_res: TimeRes,
    time: [Conv; 2],
    conv_in: Conv,
    middle: Middle,
    /// By level; run from the last to the first.
    levels: Vec<(Level, Option<Conv>)>,
    norm_out: Norm,
    conv_out: Conv,
}

impl Decoder {
    pub(super) fn load(loader: &Loader, config: &Emu3VqConfig) -> Result<Self, ModelError> {
        let count = config.ch_mult.len();
        let load_level = |level: usize| {
            let name = format!("decoder.up.{level}");
            let from = config.width((level + 1).min(count - 1));
            let double = (level > 0)
                .then(|| Conv::load(loader, &format!("{name}.upsample.conv")))
                .transpose()?;
            Ok((Level::load(loader, config, &name, level, from, true)?, double))
        };
        let time = |at: usize| {
            Conv::folded(loader, &format!("decoder.time_conv.{at}.conv.conv"), &[2], true)
        };
        Ok(Self {
            post_quant: Conv::folded(loader, "post_quant_conv.conv", &[2], true)?,
            time_res: TimeRes::load(loader, "decoder", config.num_res_blocks)?,
            time: [time(0)?, time(1)?],
            conv_in: Conv::load(loader, "decoder.conv_in")?,
            middle: Middle::load(loader, "decoder.mid", config.top_width(), true)?,
            levels: (0..count).map(load_level).collect::<Result<_, ModelError>>()?,
            norm_out: Norm::load(loader, "decoder.norm_out", true)?,
            conv_out: Conv::load(loader, "decoder.conv_out")?,
        })
    }

    /// `[batch, LATENT, rows, columns]` → `[batch, 3, rows · factor, columns · factor]`.
    pub(super) fn forward(&self, codes: Tensor<4>, watch: Watch<'_>) -> Tensor<4> {
        let batch = codes.dims()[0];
        let z = self.post_quant.forward(codes.clone());
        watch("dec.post_quant", &z);
        let both = self.time_res.forward(Tensor::cat(vec![z, codes], 0)); // [2 · batch, …]
        watch("dec.time_res", &both);
        let both = self.time.iter().fold(both, |both, conv| silu(conv.forward(both)));
        // The norms read the codes after the temporal blocks, not the codebook's rows.
        let latent = both.clone().narrow(0, batch, batch);
        let latent = Some(&latent);
        let h = self.middle.forward(self.conv_in.forward(both.narrow(0, 0, batch)), latent);
        watch("dec.mid", &h);
        let mut h = h;
        for (at, (level, double)) in self.levels.iter().enumerate().rev() {
            h = level.forward(h, latent);
            if let Some(double) = double {
                h = double.doubling(h);
                watch(&format!("dec.up.{at}"), &h);
            }
        }
        self.conv_out.forward(self.norm_out.silu(h, latent))
    }
}
