//! EARLW version 1: a manifest and content-addressed chunks that any static host can serve.
//!
//! ```text
//! manifest.json            format, version, model and its config, chunks, tensors
//! chunks/<sha256>.bin      one byte stream, cut into equal pieces
//! ```
//! [`pack`] writes, [`Bundle::open`] reads. Everything a manifest says is checked before a byte is
//! fetched or allocated, every chunk is hashed. Bytes only: where they come from is the caller's
//! business. The format is described in `docs/BUNDLE.md`.

use super::quantize::{BLOCK, Dtype, dequantize, quantize};
use super::{HostTensor, TensorMap};
use crate::config::ModelConfig;
use crate::error::ModelError;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Version this build writes and reads.
pub const VERSION: u64 = 1;
/// Bytes of a chunk; the last may be shorter.
pub const CHUNK_BYTES: u64 = 4 << 20;
/// Tensors start on multiples of this.
pub const ALIGN: u64 = 256;
/// Largest tensor: below the 128 MiB a WebGPU storage binding holds by default.
pub const MAX_TENSOR_BYTES: u64 = 120 << 20;
/// Largest stream accepted; far above any tier.
const MAX_BYTES: u64 = 1 << 36;
/// Largest manifest accepted.
const MAX_MANIFEST_BYTES: usize = 16 << 20;

/// What `manifest.json` holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// `EARLW`.
    pub format: String,
    /// [`VERSION`].
    pub version: u64,
    /// What the tensors are.
    pub model: ModelEntry,
    /// Bytes of the whole stream.
    pub size: u64,
    /// The stream's pieces, in order.
    pub chunks: Vec<ChunkEntry>,
    /// Where each tensor lies in the stream.
    pub tensors: Vec<TensorEntry>,
}

/// The model a bundle holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ModelEntry {
    /// Name shown to people.
    pub name: String,
    /// `tiny` or `full`.
    pub tier: String,
    /// Licence of the weights.
    pub licence: String,
    /// The model's configuration.
    pub config: serde_json::Value,
}

/// One piece of the stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkEntry {
    /// Lower-case hex; also the file's name.
    pub sha256: String,
    /// First byte in the stream.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
}

impl ChunkEntry {
    /// Path below the manifest's folder.
    #[must_use]
    pub fn path(&self) -> String {
        format!("chunks/{}.bin", self.sha256)
    }
}

/// One tensor in the stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorEntry {
    /// Name.
    pub name: String,
    /// Type.
    pub dtype: Dtype,
    /// Size of each axis; the last is a row.
    pub shape: Vec<usize>,
    /// First byte in the stream.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
    /// Name of the tensor of scales, for quantized types.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scales: Option<String>,
}

/// A bundle as files: `manifest.json` and its chunks.
pub struct Packed {
    /// Bytes of `manifest.json`.
    pub manifest: Vec<u8>,
    /// Path below the manifest's folder and bytes of each distinct chunk.
    pub chunks: Vec<(String, Vec<u8>)>,
}

/// Packs a model; `dtype_of` picks the type by name and shape.
///
/// # Errors
/// [`ModelError::Format`] if a tensor is larger than [`MAX_TENSOR_BYTES`].
pub fn pack(
    config: &ModelConfig,
    tier: &str,
    licence: &str,
    tensors: &TensorMap,
    dtype_of: impl Fn(&str, &[usize]) -> Dtype,
) -> Result<Packed, ModelError> {
    let (mut stream, mut entries) = (Vec::new(), Vec::new());
    for (name, tensor) in tensors {
        let dtype = dtype_of(name, &tensor.shape);
        let width = tensor.shape.last().copied().unwrap_or(1);
        let (codes, scales) = quantize(&tensor.data, width, dtype);
        if codes.len() as u64 > MAX_TENSOR_BYTES {
            let problem =
                format!("`{name}` takes {} bytes, more than {MAX_TENSOR_BYTES}", codes.len());
            return Err(ModelError::Format { what: "bundle".into(), problem });
        }
        let scales_name = dtype.is_quantized().then(|| format!("{name}.scales"));
        entries.push(append(&mut stream, name, dtype, &tensor.shape, &codes, scales_name.clone()));
        if let Some(scales_name) = scales_name {
            let mut shape = tensor.shape.clone();
            if let Some(last) = shape.last_mut() {
                *last = last.div_ceil(BLOCK);
            }
            entries.push(append(&mut stream, &scales_name, Dtype::F16, &shape, &scales, None));
        }
    }
    let mut chunks = Vec::new();
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    for (at, bytes) in stream.chunks(CHUNK_BYTES as usize).enumerate() {
        let chunk = ChunkEntry {
            sha256: hex_sha256(bytes),
            offset: at as u64 * CHUNK_BYTES,
            length: bytes.len() as u64,
        };
        if files.iter().all(|(path, _)| *path != chunk.path()) {
            files.push((chunk.path(), bytes.to_vec()));
        }
        chunks.push(chunk);
    }
    let config = serde_json::to_value(config).map_err(manifest_error)?;
    let model = ModelEntry {
        name: config["name"].as_str().unwrap_or_default().into(),
        tier: tier.into(),
        licence: licence.into(),
        config,
    };
    let manifest = Manifest {
        format: "EARLW".into(),
        version: VERSION,
        model,
        size: stream.len() as u64,
        chunks,
        tensors: entries,
    };
    let manifest = serde_json::to_vec(&manifest).map_err(manifest_error)?;
    Ok(Packed { manifest, chunks: files })
}

fn append(
    stream: &mut Vec<u8>,
    name: &str,
    dtype: Dtype,
    shape: &[usize],
    bytes: &[u8],
    scales: Option<String>,
) -> TensorEntry {
    stream.resize(stream.len().next_multiple_of(ALIGN as usize), 0);
    let offset = stream.len() as u64;
    stream.extend_from_slice(bytes);
    let length = bytes.len() as u64;
    TensorEntry { name: name.into(), dtype, shape: shape.to_vec(), offset, length, scales }
}

/// A bundle in memory, checked.
pub struct Bundle {
    manifest: Manifest,
    hash: String,
    stream: Vec<u8>,
}

impl Bundle {
    /// Reads a manifest, then each of its chunks through `read`.
    ///
    /// # Errors
    /// [`ModelError::Format`], [`ModelError::Version`] or [`ModelError::Hash`] for anything that is
    /// not a whole, undamaged bundle; whatever `read` returns for a chunk it can't read.
    pub fn open(
        manifest: &[u8],
        mut read: impl FnMut(&ChunkEntry) -> Result<Vec<u8>, ModelError>,
    ) -> Result<Self, ModelError> {
        let checked = parse_manifest(manifest)?;
        let mut stream = Vec::new();
        for chunk in &checked.chunks {
            let bytes = read(chunk)?;
            if bytes.len() as u64 != chunk.length {
                let problem =
                    format!("has {} bytes, the manifest says {}", bytes.len(), chunk.length);
                return Err(ModelError::Format { what: chunk.path(), problem });
            }
            let found = hex_sha256(&bytes);
            if found != chunk.sha256 {
                return Err(ModelError::Hash {
                    what: chunk.path(),
                    expected: chunk.sha256.clone(),
                    found,
                });
            }
            stream.extend_from_slice(&bytes);
        }
        Ok(Self { manifest: checked, hash: hex_sha256(manifest), stream })
    }

    /// The manifest.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// SHA-256 of the manifest's bytes, hex: the model's identity.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The model's configuration, checked.
    ///
    /// # Errors
    /// [`ModelError::Format`] or [`ModelError::Config`].
    pub fn config(&self) -> Result<ModelConfig, ModelError> {
        let config: ModelConfig =
            serde_json::from_value(self.manifest.model.config.clone()).map_err(manifest_error)?;
        config.check()?;
        Ok(config)
    }

    /// Every tensor, dequantized.
    ///
    /// # Errors
    /// [`ModelError::Format`] if a value is not finite.
    pub fn tensors(&self) -> Result<TensorMap, ModelError> {
        let entries = &self.manifest.tensors;
        let bytes = |entry: &TensorEntry| {
            &self.stream[entry.offset as usize..(entry.offset + entry.length) as usize]
        };
        let scale_names: Vec<&String> = entries.iter().filter_map(|e| e.scales.as_ref()).collect();
        let mut tensors = TensorMap::new();
        for entry in entries.iter().filter(|entry| !scale_names.contains(&&entry.name)) {
            let scales =
                entry.scales.as_ref().and_then(|name| entries.iter().find(|e| e.name == *name));
            let width = entry.shape.last().copied().unwrap_or(1);
            let data = dequantize(bytes(entry), scales.map_or(&[], bytes), width, entry.dtype);
            if let Some(at) = data.iter().position(|value| !value.is_finite()) {
                return Err(manifest_error(format!(
                    "`{}` holds {} at index {at}",
                    entry.name, data[at]
                )));
            }
            tensors.insert(entry.name.clone(), HostTensor { shape: entry.shape.clone(), data });
        }
        Ok(tensors)
    }
}

/// Reads and checks a manifest: afterwards no offset, length, name or shape can surprise.
///
/// # Errors
/// [`ModelError::Format`] or [`ModelError::Version`].
pub fn parse_manifest(bytes: &[u8]) -> Result<Manifest, ModelError> {
    #[derive(Deserialize)]
    struct Head {
        format: String,
        version: u64,
    }
    if bytes.len() > MAX_MANIFEST_BYTES {
        return Err(manifest_error(format!(
            "has {} bytes, more than {MAX_MANIFEST_BYTES}",
            bytes.len()
        )));
    }
    let head: Head = serde_json::from_slice(bytes).map_err(manifest_error)?;
    if head.format != "EARLW" {
        return Err(manifest_error(format!("format is `{}`, not `EARLW`", head.format)));
    }
    if head.version != VERSION {
        return Err(ModelError::Version {
            what: "manifest.json".into(),
            found: head.version,
            supported: VERSION,
        });
    }
    let manifest: Manifest = serde_json::from_slice(bytes).map_err(manifest_error)?;
    check_chunks(&manifest)?;
    check_tensors(&manifest)?;
    Ok(manifest)
}

fn check_chunks(manifest: &Manifest) -> Result<(), ModelError> {
    if manifest.size > MAX_BYTES {
        return Err(manifest_error(format!("size {} is more than {MAX_BYTES}", manifest.size)));
    }
    let mut end = 0;
    for (at, chunk) in manifest.chunks.iter().enumerate() {
        let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        if chunk.sha256.len() != 64 || !chunk.sha256.chars().all(hex) {
            return Err(manifest_error(format!("chunk {at}: `{}` is no SHA-256", chunk.sha256)));
        }
        let last = at + 1 == manifest.chunks.len();
        let length_fits =
            if last { chunk.length <= 16 << 20 } else { chunk.length == manifest.chunks[0].length };
        if chunk.offset != end || chunk.length == 0 || chunk.length > 16 << 20 || !length_fits {
            let place = format!("offset {}, length {}", chunk.offset, chunk.length);
            return Err(manifest_error(format!(
                "chunk {at}: {place} leaves a gap or overlap after {end}"
            )));
        }
        end += chunk.length;
    }
    if end != manifest.size {
        return Err(manifest_error(format!(
            "chunks hold {end} bytes, `size` says {}",
            manifest.size
        )));
    }
    Ok(())
}

fn check_tensors(manifest: &Manifest) -> Result<(), ModelError> {
    let mut end = 0;
    let mut names = std::collections::BTreeSet::new();
    for entry in &manifest.tensors {
        let broken =
            |problem: String| manifest_error(format!("tensor `{}`: {problem}", entry.name));
        if !names.insert(entry.name.as_str()) {
            return Err(broken("is there twice".into()));
        }
        let expected = stored_bytes(&entry.shape, entry.dtype);
        if expected != Some(entry.length) || entry.length > MAX_TENSOR_BYTES {
            return Err(broken(format!(
                "shape {:?} does not take {} bytes",
                entry.shape, entry.length
            )));
        }
        let stop = entry.offset.checked_add(entry.length).filter(|&stop| stop <= manifest.size);
        let Some(stop) = stop.filter(|_| entry.offset >= end && entry.offset % ALIGN == 0) else {
            return Err(broken(format!(
                "offset {} overlaps, is unaligned or lies outside",
                entry.offset
            )));
        };
        end = stop;
        if entry.dtype.is_quantized() {
            let mut shape = entry.shape.clone();
            if let Some(last) = shape.last_mut() {
                *last = last.div_ceil(BLOCK);
            }
            let scales = entry.scales.as_ref();
            let found = manifest.tensors.iter().find(|other| Some(&other.name) == scales);
            if found.is_none_or(|other| other.dtype != Dtype::F16 || other.shape != shape) {
                return Err(broken("has no fitting scales".into()));
            }
        }
    }
    Ok(())
}

/// Bytes a tensor of this shape takes; `None` on overflow or a missing axis.
fn stored_bytes(shape: &[usize], dtype: Dtype) -> Option<u64> {
    let (&width, rows) = shape.split_last()?;
    let padded = if dtype.is_quantized() { width.checked_next_multiple_of(BLOCK)? } else { width };
    let values = rows.iter().try_fold(padded, |values, &axis| values.checked_mul(axis))?;
    (values as u64).checked_mul(dtype.bits() as u64).map(|bits| bits / 8)
}

/// SHA-256 as lower-case hex.
#[must_use]
pub fn hex_sha256(bytes: &[u8]) -> String {
    let digits = |byte: &u8| {
        [byte >> 4, byte & 15].map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)]))
    };
    Sha256::digest(bytes).iter().flat_map(digits).collect()
}

fn manifest_error(problem: impl ToString) -> ModelError {
    ModelError::Format { what: "manifest.json".into(), problem: problem.to_string() }
}
