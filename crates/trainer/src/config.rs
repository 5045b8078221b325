//! A run's configuration: `configs/*.toml`, unknown keys refused, every key with a default.

use crate::hint;
use crate::judge::config::JudgeConfig;
use crate::rl::config::RlConfig;
use crate::sft::config::SftConfig;
use crate::tok::TokConfig;
use crate::verifier::config::VerifierConfig;
use anyhow::{Context, Result};
use earl_model::ModelConfig;
use earl_model::config::WordsConfig;
use earl_scenes::{Background, MAX_WORDS, Tint, classes, words};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Everything a run depends on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RunConfig {
    /// Sizes of the model.
    pub model: Sizes,
    /// The picture tokenizer's training.
    pub tok: TokConfig,
    /// Supervised training of the decoder.
    pub sft: SftConfig,
    /// Training by rewards.
    pub rl: RlConfig,
    /// Training of the model's own verifier.
    pub verifier: VerifierConfig,
    /// The served model that judges edits.
    pub judge: JudgeConfig,
}

/// Sizes of the model that a run may set; the rest is `ModelConfig::tiny`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Sizes {
    /// Width of the residual stream; 32 for each query head.
    pub hidden_size: usize,
    /// Blocks.
    pub num_hidden_layers: usize,
    /// Width of the `SwiGLU`.
    pub intermediate_size: usize,
    /// Codes of the picture tokenizer.
    pub codebook_size: usize,
    /// Does the choice of a step after an ERASE see which source cells are still to be erased? A model without may learn it.
    pub erase_map: bool,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            hidden_size: 192,
            num_hidden_layers: 6,
            intermediate_size: 512,
            codebook_size: 8_192,
            erase_map: true,
        }
    }
}

impl RunConfig {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// Names the file, the line and the valid keys, or the broken rule.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("reading `{}`", path.display()))?;
        Self::parse(&text).with_context(|| format!("in `{}`", path.display()))
    }

    /// Parses and checks TOML.
    ///
    /// # Errors
    /// Names the line and the valid keys, or the broken rule.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let config: Self = toml::from_str(text)?;
        let check = || {
            config.tok.check()?;
            config.sft.check()?;
            config.rl.check()?;
            config.verifier.check()?;
            config.judge.check()?;
            config.model_config()
        };
        check().map_err(|problem| hint::error(format!("{problem:#}"), hint::KEYS))?;
        Ok(config)
    }

    /// The model this run trains, checked.
    ///
    /// # Errors
    /// Names the broken rule.
    pub(crate) fn model_config(&self) -> Result<ModelConfig> {
        let mut model = ModelConfig::tiny(scene_words());
        model.lm.hidden_size = self.model.hidden_size;
        model.lm.num_attention_heads = self.model.hidden_size / model.lm.head_dim;
        model.lm.num_hidden_layers = self.model.num_hidden_layers;
        model.lm.intermediate_size = self.model.intermediate_size;
        model.lm.see_layer = model.lm.see_layer.min(self.model.num_hidden_layers);
        model.vision.codebook_size = self.model.codebook_size;
        model.lm.erase_map = self.model.erase_map;
        model.check()?;
        Ok(model)
    }
}

/// The words of the scene world.
#[must_use]
pub(crate) fn scene_words() -> WordsConfig {
    WordsConfig {
        words: words(),
        max_words: MAX_WORDS,
        names: classes().iter().map(|class| class.name.clone()).collect(),
        tintable: classes().iter().map(|class| class.tintable).collect(),
        tints: Tint::ALL.iter().map(|tint| tint.name().to_owned()).collect(),
        backgrounds: Background::ALL.iter().map(|colour| colour.name().to_owned()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_and_broken_rules_are_named() {
        let error = RunConfig::parse("[sft]\nstepz = 3\n").unwrap_err();
        assert!(format!("{error:#}").contains("unknown field `stepz`"), "{error:#}");
        let error = RunConfig::parse("[sft]\nsteps = 0\n").unwrap_err();
        assert_eq!(format!("{error:#}"), "`sft.steps` is 0; it must be at least 1");
        let error = RunConfig::parse("[model]\nhidden_size = 32\n").unwrap_err();
        assert!(format!("{error:#}").contains("num_key_value_heads"), "{error:#}");
        assert_eq!(RunConfig::parse("").unwrap(), RunConfig::default());
    }
}
