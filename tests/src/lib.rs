//! What the contract tests share: the shipped model, a very small one of the scene world's shape with given
//! weights, and a server that stands for a judge.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "test code: a panic is a failed test"
)]

pub mod judge;

use burn::tensor::Device;
use earl_model::Editor;
use earl_model::checkpoint::bundle::Bundle;
use earl_model::checkpoint::{TensorMap, apply, collect};
use earl_model::config::{LmConfig, ModelConfig, VqConfig, WordsConfig};
use earl_model::editor::LM_PREFIX;
use earl_model::lm::{LanguageModel, initial_tensors};
use earl_model::vision::{Layer, LayeredVq};
use std::path::Path;

/// The folder of the shipped model.
#[must_use]
pub fn shipped_folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tiny"))
}

/// The shipped model, read as the page reads it.
#[must_use]
pub fn shipped() -> Editor {
    let read = |name: &str| std::fs::read(shipped_folder().join(name)).unwrap();
    let bundle = Bundle::open(&read("manifest.json"), |chunk| Ok(read(&chunk.path())));
    Editor::load(&bundle.unwrap(), &Device::flex()).unwrap()
}

/// A model of two blocks that knows five words.
#[must_use]
pub fn small_config() -> ModelConfig {
    let words = |list: &[&str]| list.iter().map(|&word| word.to_owned()).collect();
    let config = ModelConfig {
        name: "earl-test".into(),
        vision: VqConfig { grid: 4, patch: 2, codebook_size: 8 },
        text: WordsConfig {
            words: words(&["blue", "cat", "dog", "red", "remove"]),
            max_words: 3,
            names: words(&["cat", "dog"]),
            tintable: vec![true, false],
            tints: words(&["red"]),
            backgrounds: words(&["blue"]),
        },
        lm: LmConfig {
            hidden_size: 16,
            intermediate_size: 24,
            num_hidden_layers: 2,
            num_attention_heads: 2,
            num_key_value_heads: 1,
            head_dim: 8,
            rms_norm_eps: 1e-5,
            rope_theta: 100.0,
            rope_sections: [2, 1, 1],
            see_layer: 1,
            erase_map: true,
        },
    };
    config.check().unwrap();
    config
}

/// The decoder's tensors with seeded initial weights.
#[must_use]
pub fn weights(config: &ModelConfig, seed: u64) -> TensorMap {
    let zeros = LanguageModel::zeros(config, &Device::flex());
    initial_tensors(&collect(&zeros, LM_PREFIX).unwrap(), config.lm.num_hidden_layers, seed)
}

/// A decoder of the given tensors.
#[must_use]
pub fn decoder(config: &ModelConfig, tensors: &TensorMap) -> LanguageModel {
    apply(LanguageModel::zeros(config, &Device::flex()), LM_PREFIX, tensors).unwrap()
}

/// A codebook of flat greys.
#[must_use]
pub fn greys(config: &ModelConfig) -> LayeredVq {
    let pixels = config.vision.patch * config.vision.patch;
    let count = config.vision.codebook_size;
    let grey = |at: usize| at as f32 / (count - 1) as f32;
    let layer = |at: usize| Layer { colour: vec![grey(at); pixels * 3], alpha: vec![1.0; pixels] };
    LayeredVq::new(&config.vision, (0..count).map(layer).collect()).unwrap()
}
