//! `trainer inspect`: what a model's file or folder holds.

use crate::full;
use crate::store::Stored;
use anyhow::Result;
use earl_model::checkpoint::bundle::{TensorEntry, parse_manifest};
use earl_model::editor::{LM_PREFIX, VISION_PREFIX};
use earl_model::emu3::{Summary, directory::Directory};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;

/// Flags of `inspect`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A bundle, a run, a safetensors file, or a published Emu3 or EARL directory.
    model: PathBuf,
    /// List every tensor.
    #[arg(long)]
    tensors: bool,
    /// Print one JSON object on stdout.
    #[arg(long)]
    json: bool,
}

/// Reads the whole model (every hash is checked) and describes it.
///
/// # Errors
/// If it can't be read or is damaged: says where.
pub(crate) fn run(args: &Args) -> Result<()> {
    if args.model.join("config.json").is_file() {
        return published(args);
    }
    if full::kind(&args.model) == Some(full::Kind::Bundle) {
        return exported(args);
    }
    let stored = Stored::read(&args.model)?;
    let count = |prefix: &str| -> usize {
        stored.part(prefix).values().map(|tensor| tensor.data.len()).sum()
    };
    let (lm, vision) = (count(LM_PREFIX), count(VISION_PREFIX));
    let mut facts = json!({
        "model_sha256": stored.sha256,
        "parameters": { "decoder": lm, "picture_tokenizer": vision },
        "memory_bytes": { "f32": 4 * (lm + vision) },
        "config": without_words(&serde_json::to_value(&stored.config)?),
    });
    let manifest = args.model.join("manifest.json");
    if let Ok(bytes) = fs::read(&manifest) {
        let manifest = parse_manifest(&bytes)?;
        let mut stored_as = std::collections::BTreeMap::<String, u64>::new();
        for tensor in &manifest.tensors {
            *stored_as.entry(format!("{:?}", tensor.dtype).to_lowercase()).or_default() +=
                tensor.length;
        }
        facts["bundle"] = json!({
            "version": manifest.version, "bytes": manifest.size, "chunks": manifest.chunks.len(),
            "bytes_by_dtype": stored_as, "licence": manifest.model.licence,
        });
    }
    if args.tensors {
        let shapes: Vec<Value> = stored
            .tensors
            .iter()
            .map(|(name, tensor)| json!({ "name": name, "shape": tensor.shape }))
            .collect();
        facts["tensors"] = json!(shapes);
    }
    if args.json {
        return super::print_json(&facts);
    }
    super::print_lines(&serde_json::to_string_pretty(&facts)?);
    Ok(())
}

/// Describes a published checkpoint by its headers; no weight is read.
fn published(args: &Args) -> Result<()> {
    let directory = Directory::open(&args.model)?;
    let mut facts = serde_json::to_value(Summary::of(&directory.config, &directory.shards)?)?;
    if args.tensors {
        let entries = directory.shards.entries().iter();
        let tensors = entries.map(|(name, entry)| {
            let (dtype, file) = (entry.dtype.to_string(), directory.shards.file_of(entry));
            json!({ "name": name, "shape": entry.shape, "dtype": dtype, "file": file })
        });
        facts["tensors"] = tensors.collect();
    }
    if args.json {
        return super::print_json(&facts);
    }
    super::print_lines(&serde_json::to_string_pretty(&facts)?);
    Ok(())
}

/// Describes the bundle of a published model, every hash checked.
fn exported(args: &Args) -> Result<()> {
    let bundle = full::open_bundle(&args.model)?;
    let manifest = bundle.manifest();
    let mut stored_as = std::collections::BTreeMap::<String, u64>::new();
    for tensor in &manifest.tensors {
        *stored_as.entry(format!("{:?}", tensor.dtype).to_lowercase()).or_default() +=
            tensor.length;
    }
    let files: Vec<&String> = manifest.files.iter().map(|file| &file.name).collect();
    let mut facts = json!({
        "model_sha256": bundle.hash(), "tier": manifest.model.tier, "name": manifest.model.name,
        "config": manifest.model.config, "files": files,
        "memory_bytes": { "weights": manifest.size },
        "bundle": {
            "version": manifest.version, "bytes": manifest.size, "chunks": manifest.chunks.len(),
            "bytes_by_dtype": stored_as, "licence": manifest.model.licence,
        },
    });
    if args.tensors {
        let entry = |tensor: &TensorEntry| json!({ "name": tensor.name, "shape": tensor.shape, "dtype": tensor.dtype });
        facts["tensors"] = manifest.tensors.iter().map(entry).collect();
    }
    if args.json {
        return super::print_json(&facts);
    }
    super::print_lines(&serde_json::to_string_pretty(&facts)?);
    Ok(())
}

/// The configuration with its word lists as counts: they are long and say little.
fn without_words(config: &Value) -> Value {
    match config {
        Value::Array(items) if items.len() > 20 => json!(format!("{} entries", items.len())),
        Value::Object(fields) => {
            fields.iter().map(|(key, value)| (key.clone(), without_words(value))).collect()
        }
        other => other.clone(),
    }
}
