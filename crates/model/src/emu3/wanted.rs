//! Which tensors each model needs, in which shape, under BAAI's names.
//!
//! A function of the configuration alone. Source: the published checkpoints' tensor tables.
//! Start at [`lm_tensors`] and [`vq_tensors`].

use super::config::{Emu3LmConfig, Emu3VqConfig, LATENT};

/// A tensor a model needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// BAAI's name.
    pub name: String,
    /// Its shape in BAAI's file.
    pub shape: Vec<usize>,
}

/// The language model's tensors; `[out, in]` for linear maps, as `PyTorch` has them.
#[must_use]
pub fn lm_tensors(config: &Emu3LmConfig) -> Vec<Wanted> {
    let blocks = &config.blocks;
    let (width, inner) = (blocks.hidden_size, blocks.intermediate_size);
    let heads = blocks.num_attention_heads * blocks.head_dim;
    let kv = blocks.num_key_value_heads * blocks.head_dim;
    let mut list = vec![
        wanted("model.embed_tokens.weight", &[config.vocab_size, width]),
        wanted("lm_head.weight", &[config.vocab_size, width]),
        wanted("model.norm.weight", &[width]),
    ];
    for layer in 0..blocks.num_hidden_layers {
        for (name, shape) in [
            ("input_layernorm", &[width][..]),
            ("post_attention_layernorm", &[width]),
            ("self_attn.q_proj", &[heads, width]),
            ("self_attn.k_proj", &[kv, width]),
            ("self_attn.v_proj", &[kv, width]),
            ("self_attn.o_proj", &[width, heads]),
            ("mlp.gate_proj", &[inner, width]),
            ("mlp.up_proj", &[inner, width]),
            ("mlp.down_proj", &[width, inner]),
        ] {
            list.push(wanted(&format!("model.layers.{layer}.{name}.weight"), shape));
        }
    }
    list
}

pub(super) fn wanted(name: &str, shape: &[usize]) -> Wanted {
    Wanted { name: name.into(), shape: shape.to_vec() }
}

/// The image tokenizer's tensors.
#[must_use]
pub fn vq_tensors(config: &Emu3VqConfig) -> Vec<Wanted> {
    let mut list = VqList::default();
    let (levels, top) = (config.ch_mult.len(), config.top_width());
    list.conv("encoder.conv_in", &[config.ch, 3, 3, 3]);
    let mut width = config.ch;
    for level in 0..levels {
        let name = format!("encoder.down.{level}");
        width = list.level(config, &name, level, width, config.num_res_blocks, false);
        if level + 1 < levels {
            list.conv(&format!("{name}.downsample.conv"), &[width, width, 3, 3]);
        }
    }
    list.middle("encoder.mid", top, false);
    list.norm("encoder.norm_out", top, false);
    list.conv("encoder.conv_out", &[LATENT, top, 3, 3]);
    list.time("encoder", config.num_res_blocks, 4);
    list.conv("quant_conv.conv", &[LATENT, LATENT, 3, 1, 1]);
    list.conv("post_quant_conv.conv", &[LATENT, LATENT, 3, 1, 1]);
    list.0.push(wanted("quantize.embedding.weight", &[config.codebook_size, LATENT]));
    list.time("decoder", config.num_res_blocks, 3);
    list.conv("decoder.conv_in", &[top, LATENT, 3, 3]);
    list.middle("decoder.mid", top, true);
    let mut width = top;
    for level in (0..levels).rev() {
        let name = format!("decoder.up.{level}");
        width = list.level(config, &name, level, width, config.num_res_blocks + 1, true);
        if level > 0 {
            list.conv(&format!("{name}.upsample.conv"), &[width, width, 3, 3]);
        }
    }
    list.norm("decoder.norm_out", width, true);
    list.conv("decoder.conv_out", &[3, width, 3, 3]);
    list.0
}

#[derive(Default)]
struct VqList(Vec<Wanted>);

impl VqList {
    fn weight_and_bias(&mut self, name: &str, shape: &[usize]) {
        self.0.push(wanted(&format!("{name}.weight"), shape));
        self.0.push(wanted(&format!("{name}.bias"), &shape[..1]));
    }

    fn conv(&mut self, name: &str, shape: &[usize]) {
        self.weight_and_bias(name, shape);
    }

    fn norm(&mut self, name: &str, width: usize, spatial: bool) {
        if spatial {
            self.weight_and_bias(&format!("{name}.norm_layer"), &[width]);
            self.conv(&format!("{name}.conv_y"), &[width, LATENT, 1, 1]);
            self.conv(&format!("{name}.conv_b"), &[width, LATENT, 1, 1]);
        } else {
            self.weight_and_bias(name, &[width]);
        }
    }

    fn res(&mut self, name: &str, from: usize, to: usize, spatial: bool) {
        self.norm(&format!("{name}.norm1"), from, spatial);
        self.conv(&format!("{name}.conv1"), &[to, from, 3, 3]);
        self.norm(&format!("{name}.norm2"), to, spatial);
        self.conv(&format!("{name}.conv2"), &[to, to, 3, 3]);
        if from != to {
            self.conv(&format!("{name}.nin_shortcut"), &[to, from, 1, 1]);
        }
    }

    fn attention(&mut self, name: &str, width: usize, spatial: bool) {
        self.norm(&format!("{name}.norm"), width, spatial);
        for map in ["q", "k", "v", "proj_out"] {
            self.conv(&format!("{name}.{map}"), &[width, width, 1, 1]);
        }
    }

    fn middle(&mut self, name: &str, width: usize, spatial: bool) {
        self.res(&format!("{name}.block_1"), width, width, spatial);
        self.attention(&format!("{name}.attn_1"), width, spatial);
        self.res(&format!("{name}.block_2"), width, width, spatial);
    }

    /// Residual blocks of a level, attention after each where the level has it; its width.
    fn level(
        &mut self,
        config: &Emu3VqConfig,
        name: &str,
        level: usize,
        from: usize,
        blocks: usize,
        spatial: bool,
    ) -> usize {
        let to = config.width(level);
        for block in 0..blocks {
            let from = if block == 0 { from } else { to };
            self.res(&format!("{name}.block.{block}"), from, to, spatial);
            if config.attn_resolutions.contains(&level) {
                self.attention(&format!("{name}.attn.{block}"), to, spatial);
            }
        }
        to
    }

    /// The temporal residual blocks and the two temporal convolutions of one side.
    fn time(&mut self, side: &str, blocks: usize, frames: usize) {
        for block in 0..blocks {
            let name = format!("{side}.time_res_stack.{block}");
            for half in [1, 2] {
                let norm = format!("{name}.norm{half}");
                for of in ["weight", "bias", "running_mean", "running_var"] {
                    self.0.push(wanted(&format!("{norm}.{of}"), &[LATENT]));
                }
                self.conv(&format!("{name}.conv{half}.conv"), &[LATENT, LATENT, 3, 3, 3]);
            }
        }
        for at in 0..2 {
            let name = format!("{side}.time_conv.{at}.conv.conv");
            self.conv(&name, &[LATENT, LATENT, frames, 3, 3]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emu3::Emu3Config;

    #[test]
    fn the_published_models_have_as_many_parameters_as_published() {
        let config = Emu3Config::parse(br#"{"text_config": {}, "vq_config": {}}"#).unwrap();
        let count = |list: &[Wanted]| -> usize {
            list.iter().map(|tensor| tensor.shape.iter().product::<usize>()).sum()
        };
        assert_eq!(count(&lm_tensors(&config.lm.unwrap())), 8_492_011_520);
        let vq = vq_tensors(&config.vq.unwrap());
        let statistics: Vec<Wanted> =
            vq.iter().filter(|tensor| tensor.name.contains("running_")).cloned().collect();
        // Running statistics are buffers, not parameters.
        assert_eq!(count(&vq) - count(&statistics), 270_740_287);
    }
}
