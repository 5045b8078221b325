//! One description of a model, for every tier: canvas, picture tokenizer, words, decoder.
//!
//! Checked on load by [`ModelConfig::check`]; nothing later needs to doubt a size. Key names follow
//! Emu3's `config.json` where it has them. The tiny tier is what is implemented today: tokenizer
//! `layered_vq`, text `words`, positions in three sections. Start at [`ModelConfig`].

use crate::error::ModelError;
use serde::{Deserialize, Serialize};

/// A whole model: what its tensors mean and how a sequence is laid out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// Name shown to people.
    pub name: String,
    /// Picture tokenizer.
    pub vision: VqConfig,
    /// Words, and which of them name things, tints and backgrounds.
    pub text: WordsConfig,
    /// Decoder.
    pub lm: LmConfig,
}

/// The `layered_vq` picture tokenizer: one code per cell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VqConfig {
    /// Cells along one side of the (square) canvas.
    pub grid: usize,
    /// Pixels along one side of a cell.
    pub patch: usize,
    /// Codes in the codebook.
    pub codebook_size: usize,
}

/// The `words` text tokenizer and the words with a meaning in programs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WordsConfig {
    /// Every word the model understands, sorted.
    pub words: Vec<String>,
    /// Longest instruction, in words.
    pub max_words: usize,
    /// Words that name a thing, in class order.
    pub names: Vec<String>,
    /// For each name: may it carry a tint?
    pub tintable: Vec<bool>,
    /// Words that name a tint.
    pub tints: Vec<String>,
    /// Words that name a background.
    pub backgrounds: Vec<String>,
}

/// The decoder: grouped-query attention, `RMSNorm`, `SwiGLU`, rotary positions, tied table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LmConfig {
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the `SwiGLU`.
    pub intermediate_size: usize,
    /// Blocks.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key/value heads; divides `num_attention_heads`.
    pub num_key_value_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Added to the mean square in `RMSNorm`.
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Rotary pairs spent on time, row and column; they sum to `head_dim / 2`.
    /// `[head_dim / 2, 0, 0]` is the ordinary one-dimensional `rope_1d`.
    pub rope_sections: [usize; 3],
    /// The block after which source cells must name what they show (the seeing loss).
    pub see_layer: usize,
    /// Does the choice of a step after an ERASE see which source cells are still to be erased?
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub erase_map: bool,
}

/// Cells an object may be wide and high, smallest first; the sprite parts are numbered in this order.
pub const BOX_CELLS: [usize; 3] = [2, 3, 4];

impl VqConfig {
    /// Pixels along one side of the canvas.
    #[must_use]
    pub fn canvas(&self) -> usize {
        self.grid * self.patch
    }
}

impl ModelConfig {
    /// The committed tiny tier, for the given words.
    #[must_use]
    pub fn tiny(text: WordsConfig) -> Self {
        Self {
            name: "earl-tiny".into(),
            vision: VqConfig { grid: 8, patch: 8, codebook_size: 8_192 },
            text,
            lm: LmConfig {
                hidden_size: 192,
                intermediate_size: 512,
                num_hidden_layers: 6,
                num_attention_heads: 6,
                num_key_value_heads: 2,
                head_dim: 32,
                rms_norm_eps: 1e-5,
                rope_theta: 100.0,
                rope_sections: [4, 6, 6],
                see_layer: 2,
                erase_map: true,
            },
        }
    }

    /// The first broken rule, if any.
    ///
    /// # Errors
    /// [`ModelError::Config`] names the key and the value found.
    pub fn check(&self) -> Result<(), ModelError> {
        let rule = |holds: bool, key: &'static str, problem: String| {
            if holds { Ok(()) } else { Err(ModelError::Config { key, problem }) }
        };
        let (vision, text, lm) = (&self.vision, &self.text, &self.lm);
        let range = |key, value: usize, low: usize, high: usize| {
            rule((low..=high).contains(&value), key, format!("{value} is not in {low}..={high}"))
        };
        range("vision.grid", vision.grid, 4, 64)?;
        range("vision.patch", vision.patch, 2, 32)?;
        range("vision.codebook_size", vision.codebook_size, 2, 1 << 20)?;
        range("text.words", text.words.len(), 1, 1 << 20)?;
        range("text.max_words", text.max_words, 1, 1 << 12)?;
        range("text.names", text.names.len(), 1, text.words.len())?;
        rule(
            text.tintable.len() == text.names.len(),
            "text.tintable",
            format!("{} flags for {} names", text.tintable.len(), text.names.len()),
        )?;
        for (key, list) in [
            ("text.names", &text.names),
            ("text.tints", &text.tints),
            ("text.backgrounds", &text.backgrounds),
        ] {
            let unknown = list.iter().find(|word| text.words.binary_search(word).is_err());
            rule(
                unknown.is_none(),
                key,
                format!("{unknown:?} is not among `text.words`, or these are not sorted"),
            )?;
        }
        lm.check()?;
        range("lm.see_layer", lm.see_layer, 1, lm.num_hidden_layers)
    }
}

impl LmConfig {
    /// The first broken rule of the decoder's sizes, if any.
    ///
    /// # Errors
    /// [`ModelError::Config`] names the key and the value found.
    pub fn check(&self) -> Result<(), ModelError> {
        let rule = |holds: bool, key: &'static str, problem: String| {
            if holds { Ok(()) } else { Err(ModelError::Config { key, problem }) }
        };
        let range = |key, value: usize, low: usize, high: usize| {
            rule((low..=high).contains(&value), key, format!("{value} is not in {low}..={high}"))
        };
        let lm = self;
        range("lm.hidden_size", lm.hidden_size, 1, 1 << 15)?;
        range("lm.intermediate_size", lm.intermediate_size, 1, 1 << 17)?;
        range("lm.num_hidden_layers", lm.num_hidden_layers, 1, 256)?;
        range("lm.num_attention_heads", lm.num_attention_heads, 1, 256)?;
        range("lm.num_key_value_heads", lm.num_key_value_heads, 1, lm.num_attention_heads)?;
        rule(
            lm.num_attention_heads.is_multiple_of(lm.num_key_value_heads),
            "lm.num_key_value_heads",
            format!("{} does not divide {} heads", lm.num_key_value_heads, lm.num_attention_heads),
        )?;
        range("lm.head_dim", lm.head_dim, 2, 1 << 10)?;
        rule(
            lm.rope_sections.iter().sum::<usize>() * 2 == lm.head_dim,
            "lm.rope_sections",
            format!("{:?} do not sum to half of `head_dim` {}", lm.rope_sections, lm.head_dim),
        )?;
        rule(
            lm.rms_norm_eps > 0.0,
            "lm.rms_norm_eps",
            format!("{} is not above 0", lm.rms_norm_eps),
        )?;
        rule(lm.rope_theta > 1.0, "lm.rope_theta", format!("{} is not above 1", lm.rope_theta))
    }
}
