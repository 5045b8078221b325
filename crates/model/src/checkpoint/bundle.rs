//! EARLW version 1: a manifest and content-addressed chunks that any static host can serve.
//!
//! ```text
//! manifest.json            format, version, model and its config, chunks, tensors
//! chunks/<sha256>.bin      one byte stream, cut into equal pieces
//! ```
//! [`super::writer`] writes, [`Bundle::open`] reads. Everything a manifest says is checked before a byte is
//! fetched or allocated, every chunk is hashed. Bytes only: where they come from is the caller's
//! business. The format is described in `docs/BUNDLE.md`.

use super::known::KnownAnswer;
use super::quantize::{BLOCK, Dtype, as_q4, dequantize};
use super::{HostTensor, TensorMap};
use crate::config::ModelConfig;
use crate::error::ModelError;
use earl_kernels::PackedMatrix;
use earl_kernels::quant_linear::{Bits, Segment, SharedBytes};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};

pub use super::writer::{Packed, pack};

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
    /// Whole files, such as a text tokenizer's ranks, after the tensors.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileEntry>,
    /// Edits whose outcome is known, for a self-test.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kat: Vec<KnownAnswer>,
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

/// A file in the stream, as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Name.
    pub name: String,
    /// First byte in the stream.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
}

/// A bundle whose chunks are at hand or can be asked for, checked.
pub struct Bundle {
    manifest: Manifest,
    hash: String,
    chunks: Chunks,
    /// By name, the shards of each tensor that is not another's scales, first rows first.
    tensors: BTreeMap<String, Vec<usize>>,
}

impl Bundle {
    /// Reads a manifest, then each of its chunks through `read`: bytes, or a mapped file.
    ///
    /// # Errors
    /// [`ModelError::Format`], [`ModelError::Version`] or [`ModelError::Hash`] for anything that is
    /// not a whole, undamaged bundle; whatever `read` returns for a chunk it can't read.
    pub fn open<B: AsRef<[u8]> + Send + Sync + 'static>(
        manifest: &[u8],
        mut read: impl FnMut(&ChunkEntry) -> Result<B, ModelError>,
    ) -> Result<Self, ModelError> {
        let checked = parse_manifest(manifest)?;
        let mut held = Vec::with_capacity(checked.chunks.len());
        for chunk in &checked.chunks {
            let bytes = read(chunk)?;
            check_chunk(chunk, bytes.as_ref())?;
            held.push(Arc::new(bytes) as SharedBytes);
        }
        Self::of(checked, manifest, Chunks::Held(held))
    }

    /// Reads a manifest. Chunks are read through `read`, by their number, when a tensor in them is asked
    /// for, and given up when nothing uses their bytes any more: a model that moves to a GPU tensor by tensor
    /// need not fit into the host's memory. Each chunk is checked whenever it is read.
    ///
    /// # Errors
    /// As [`Bundle::open`], for the manifest alone: what is wrong with a chunk is said by what needs it.
    pub fn open_on_demand(
        manifest: &[u8],
        read: impl Fn(usize) -> Result<Vec<u8>, ModelError> + 'static,
    ) -> Result<Self, ModelError> {
        let checked = parse_manifest(manifest)?;
        let held = RefCell::new(checked.chunks.iter().map(|_| Weak::new()).collect());
        let (read, newest) = (Box::new(read), RefCell::default());
        Self::of(checked, manifest, Chunks::OnDemand { read, held, newest })
    }

    fn of(checked: Manifest, bytes: &[u8], chunks: Chunks) -> Result<Self, ModelError> {
        let tensors = joined(&checked.tensors)?;
        Ok(Self { manifest: checked, hash: hex_sha256(bytes), chunks, tensors })
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
        self.tensors.keys().map(|name| Ok((name.clone(), self.tensor(name)?))).collect()
    }

    /// Shape of a tensor, its row shards taken together.
    #[must_use]
    pub fn shape(&self, name: &str) -> Option<Vec<usize>> {
        let mut shards = self.tensors.get(name)?.iter().map(|&at| &self.manifest.tensors[at].shape);
        let mut shape = shards.next()?.clone();
        for shard in shards {
            shape[0] += shard[0];
        }
        Some(shape)
    }

    /// One tensor, dequantized, its row shards joined.
    ///
    /// # Errors
    /// [`ModelError::Tensors`] if there is none; [`ModelError::Format`] if a value is not finite.
    pub fn tensor(&self, name: &str) -> Result<HostTensor, ModelError> {
        let missing = || ModelError::Tensors(format!("`{name}` is missing"));
        let (shape, mut data) = (self.shape(name).ok_or_else(missing)?, Vec::new());
        for entry in self.shards(name) {
            let width = entry.shape.last().copied().unwrap_or(1);
            let (codes, scales) = (self.bytes(entry.offset, entry.length)?, self.scales(entry)?);
            data.extend(dequantize(&codes, &scales, width, entry.dtype));
        }
        match data.iter().position(|value| !value.is_finite()) {
            Some(at) => Err(manifest_error(format!("`{name}` holds {} at index {at}", data[at]))),
            None => Ok(HostTensor { shape, data }),
        }
    }

    /// A quantized matrix as it lies in the chunks, for [`earl_kernels::quant_linear()`], ternary codes
    /// widened to 4 bits; `None` if it has not two axes or is of a float type.
    ///
    /// # Errors
    /// [`ModelError::Tensors`] if there is none of that name; [`ModelError::Format`] if a scale is
    /// not finite or shards are of different types.
    pub fn packed(&self, name: &str) -> Result<Option<PackedMatrix>, ModelError> {
        let shape =
            self.shape(name).ok_or_else(|| ModelError::Tensors(format!("`{name}` is missing")))?;
        let Some(first) = self.shards(name).next() else { return Ok(None) };
        let bits = match first.dtype {
            Dtype::Q8 => Bits::Eight,
            Dtype::Q4 | Dtype::T2 => Bits::Four,
            Dtype::F16 | Dtype::F32 => return Ok(None),
        };
        let [_, width] = shape[..] else { return Ok(None) };
        let (mut segments, mut scales) = (Vec::new(), Vec::new());
        for entry in self.shards(name) {
            if entry.dtype != first.dtype {
                return Err(manifest_error(format!("`{name}` has shards of different types")));
            }
            if entry.dtype == Dtype::T2 {
                let codes = as_q4(&self.bytes(entry.offset, entry.length)?);
                segments.push(Segment { range: 0..codes.len(), bytes: Arc::new(codes) });
            } else {
                segments.extend(self.segments(entry.offset, entry.length)?);
            }
            scales.extend(self.scales(entry)?);
        }
        let infinite = |scale: &[u8]| scale[1] & 0x7c == 0x7c;
        if let Some(at) = scales.chunks_exact(2).position(infinite) {
            return Err(manifest_error(format!("`{name}` has a scale at {at} that is no number")));
        }
        let packed = PackedMatrix::new(bits, width, &segments, scales);
        packed.map(Some).map_err(|problem| manifest_error(format!("`{name}`: {problem}")))
    }

    /// A file of the bundle; `None` if it has none of that name.
    ///
    /// # Errors
    /// What is wrong with a chunk that is read for it.
    pub fn file(&self, name: &str) -> Result<Option<Vec<u8>>, ModelError> {
        let entry = self.manifest.files.iter().find(|entry| entry.name == name);
        entry.map(|entry| self.bytes(entry.offset, entry.length)).transpose()
    }

    fn shards(&self, name: &str) -> impl Iterator<Item = &TensorEntry> {
        let shards = self.tensors.get(name).into_iter().flatten();
        shards.map(|&at| &self.manifest.tensors[at])
    }

    /// Bytes of a tensor's scales; none for float types.
    fn scales(&self, entry: &TensorEntry) -> Result<Vec<u8>, ModelError> {
        let name = entry.scales.as_ref();
        let scales = self.manifest.tensors.iter().find(|other| Some(&other.name) == name);
        scales.map_or(Ok(Vec::new()), |scales| self.bytes(scales.offset, scales.length))
    }

    fn bytes(&self, offset: u64, length: u64) -> Result<Vec<u8>, ModelError> {
        let mut bytes = Vec::with_capacity(length as usize);
        for Segment { bytes: chunk, range } in self.segments(offset, length)? {
            bytes.extend_from_slice(&(*chunk).as_ref()[range]);
        }
        Ok(bytes)
    }

    /// Where a part of the stream lies; the manifest's offsets are checked.
    fn segments(&self, offset: u64, length: u64) -> Result<Vec<Segment>, ModelError> {
        let (mut at, end, mut segments) = (offset, offset + length, Vec::new());
        let size = self.manifest.chunks.first().map_or(1, |chunk| chunk.length);
        while at < end {
            let chunk = (at / size) as usize;
            let stop = end.min((at / size + 1) * size);
            let range = (at % size) as usize..(stop - at / size * size) as usize;
            let bytes = self.chunks.get(chunk, &self.manifest.chunks[chunk])?;
            segments.push(Segment { bytes, range });
            at = stop;
        }
        Ok(segments)
    }
}

/// A bundle's chunks.
enum Chunks {
    Held(Vec<SharedBytes>),
    OnDemand {
        read: Box<dyn Fn(usize) -> Result<Vec<u8>, ModelError>>,
        /// Those that something uses.
        held: RefCell<Vec<Weak<Vec<u8>>>>,
        /// The one read last: small tensors lie many to a chunk.
        newest: RefCell<Option<Arc<Vec<u8>>>>,
    },
}

impl Chunks {
    fn get(&self, at: usize, entry: &ChunkEntry) -> Result<SharedBytes, ModelError> {
        match self {
            Self::Held(chunks) => Ok(chunks[at].clone()),
            Self::OnDemand { read, held, newest } => {
                if let Some(bytes) = held.borrow()[at].upgrade() {
                    return Ok(bytes);
                }
                let bytes = Arc::new(read(at)?);
                check_chunk(entry, &bytes)?;
                held.borrow_mut()[at] = Arc::downgrade(&bytes);
                *newest.borrow_mut() = Some(bytes.clone());
                Ok(bytes)
            }
        }
    }
}

/// Does a chunk's content have its length and hash?
///
/// # Errors
/// [`ModelError::Format`] or [`ModelError::Hash`].
pub fn check_chunk(chunk: &ChunkEntry, bytes: &[u8]) -> Result<(), ModelError> {
    if bytes.len() as u64 != chunk.length {
        let problem = format!("has {} bytes, the manifest says {}", bytes.len(), chunk.length);
        return Err(ModelError::Format { what: chunk.path(), problem });
    }
    let found = hex_sha256(bytes);
    if found == chunk.sha256 {
        return Ok(());
    }
    Err(ModelError::Hash { what: chunk.path(), expected: chunk.sha256.clone(), found })
}

/// Row shards `name#0`, `name#1`, … under their tensor's name; scales belong to what names them.
fn joined(entries: &[TensorEntry]) -> Result<BTreeMap<String, Vec<usize>>, ModelError> {
    let scales: BTreeSet<&String> = entries.iter().filter_map(|e| e.scales.as_ref()).collect();
    let mut tensors = BTreeMap::<String, Vec<usize>>::new();
    for (at, entry) in entries.iter().enumerate() {
        if scales.contains(&entry.name) {
            continue;
        }
        let broken = |problem: &str| manifest_error(format!("tensor `{}` {problem}", entry.name));
        let (name, number) = match entry.name.split_once('#') {
            None => (entry.name.as_str(), None),
            Some((name, number)) => (name, Some(number)),
        };
        let shards = tensors.entry(name.into()).or_default();
        if number.map_or(0, |number| number.parse().unwrap_or(usize::MAX)) != shards.len() {
            return Err(broken("is not the next shard of its tensor"));
        }
        if let Some(&first) = shards.first()
            && (entry.shape.len() < 2
                || entry.shape.get(1..) != entries[first].shape.get(1..)
                || number.is_none())
        {
            return Err(broken("does not fit its tensor's first shard"));
        }
        shards.push(at);
    }
    Ok(tensors)
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
    let end = check_tensors(&manifest)?;
    check_files(&manifest, end)?;
    Ok(manifest)
}

fn check_files(manifest: &Manifest, mut end: u64) -> Result<(), ModelError> {
    for file in &manifest.files {
        let stop = file.offset.checked_add(file.length).filter(|&stop| stop <= manifest.size);
        let Some(stop) = stop.filter(|_| file.offset >= end) else {
            let problem = format!("file `{}` overlaps or lies outside", file.name);
            return Err(manifest_error(problem));
        };
        end = stop;
    }
    Ok(())
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

/// Checks what is said of tensors; where the last one ends.
fn check_tensors(manifest: &Manifest) -> Result<u64, ModelError> {
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
    Ok(end)
}

/// Bytes a tensor of this shape takes; `None` on overflow or a missing axis.
pub(super) fn stored_bytes(shape: &[usize], dtype: Dtype) -> Option<u64> {
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

pub(super) fn manifest_error(problem: impl ToString) -> ModelError {
    ModelError::Format { what: "manifest.json".into(), problem: problem.to_string() }
}
