//! The same weights as directories: sharded with an index, in float32 and float16, and broken ones.

use super::device::device;
use super::fixtures::{Fixtures, Model, published};
use super::lm::{load, tokens, values};
use super::report::Report;
use burn::tensor::FloatDType;
use earl_model::emu3::directory::Directory;
use earl_model::emu3::lm::left_padded;
use earl_model::emu3::{Emu3Lm, Shards};
use earl_model::{ModelError, TokenId};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

pub(crate) fn check(fixtures: &Fixtures, report: &mut Report) {
    for model in fixtures.models("lm") {
        for (layout, _, shards) in &model.sources {
            let folder = tempfile::tempdir().unwrap();
            write(folder.path(), &model, shards, *layout == "BAAI");
            same_logits(folder.path(), &model, report);
            broken(folder.path(), report);
        }
    }
}

fn bytes(shards: &Shards, name: &str, half: bool) -> Vec<u8> {
    let values = shards.read(name).unwrap().data;
    if half {
        values.iter().flat_map(|&value| half::f16::from_f32(value).to_le_bytes()).collect()
    } else {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }
}

/// Type, shape and bytes of a tensor.
type Raw = (Dtype, Vec<usize>, Vec<u8>);

/// Three shards: float16 where it holds every value of a tensor, else float32.
fn write(folder: &Path, model: &Model, shards: &Shards, flat: bool) {
    let prefix = if flat { "" } else { "text_model." };
    let mut parts: [BTreeMap<String, Raw>; 3] = Default::default();
    let mut map = BTreeMap::new();
    for (at, (name, entry)) in shards.entries().iter().enumerate() {
        if !name.starts_with(prefix) {
            continue;
        }
        let values = shards.read(name).unwrap().data;
        let half = values
            .iter()
            .all(|&value| half::f16::from_f32(value).to_f32().to_bits() == value.to_bits());
        let dtype = if half { Dtype::F16 } else { Dtype::F32 };
        parts[at % 3].insert(name.clone(), (dtype, entry.shape.clone(), bytes(shards, name, half)));
        map.insert(name.clone(), file(at % 3));
    }
    for (at, part) in parts.iter().enumerate() {
        let views = part.iter().map(|(name, (dtype, shape, bytes))| {
            (name.clone(), TensorView::new(*dtype, shape.clone(), bytes).unwrap())
        });
        let views: Vec<(String, TensorView<'_>)> = views.collect();
        std::fs::write(folder.join(file(at)), safetensors::serialize(views, None).unwrap())
            .unwrap();
    }
    let index = json!({"metadata": {}, "weight_map": map});
    std::fs::write(folder.join(INDEX), index.to_string()).unwrap();
    let config = published(if flat { "BAAI" } else { "transformers" }, &model.meta);
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
}

const INDEX: &str = "model.safetensors.index.json";

fn file(at: usize) -> String {
    format!("model-{:05}-of-00003.safetensors", at + 1)
}

fn open(folder: &Path) -> Result<Emu3Lm, ModelError> {
    let directory = Directory::open(folder)?;
    let config = directory.config.lm.as_ref().unwrap();
    Emu3Lm::load(config, &directory.shards, FloatDType::F32, &device())
}

fn same_logits(folder: &Path, model: &Model, report: &mut Report) {
    let chunk = left_padded(&[tokens(&model.io.rows("single.input_ids")[0])], TokenId(0));
    let logits = |lm: &Emu3Lm| values(lm.logits(lm.forward(&chunk, &mut lm.cache())));
    let lm = open(folder).unwrap();
    report.close("logits", &logits(&lm), &model.io.floats("single.logits"));
    let whole = load(model, 0, &device());
    report.equal("bits of the logits, against one file", logits(&lm), logits(&whole));
}

/// Damages one thing after another; each must be said plainly, and the rest put back.
fn broken(folder: &Path, report: &mut Report) {
    let mut refused = |file: &str, bytes: Option<Vec<u8>>, says: &str| {
        let path = folder.join(file);
        let good = std::fs::read(&path).unwrap();
        match bytes {
            Some(bytes) => std::fs::write(&path, bytes).unwrap(),
            None => std::fs::remove_file(&path).unwrap(),
        }
        let message = open(folder).err().map_or(String::new(), |error| error.to_string());
        report.equal(&format!("refused: {says}"), message.contains(says), true);
        std::fs::write(&path, good).unwrap();
    };
    let first = std::fs::read(folder.join(file(0))).unwrap();
    refused(&file(0), Some(first[..first.len() - 1].to_vec()), "is cut off");
    refused(&file(0), Some(first[..20].to_vec()), "announces a header");
    refused(&file(1), None, "is not there");
    refused(INDEX, Some(b"{\"weight_map\": {\"x\": \"../y\"}}".to_vec()), "not the name of a file");
    refused(INDEX, Some(b"[]".to_vec()), INDEX);
    refused("config.json", None, "config.json");
    let mut nan = first.clone();
    let length = nan.len();
    nan[length - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    let half = [&first[..first.len() - 2], &half::f16::NAN.to_le_bytes()[..]].concat();
    // The last values of the shard are float32 or float16.
    let message_of = |bytes: &[u8]| {
        std::fs::write(folder.join(file(0)), bytes).unwrap();
        let message = open(folder).err().map_or(String::new(), |error| error.to_string());
        std::fs::write(folder.join(file(0)), &first).unwrap();
        message
    };
    let nans = [message_of(&nan), message_of(&half)];
    report.equal("refused: NaN", nans.iter().any(|message| message.contains("holds NaN")), true);
    let text = std::fs::read_to_string(folder.join("config.json")).unwrap();
    let config: Value = serde_json::from_str(&text).unwrap();
    let other = |change: &dyn Fn(&mut Value)| {
        let mut config = config.clone();
        let nested = config.get("text_config").is_some();
        change(if nested { &mut config["text_config"] } else { &mut config });
        std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
        let error = open(folder).err();
        std::fs::write(folder.join("config.json"), &text).unwrap();
        error.map_or((String::new(), String::new()), |error| (error.to_string(), error.hint()))
    };
    let (_, hint) = other(&|lm| lm["vocab_size"] = (lm["vocab_size"].as_u64().unwrap() + 1).into());
    report.equal("hint: vocab_size", hint.contains("vocab_size"), true);
    let layers = config.get("text_config").unwrap_or(&config)["num_hidden_layers"].as_u64();
    let (problems, _) = other(&|lm| lm["num_hidden_layers"] = (layers.unwrap() + 1).into());
    report.equal("all missing are listed", problems.matches("is missing").count(), 9);
    let (problems, _) = other(&|lm| lm["intermediate_size"] = 7.into());
    let misshapen = problems.matches("the config asks for").count() as u64;
    report.equal("all misshapen are listed", misshapen, 3 * layers.unwrap());
}
