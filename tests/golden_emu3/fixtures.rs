//! The fixture folder: its manifest, its files, and the models it names.

use earl_model::emu3::{Emu3Config, Emu3Ids, Shards};
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// Names the folder.
const VARIABLE: &str = "EARL_FIXTURES";

/// One folder.
pub(crate) struct Fixtures {
    folder: PathBuf,
    manifest: Value,
}

/// One of its models: recorded inputs and outputs, and the layouts its weights are there in.
pub(crate) struct Model {
    /// Its name.
    pub(crate) name: String,
    /// The manifest's `meta`.
    pub(crate) meta: Value,
    /// Inputs and outputs.
    pub(crate) io: Recorded,
    /// Layout, configuration as published in it, weights.
    pub(crate) sources: Vec<(&'static str, Emu3Config, Shards)>,
}

impl Fixtures {
    pub(crate) fn open() -> Self {
        let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/emu3");
        let folder = std::env::var_os(VARIABLE).map_or(committed, PathBuf::from);
        // `cargo test` starts in the package's folder; a relative path is meant from the project's.
        let from_root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(&folder);
        let folder = if folder.exists() { folder } else { from_root };
        let text =
            std::fs::read_to_string(folder.join("manifest.json")).unwrap_or_else(|problem| {
                panic!("no manifest in `{}` ({problem}); set {VARIABLE}", folder.display())
            });
        Self { folder, manifest: serde_json::from_str(&text).unwrap() }
    }

    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.folder.join(name)).unwrap_or_else(|problem| panic!("{name}: {problem}"))
    }

    pub(crate) fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&self.bytes(name)).unwrap()
    }

    pub(crate) fn sha256(&self, name: &str) -> String {
        hex(&self.bytes(name))
    }

    /// Every file with the hash the manifest has for it.
    pub(crate) fn hashes(&self) -> Vec<(String, String)> {
        let files = self.manifest["files"].as_object().unwrap();
        files.iter().map(|(name, file)| (name.clone(), string(&file["sha256"]))).collect()
    }

    /// The models whose names start so, with every layout of their weights.
    pub(crate) fn models(&self, prefix: &str) -> Vec<Model> {
        let files = self.manifest["files"].as_object().unwrap();
        let named = |(file, entry): (&String, &Value)| {
            let name = file.strip_suffix(".io.safetensors")?;
            name.starts_with(prefix).then(|| self.model(name, &entry["meta"]))
        };
        files.iter().filter_map(named).collect()
    }

    /// Files that hold both models, each with the names of the two.
    pub(crate) fn pairs(&self) -> Vec<(String, Vec<String>)> {
        let both = |(file, _): (String, String)| {
            let stem = file.strip_suffix(".hf.safetensors")?;
            let names = stem.split('+').map(str::to_owned).collect();
            Some((file.clone(), names))
        };
        self.hashes().into_iter().filter_map(both).collect()
    }

    fn model(&self, name: &str, meta: &Value) -> Model {
        let mut sources = Vec::new();
        for (file, _) in self.hashes() {
            let stem = file.split('.').next().unwrap_or_default();
            let layout = match file.strip_prefix(stem) {
                Some(".baai.safetensors") if stem == name => "BAAI",
                Some(".hf.safetensors") if stem.split('+').any(|part| part == name) => {
                    "transformers"
                }
                _ => continue,
            };
            let shards = Shards::single(&file, self.bytes(&file)).unwrap();
            sources.push((layout, config(layout, meta), shards));
        }
        assert!(!sources.is_empty(), "{name} has no weights");
        let io = Recorded::read(&self.bytes(&format!("{name}.io.safetensors")));
        Model { name: name.into(), meta: meta.clone(), io, sources }
    }
}

fn config(layout: &str, meta: &Value) -> Emu3Config {
    Emu3Config::parse(published(layout, meta).to_string().as_bytes()).unwrap()
}

/// The configuration as a published file of that layout has it.
pub(crate) fn published(layout: &str, meta: &Value) -> Value {
    let short = &meta["config"];
    if short.get("ch").is_none() {
        let mut lm = short.clone();
        lm["vocab_size"] = ids(meta).vocab_size().into();
        if layout == "BAAI" {
            return lm;
        }
        lm["rope_parameters"] = json!({"rope_theta": short["rope_theta"], "rope_type": "default"});
        lm.as_object_mut().unwrap().remove("rope_theta");
        return json!({"model_type": "emu3", "text_config": lm});
    }
    if layout == "BAAI" {
        let mut vq = short.clone();
        for (key, value) in [("embed_dim", 4), ("z_channels", 4), ("temporal_downsample_factor", 4)]
        {
            vq[key] = value.into();
        }
        return vq;
    }
    json!({"vq_config": {
        "base_channels": short["ch"],
        "channel_multiplier": short["ch_mult"],
        "num_res_blocks": short["num_res_blocks"],
        "attn_resolutions": short["attn_resolutions"],
        "codebook_size": short["codebook_size"],
        "embed_dim": 4,
        "latent_channels": 4,
        "double_latent": false,
    }})
}

/// The control ids of a language model's `meta`.
pub(crate) fn ids(meta: &Value) -> Emu3Ids {
    let id = |key: &str| u32::try_from(meta["ids"][key].as_u64().unwrap()).unwrap();
    Emu3Ids {
        pad: id("pad"),
        eol: id("eol"),
        eof: id("eof"),
        bos: id("bos"),
        eos: id("eos"),
        img: id("img"),
        boi: id("boi"),
        eoi: id("eoi"),
        vis_start: id("vis_start"),
        codebook_size: id("codebook_size"),
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

pub(crate) fn string(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

pub(crate) fn numbers(value: &Value) -> Vec<u64> {
    value.as_array().unwrap().iter().map(|item| item.as_u64().unwrap()).collect()
}

/// Named tensors of inputs and outputs.
pub(crate) struct Recorded(Vec<u8>);

impl Recorded {
    pub(crate) fn read(bytes: &[u8]) -> Self {
        SafeTensors::deserialize(bytes).unwrap();
        Self(bytes.to_vec())
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        SafeTensors::deserialize(&self.0).unwrap().tensor(name).is_ok()
    }

    pub(crate) fn shape(&self, name: &str) -> Vec<usize> {
        self.with(name, |_, shape, _| shape.to_vec())
    }

    pub(crate) fn floats(&self, name: &str) -> Vec<f32> {
        self.with(name, |dtype, _, data| {
            assert_eq!(dtype, Dtype::F32, "{name}");
            data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
        })
    }

    pub(crate) fn integers(&self, name: &str) -> Vec<i32> {
        self.with(name, |dtype, _, data| {
            assert_eq!(dtype, Dtype::I32, "{name}");
            data.chunks_exact(4).map(|b| i32::from_le_bytes(b.try_into().unwrap())).collect()
        })
    }

    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        self.with(name, |dtype, _, data| {
            assert_eq!(dtype, Dtype::U8, "{name}");
            data.to_vec()
        })
    }

    /// Rows of a two-dimensional integer tensor.
    pub(crate) fn rows(&self, name: &str) -> Vec<Vec<i32>> {
        let width = self.shape(name)[1];
        self.integers(name).chunks_exact(width).map(<[i32]>::to_vec).collect()
    }

    fn with<T>(&self, name: &str, read: impl Fn(Dtype, &[usize], &[u8]) -> T) -> T {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        let view = file.tensor(name).unwrap_or_else(|problem| panic!("`{name}`: {problem}"));
        read(view.dtype(), view.shape(), view.data())
    }
}
