//! What a checkpoint directory holds, and what it would take to run it: numbers for people.
//!
//! Nothing is loaded; headers say it all. Start at [`Summary::of`].

use super::config::{Emu3Config, Emu3LmConfig, Layout};
use super::names::{Part, match_names};
use super::shards::{Shards, float_bytes};
use super::wanted::{Wanted, lm_tensors, vq_tensors};
use crate::checkpoint::quantize::BLOCK;
use crate::error::ModelError;
use serde::Serialize;
use std::collections::BTreeMap;

/// The facts of one directory.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// `baai` or `transformers`.
    pub layout: &'static str,
    /// The language model, if its config is there.
    pub language_model: Option<LmSummary>,
    /// The image tokenizer, if its config is there.
    pub image_tokenizer: Option<VqSummary>,
    /// Bytes of tensors by type, as stored.
    pub stored_bytes: BTreeMap<String, u64>,
    /// Files with tensors.
    pub shards: usize,
}

/// The language model's sizes and needs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LmSummary {
    /// Parameters in all.
    pub parameters: u64,
    /// Blocks.
    pub num_hidden_layers: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key and value heads.
    pub num_key_value_heads: usize,
    /// Ids.
    pub vocab_size: usize,
    /// Bytes of its weights by precision.
    pub weights_bytes: Weights,
    /// Bytes of keys and values that each token adds, in float32.
    pub kv_bytes_per_token_f32: u64,
}

/// Bytes of weights by precision.
///
/// `q8` and `q4` keep a float16 scale for each 32 weights of a row; vectors stay float32. `mixed`
/// is `q4` with the embedding and the head in `q8`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Weights {
    /// What this crate computes with.
    pub f32: u64,
    /// As published.
    pub bf16: u64,
    /// Eight bits a weight.
    pub q8: u64,
    /// Four bits a weight.
    pub q4: u64,
    /// Four bits, tables eight.
    pub mixed: u64,
}

/// The image tokenizer's sizes and needs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VqSummary {
    /// Values in all, running statistics included.
    pub parameters: u64,
    /// Pixels of a code's side.
    pub factor: usize,
    /// Codes.
    pub codebook_size: usize,
    /// Bytes of its weights once loaded: float32, convolutions over time folded.
    pub weights_bytes_f32: u64,
}

/// Bytes of a scale.
const SCALE: u64 = 2;

impl Summary {
    /// Describes a directory whose names, shapes and types fit its config.
    ///
    /// # Errors
    /// [`ModelError::Checkpoint`] with every tensor that does not fit.
    pub fn of(config: &Emu3Config, shards: &Shards) -> Result<Self, ModelError> {
        let mut stored_bytes = BTreeMap::new();
        for entry in shards.entries().values() {
            let width = float_bytes(entry.dtype).unwrap_or(entry.dtype.bitsize() / 8);
            *stored_bytes.entry(entry.dtype.to_string()).or_default() +=
                (entry.len() * width) as u64;
        }
        let language_model = config.lm.as_ref().map(|lm| {
            let wanted = lm_tensors(lm);
            match_names(shards, Part::Lm, &wanted).map(|_| LmSummary::of(lm, &wanted))
        });
        let image_tokenizer = config.vq.as_ref().map(|vq| {
            let wanted = vq_tensors(vq);
            match_names(shards, Part::Vq, &wanted)?;
            Ok(VqSummary {
                parameters: count(&wanted),
                factor: vq.factor(),
                codebook_size: vq.codebook_size,
                weights_bytes_f32: wanted.iter().map(folded_bytes).sum(),
            })
        });
        Ok(Self {
            layout: match config.layout {
                Layout::Baai => "baai",
                Layout::Transformers => "transformers",
            },
            language_model: language_model.transpose()?,
            image_tokenizer: image_tokenizer.transpose()?,
            stored_bytes,
            shards: shards.files().count(),
        })
    }
}

/// Bytes of both models' weights where nothing is packed, with `matrix_bytes` a value of the language
/// model's tables and linear maps and four of all others.
#[must_use]
pub fn unpacked_bytes(config: &Emu3Config, matrix_bytes: u64) -> u64 {
    let of_lm =
        |tensor: &Wanted| values(tensor) * if tensor.shape.len() < 2 { 4 } else { matrix_bytes };
    let lm = config.lm.as_ref().map(|lm| lm_tensors(lm).iter().map(of_lm).sum::<u64>());
    let vq = config.vq.as_ref().map(|vq| vq_tensors(vq).iter().map(folded_bytes).sum::<u64>());
    lm.unwrap_or(0) + vq.unwrap_or(0)
}

impl LmSummary {
    fn of(config: &Emu3LmConfig, wanted: &[Wanted]) -> Self {
        let blocks = &config.blocks;
        let kv_width = blocks.num_key_value_heads * blocks.head_dim;
        Self {
            parameters: count(wanted),
            num_hidden_layers: blocks.num_hidden_layers,
            hidden_size: blocks.hidden_size,
            num_attention_heads: blocks.num_attention_heads,
            num_key_value_heads: blocks.num_key_value_heads,
            vocab_size: config.vocab_size,
            weights_bytes: Weights::of(wanted),
            kv_bytes_per_token_f32: (2 * blocks.num_hidden_layers * kv_width * 4) as u64,
        }
    }
}

impl Weights {
    fn of(wanted: &[Wanted]) -> Self {
        let mut sum = Self::default();
        for tensor in wanted {
            let values = values(tensor);
            sum.f32 += values * 4;
            sum.bf16 += values * 2;
            if tensor.shape.len() < 2 {
                for bytes in [&mut sum.q8, &mut sum.q4, &mut sum.mixed] {
                    *bytes += values * 4;
                }
                continue;
            }
            let columns = tensor.shape.last().map_or(1, |&columns| columns.max(1));
            let rows = values / columns as u64;
            let scales = rows * columns.div_ceil(BLOCK) as u64 * SCALE;
            let (q8, q4) = (values + scales, values.div_ceil(2) + scales);
            let is_table = tensor.name.contains("embed_tokens") || tensor.name.contains("lm_head");
            sum.q8 += q8;
            sum.q4 += q4;
            sum.mixed += if is_table { q8 } else { q4 };
        }
        sum
    }
}

fn values(tensor: &Wanted) -> u64 {
    tensor.shape.iter().map(|&side| side as u64).product()
}

fn count(wanted: &[Wanted]) -> u64 {
    wanted.iter().map(values).sum()
}

/// Bytes of a tokenizer's tensor after loading. The encoder's two convolutions over four frames
/// become two kernels each, all others over time one; a batch norm's four vectors become two.
fn folded_bytes(tensor: &Wanted) -> u64 {
    let values = values(tensor);
    let kept = match tensor.shape[..] {
        [_, _, 4, _, _] => values / 2,
        [_, _, frames, _, _] => values / frames as u64,
        _ if tensor.name.contains(".running_") => 0,
        _ => values,
    };
    kept * 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_model_takes_what_is_published() {
        let config = Emu3Config::parse(br#"{"text_config": {}}"#).unwrap();
        let unpacked = [2, 4].map(|bytes| unpacked_bytes(&config, bytes));
        let config = config.lm.unwrap();
        let summary = LmSummary::of(&config, &lm_tensors(&config));
        assert_eq!(summary.parameters, 8_492_011_520);
        assert_eq!(summary.weights_bytes.bf16, 16_984_023_040);
        // 65,536 values a token.
        assert_eq!(summary.kv_bytes_per_token_f32, 4 * 65_536);
        // 65 norms of 4,096 stay float32; matrices take 18 bytes for 32 weights, or 34.
        let norms = 65 * 4_096;
        let matrices = 8_492_011_520 - norms;
        assert_eq!(unpacked, [2, 4].map(|bytes| matrices * bytes + norms * 4));
        assert_eq!(summary.weights_bytes.q4, matrices / 32 * 18 + norms * 4);
        assert_eq!(summary.weights_bytes.q8, matrices / 32 * 34 + norms * 4);
        let tables = 2 * 184_622 * 4_096;
        assert_eq!(summary.weights_bytes.mixed, summary.weights_bytes.q4 + tables / 32 * 16);
    }
}
