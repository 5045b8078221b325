//! Published `config.json` files in, checked sizes out, for both layouts.
//!
//! BAAI ships the language model and the image tokenizer as two directories, each with a flat
//! `config.json`; transformers ships one directory whose file has a `text_config` and a `vq_config`.
//! A key that is absent takes the published model's value, as transformers does; a key whose value
//! this crate does not compute is refused. Start at [`Emu3Config::parse`].

use super::ids::Emu3Ids;
use crate::config::LmConfig;
use crate::error::ModelError;
use serde_json::Value;

/// Who wrote the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `BAAI/Emu3-*` and EARL: one directory a model.
    Baai,
    /// `transformers`: one directory for both, names with a prefix.
    Transformers,
}

/// What one directory holds: at least one of the two models.
#[derive(Clone, Debug, PartialEq)]
pub struct Emu3Config {
    /// Who wrote it.
    pub layout: Layout,
    /// The language model, if it is there.
    pub lm: Option<Emu3LmConfig>,
    /// The image tokenizer, if it is there.
    pub vq: Option<Emu3VqConfig>,
}

/// The language model's sizes.
#[derive(Clone, Debug, PartialEq)]
pub struct Emu3LmConfig {
    /// Blocks, heads, norms and positions of the one forward pass.
    pub blocks: LmConfig,
    /// Rows of the embedding and of the head.
    pub vocab_size: usize,
}

/// The image tokenizer's sizes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emu3VqConfig {
    /// Channels of the widest picture.
    pub ch: usize,
    /// Channels of each level, as multiples of `ch`; each level after the first halves the picture.
    pub ch_mult: Vec<usize>,
    /// Residual blocks a level in the encoder; the decoder has one more.
    pub num_res_blocks: usize,
    /// Levels (indices, not sizes) with attention after each block.
    pub attn_resolutions: Vec<usize>,
    /// Codes in the codebook.
    pub codebook_size: usize,
}

/// Width of a codebook entry and of the latent; the published code has no other.
pub const LATENT: usize = 4;
/// Frames the encoder's temporal convolutions shrink to one.
const FRAMES: usize = 4;
/// Groups of every `GroupNorm`; all widths are multiples of it.
pub const GROUPS: usize = 32;

impl Emu3Config {
    /// Reads a published `config.json`.
    ///
    /// # Errors
    /// [`ModelError::Format`] if it is no JSON object or describes neither model;
    /// [`ModelError::Config`] for a value out of range or one this crate does not compute.
    pub fn parse(json: &[u8]) -> Result<Self, ModelError> {
        let value: Value =
            serde_json::from_slice(json).map_err(|problem| not_a_config(problem.to_string()))?;
        let Some(top) = value.as_object() else {
            return Err(not_a_config("is no JSON object".into()));
        };
        if top.contains_key("text_config") || top.contains_key("vq_config") {
            let part = |key: &str| top.get(key).filter(|part| part.is_object());
            let config = Self {
                layout: Layout::Transformers,
                lm: part("text_config").map(Emu3LmConfig::read).transpose()?,
                vq: part("vq_config").map(Emu3VqConfig::read_transformers).transpose()?,
            };
            return Ok(config);
        }
        let (lm, vq) = (top.contains_key("hidden_size"), top.contains_key("ch_mult"));
        if !lm && !vq {
            let problem = "has neither `hidden_size`, `ch_mult`, `text_config` nor `vq_config`";
            return Err(not_a_config(problem.into()));
        }
        Ok(Self {
            layout: Layout::Baai,
            lm: lm.then(|| Emu3LmConfig::read(&value)).transpose()?,
            vq: vq.then(|| Emu3VqConfig::read_baai(&value)).transpose()?,
        })
    }
}

impl Emu3Config {
    /// The keys [`Emu3Config::parse`] reads, in transformers' form whatever the layout was: what a
    /// bundle carries.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut json = serde_json::Map::new();
        if let Some(Emu3LmConfig { blocks, vocab_size }) = &self.lm {
            let text = serde_json::json!({
                "hidden_size": blocks.hidden_size, "intermediate_size": blocks.intermediate_size,
                "num_hidden_layers": blocks.num_hidden_layers,
                "num_attention_heads": blocks.num_attention_heads,
                "num_key_value_heads": blocks.num_key_value_heads, "head_dim": blocks.head_dim,
                "rms_norm_eps": blocks.rms_norm_eps, "rope_theta": blocks.rope_theta,
                "vocab_size": vocab_size,
            });
            json.insert("text_config".into(), text);
        }
        if let Some(vq) = &self.vq {
            let vision = serde_json::json!({
                "base_channels": vq.ch, "channel_multiplier": vq.ch_mult,
                "num_res_blocks": vq.num_res_blocks, "attn_resolutions": vq.attn_resolutions,
                "codebook_size": vq.codebook_size,
            });
            json.insert("vq_config".into(), vision);
        }
        Value::Object(json)
    }
}

fn not_a_config(problem: String) -> ModelError {
    ModelError::Format { what: "config.json".into(), problem }
}

impl Emu3LmConfig {
    /// Reads the language model's keys, which both layouts name alike.
    ///
    /// # Errors
    /// [`ModelError::Config`] names the key.
    pub fn read(config: &Value) -> Result<Self, ModelError> {
        let size = |key, published| size(config, key, published);
        let num_attention_heads = size("num_attention_heads", 32)?;
        let hidden_size = size("hidden_size", 4096)?;
        let head_dim = match config.get("head_dim").filter(|value| !value.is_null()) {
            Some(_) => size("head_dim", 128)?,
            None => hidden_size / num_attention_heads.max(1),
        };
        let rope = config.get("rope_parameters").filter(|value| value.is_object());
        let num_hidden_layers = size("num_hidden_layers", 32)?;
        let this = Self {
            blocks: LmConfig {
                hidden_size,
                intermediate_size: size("intermediate_size", 14_336)?,
                num_hidden_layers,
                num_attention_heads,
                num_key_value_heads: size("num_key_value_heads", 8)?,
                head_dim,
                rms_norm_eps: number(config, "rms_norm_eps", 1e-5)?,
                rope_theta: number(rope.unwrap_or(config), "rope_theta", 1e6)?,
                rope_sections: [head_dim / 2, 0, 0],
                see_layer: num_hidden_layers,
                erase_map: false,
            },
            vocab_size: size("vocab_size", Emu3Ids::PUBLISHED.vocab_size())?,
        };
        Self::refuse_variants(config)?;
        this.check()?;
        Ok(this)
    }

    /// Settings that would change the arithmetic.
    fn refuse_variants(config: &Value) -> Result<(), ModelError> {
        let set = |key: &str, plain: &Value| {
            config.get(key).is_some_and(|value| !value.is_null() && value != plain)
        };
        let refuse = |key: &'static str, problem: &str| {
            Err(ModelError::Config { key, problem: problem.into() })
        };
        if set("hidden_act", &"silu".into()) {
            return refuse("hidden_act", "only `silu` is computed");
        }
        if set("tie_word_embeddings", &false.into()) {
            return refuse("tie_word_embeddings", "Emu3's head is a tensor of its own");
        }
        for key in ["attention_bias", "mlp_bias"] {
            if set(key, &false.into()) {
                return refuse(key, "Emu3's projections have no bias");
            }
        }
        let scaled = |rope: &Value| {
            let kind = rope.get("rope_type").or_else(|| rope.get("type")).and_then(Value::as_str);
            kind.is_some_and(|kind| kind != "default")
        };
        if config.get("rope_scaling").is_some_and(scaled)
            || config.get("rope_parameters").is_some_and(scaled)
        {
            return refuse("rope_scaling", "Emu3's rotary positions are not scaled");
        }
        Ok(())
    }

    /// The first broken rule, if any.
    ///
    /// # Errors
    /// [`ModelError::Config`] names the key and the value found.
    pub fn check(&self) -> Result<(), ModelError> {
        self.blocks.check()?;
        let heads = self.blocks.num_attention_heads * self.blocks.head_dim;
        rule(heads == self.blocks.hidden_size, "num_attention_heads", || {
            let LmConfig { num_attention_heads, head_dim, hidden_size, .. } = self.blocks;
            format!("{num_attention_heads} heads of {head_dim} are not `hidden_size` {hidden_size}")
        })?;
        range("vocab_size", self.vocab_size, 2, 1 << 24)
    }
}

impl Emu3VqConfig {
    /// Reads BAAI's keys.
    ///
    /// # Errors
    /// [`ModelError::Config`] names the key.
    pub fn read_baai(config: &Value) -> Result<Self, ModelError> {
        let keys = ["ch", "ch_mult", "embed_dim", "z_channels", "double_z"];
        Self::read(config, keys)
    }

    /// Reads the keys of transformers' `vq_config`.
    ///
    /// # Errors
    /// [`ModelError::Config`] names the key.
    pub fn read_transformers(config: &Value) -> Result<Self, ModelError> {
        let keys = [
            "base_channels",
            "channel_multiplier",
            "embed_dim",
            "latent_channels",
            "double_latent",
        ];
        Self::read(config, keys)
    }

    fn read(
        config: &Value,
        [ch, ch_mult, embed, latent, double]: [&'static str; 5],
    ) -> Result<Self, ModelError> {
        for (key, only) in
            [(embed, LATENT), (latent, LATENT), ("temporal_downsample_factor", FRAMES)]
        {
            let found = size(config, key, only)?;
            rule(found == only, key, || format!("{found}; only {only} is computed"))?;
        }
        for key in ["in_channels", "out_channels"] {
            let found = size(config, key, 3)?;
            rule(found == 3, key, || format!("{found}; only 3 is computed"))?;
        }
        let doubled = config.get(double).and_then(Value::as_bool).unwrap_or(false);
        rule(!doubled, double, || "true; only false is computed".into())?;
        let this = Self {
            ch: size(config, ch, 256)?,
            ch_mult: sizes(config, ch_mult, &[1, 2, 2, 4])?,
            num_res_blocks: size(config, "num_res_blocks", 2)?,
            attn_resolutions: sizes(config, "attn_resolutions", &[3])?,
            codebook_size: size(config, "codebook_size", 32_768)?,
        };
        this.check()?;
        Ok(this)
    }

    /// The first broken rule, if any.
    ///
    /// # Errors
    /// [`ModelError::Config`] names the key and the value found.
    pub fn check(&self) -> Result<(), ModelError> {
        range("ch", self.ch, GROUPS, 1 << 12)?;
        rule(self.ch.is_multiple_of(GROUPS), "ch", || {
            format!("{} is no multiple of {GROUPS}, the groups of its norms", self.ch)
        })?;
        range("ch_mult", self.ch_mult.len(), 1, 8)?;
        self.ch_mult.iter().try_for_each(|&factor| range("ch_mult", factor, 1, 64))?;
        range("num_res_blocks", self.num_res_blocks, 1, 16)?;
        range("attn_resolutions", self.attn_resolutions.len(), 0, self.ch_mult.len())?;
        let last = self.ch_mult.len() - 1;
        self.attn_resolutions
            .iter()
            .try_for_each(|&level| range("attn_resolutions", level, 0, last))?;
        range("codebook_size", self.codebook_size, 1, 1 << 20)
    }

    /// Pixels of one code's side.
    #[must_use]
    pub fn factor(&self) -> usize {
        1 << (self.ch_mult.len() - 1)
    }

    /// Channels of a level.
    #[must_use]
    pub fn width(&self, level: usize) -> usize {
        self.ch * self.ch_mult.get(level).copied().unwrap_or(1)
    }

    /// Channels of the smallest picture.
    #[must_use]
    pub fn top_width(&self) -> usize {
        self.width(self.ch_mult.len() - 1)
    }
}

fn rule(holds: bool, key: &'static str, problem: impl Fn() -> String) -> Result<(), ModelError> {
    if holds { Ok(()) } else { Err(ModelError::Config { key, problem: problem() }) }
}

fn range(key: &'static str, value: usize, low: usize, high: usize) -> Result<(), ModelError> {
    rule((low..=high).contains(&value), key, || format!("{value} is not in {low}..={high}"))
}

fn size(config: &Value, key: &'static str, published: usize) -> Result<usize, ModelError> {
    let Some(value) = config.get(key).filter(|value| !value.is_null()) else {
        return Ok(published);
    };
    let size = value.as_u64().and_then(|value| usize::try_from(value).ok());
    size.ok_or_else(|| ModelError::Config { key, problem: format!("{value} is no size") })
}

fn number(config: &Value, key: &'static str, published: f64) -> Result<f64, ModelError> {
    match config.get(key).filter(|value| !value.is_null()) {
        None => Ok(published),
        Some(value) => value
            .as_f64()
            .ok_or_else(|| ModelError::Config { key, problem: format!("{value} is no number") }),
    }
}

fn sizes(config: &Value, key: &'static str, published: &[usize]) -> Result<Vec<usize>, ModelError> {
    let Some(value) = config.get(key).filter(|value| !value.is_null()) else {
        return Ok(published.to_vec());
    };
    let list = value.as_array().and_then(|list| {
        list.iter().map(|item| item.as_u64().and_then(|item| usize::try_from(item).ok())).collect()
    });
    list.ok_or_else(|| ModelError::Config { key, problem: format!("{value} is no list of sizes") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_empty_transformers_config_is_the_published_model() {
        let config = Emu3Config::parse(br#"{"text_config": {}, "vq_config": {}}"#).unwrap();
        let (lm, vq) = (config.lm.unwrap(), config.vq.unwrap());
        assert_eq!(lm.vocab_size, 184_622);
        assert_eq!((lm.blocks.head_dim, lm.blocks.rope_sections), (128, [64, 0, 0]));
        assert_eq!((vq.factor(), vq.top_width(), vq.width(1)), (8, 1024, 512));
    }

    #[test]
    fn what_a_bundle_carries_is_read_back() {
        let json = br#"{"text_config": {"hidden_size": 96, "num_attention_heads": 4, "num_key_value_heads": 2,
            "rms_norm_eps": 1e-6, "rope_theta": 12345.5}, "vq_config": {"base_channels": 32, "attn_resolutions": []}}"#;
        let config = Emu3Config::parse(json).unwrap();
        let again = Emu3Config::parse(config.to_json().to_string().as_bytes()).unwrap();
        assert_eq!(again, config);
    }

    #[test]
    fn values_that_would_change_the_arithmetic_are_refused() {
        let refused = |json: &str| Emu3Config::parse(json.as_bytes()).unwrap_err().to_string();
        for (json, key) in [
            (
                r#"{"hidden_size": 64, "num_attention_heads": 5, "num_key_value_heads": 1}"#,
                "num_attention_heads",
            ),
            (r#"{"hidden_size": 9223372036854775808}"#, "hidden_size"),
            (r#"{"hidden_size": -1}"#, "hidden_size"),
            (r#"{"hidden_size": 4096, "rope_scaling": {"type": "linear"}}"#, "rope_scaling"),
            (r#"{"hidden_size": 4096, "tie_word_embeddings": true}"#, "tie_word_embeddings"),
            (r#"{"hidden_size": 4096, "rms_norm_eps": 0}"#, "rms_norm_eps"),
            (r#"{"ch_mult": [1, 0]}"#, "ch_mult"),
            (r#"{"ch_mult": []}"#, "ch_mult"),
            (r#"{"ch_mult": [1], "ch": 48}"#, "ch"),
            (r#"{"ch_mult": [1], "attn_resolutions": [1]}"#, "attn_resolutions"),
            (r#"{"ch_mult": [1], "z_channels": 8}"#, "z_channels"),
            (r#"{"ch_mult": [1], "attn_resolutions": [], "double_z": true}"#, "double_z"),
        ] {
            let message = refused(json);
            assert!(message.contains(&format!("{key}`")), "{json}: {message}");
        }
        assert!(refused("[]").contains("config.json"));
        assert!(refused("{}").contains("hidden_size"));
    }
    /// A number of any size, or something else.
    fn any_value() -> impl Strategy<Value = Value> {
        prop_oneof![
            any::<u64>().prop_map(Value::from),
            (0u64..70).prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            prop::collection::vec(0u64..1 << 40, 0..4).prop_map(Value::from),
            Just(Value::Null),
            Just("default".into()),
            Just(serde_json::json!({"rope_theta": 1e4, "rope_type": "linear"})),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn any_numbers_give_an_error_or_sizes_that_are_checked(
            values in prop::collection::vec((0usize..20, any_value()), 0..5),
            nested in any::<bool>(),
        ) {
            const KEYS: [&str; 20] = [
                "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
                "num_key_value_heads", "head_dim", "rms_norm_eps", "rope_theta", "rope_parameters",
                "vocab_size", "ch", "ch_mult", "num_res_blocks", "attn_resolutions", "codebook_size",
                "embed_dim", "z_channels", "base_channels", "channel_multiplier", "hidden_act",
            ];
            let mut flat = serde_json::json!({"hidden_size": 4096, "ch_mult": [1, 2, 2, 4]});
            for (key, value) in values {
                flat[KEYS[key]] = value;
            }
            let text = if nested {
                serde_json::json!({"text_config": flat, "vq_config": flat}).to_string()
            } else {
                flat.to_string()
            };
            if let Ok(config) = Emu3Config::parse(text.as_bytes()) {
                let lm = config.lm.iter().flat_map(crate::emu3::wanted::lm_tensors);
                let vq = config.vq.iter().flat_map(crate::emu3::wanted::vq_tensors);
                for tensor in lm.chain(vq) {
                    let values = tensor.shape.iter().try_fold(1usize, |all, &side| all.checked_mul(side));
                    prop_assert!(values.is_some() && !tensor.shape.contains(&0), "{tensor:?}");
                }
            }
        }
    }
}
