//! Writing a bundle as its tensors come: memory for one chunk, whatever the model's size.
//!
//! What is appended runs into one stream, which is cut into chunks; each is handed on as soon as it
//! is full. A stream that was cut off can be gone on with: bytes before the last whole chunk are
//! dropped instead of written again. Bytes only: where chunks go is the caller's business.
//! Start at [`Writer`]; [`pack`] does a small model at once.

use super::TensorMap;
use super::bundle::{
    ALIGN, Bundle, CHUNK_BYTES, ChunkEntry, FileEntry, MAX_TENSOR_BYTES, Manifest, ModelEntry,
    TensorEntry, VERSION, hex_sha256, manifest_error, stored_bytes,
};
use super::known::KnownAnswer;
use super::quantize::{BLOCK, Dtype, quantize};
use crate::config::ModelConfig;
use crate::error::ModelError;

/// Takes a full chunk.
pub type Sink<'a> = &'a mut dyn FnMut(&ChunkEntry, &[u8]) -> Result<(), ModelError>;

/// A bundle that is being written.
pub struct Writer<'a> {
    sink: Sink<'a>,
    chunk_bytes: u64,
    /// What is not yet in a chunk.
    buffer: Vec<u8>,
    /// Bytes appended so far.
    offset: u64,
    /// Bytes that are in chunks.
    kept: u64,
    chunks: Vec<ChunkEntry>,
    tensors: Vec<TensorEntry>,
    files: Vec<FileEntry>,
}

impl<'a> Writer<'a> {
    /// Starts, or goes on after `chunks`: the caller appends everything again, or jumps over whole
    /// tensors with [`Writer::skip`].
    #[must_use]
    pub fn new(chunk_bytes: u64, chunks: Vec<ChunkEntry>, sink: Sink<'a>) -> Self {
        let kept = chunks.iter().map(|chunk| chunk.length).sum();
        let (tensors, files) = (Vec::new(), Vec::new());
        Self { sink, chunk_bytes, buffer: Vec::new(), offset: 0, kept, chunks, tensors, files }
    }

    /// Where the next tensor would start.
    #[must_use]
    pub fn next_start(&self) -> u64 {
        self.offset.next_multiple_of(ALIGN)
    }

    /// Bytes that chunks hold already.
    #[must_use]
    pub fn kept(&self) -> u64 {
        self.kept
    }

    /// Starts a tensor; its bytes follow through [`Writer::append`].
    ///
    /// # Errors
    /// [`ModelError::Format`] if it is larger than [`MAX_TENSOR_BYTES`]; whatever the sink returns.
    pub fn start(
        &mut self,
        name: &str,
        dtype: Dtype,
        shape: &[usize],
        scales: Option<String>,
    ) -> Result<(), ModelError> {
        let length = stored_bytes(shape, dtype).unwrap_or(u64::MAX);
        if length > MAX_TENSOR_BYTES {
            let problem = format!("`{name}` takes {length} bytes, more than {MAX_TENSOR_BYTES}");
            return Err(ModelError::Format { what: "bundle".into(), problem });
        }
        self.align()?;
        let (name, shape, offset) = (name.into(), shape.to_vec(), self.offset);
        self.tensors.push(TensorEntry { name, dtype, shape, offset, length, scales });
        Ok(())
    }

    /// Notes a tensor whose bytes are all in chunks, in place of [`Writer::start`] and its bytes.
    ///
    /// # Errors
    /// As [`Writer::start`].
    pub fn skip(
        &mut self,
        name: &str,
        dtype: Dtype,
        shape: &[usize],
        scales: Option<String>,
    ) -> Result<(), ModelError> {
        self.start(name, dtype, shape, scales)?;
        self.offset += self.tensors.last().map_or(0, |tensor| tensor.length);
        Ok(())
    }

    /// Appends bytes of the tensor that was started last.
    ///
    /// # Errors
    /// Whatever the sink returns.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), ModelError> {
        let start = self.offset;
        self.offset += bytes.len() as u64;
        let known = self.kept.saturating_sub(start).min(bytes.len() as u64);
        let mut rest = &bytes[known as usize..];
        while !rest.is_empty() {
            let room = self.chunk_bytes as usize - self.buffer.len();
            let (now, later) = rest.split_at(room.min(rest.len()));
            self.buffer.extend_from_slice(now);
            rest = later;
            if self.buffer.len() as u64 == self.chunk_bytes {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Appends a tensor and its scales at once.
    ///
    /// # Errors
    /// As [`Writer::start`].
    pub fn tensor(
        &mut self,
        name: &str,
        dtype: Dtype,
        shape: &[usize],
        codes: &[u8],
        scales: &[u8],
    ) -> Result<(), ModelError> {
        let scales_name = dtype.is_quantized().then(|| scales_name(name));
        self.start(name, dtype, shape, scales_name.clone())?;
        self.append(codes)?;
        let Some(scales_name) = scales_name else { return Ok(()) };
        self.start(&scales_name, Dtype::F16, &scales_shape(shape), None)?;
        self.append(scales)
    }

    /// Appends a file.
    ///
    /// # Errors
    /// Whatever the sink returns.
    pub fn file(&mut self, name: &str, bytes: &[u8]) -> Result<(), ModelError> {
        self.align()?;
        let (name, offset, length) = (name.into(), self.offset, bytes.len() as u64);
        self.files.push(FileEntry { name, offset, length });
        self.append(bytes)
    }

    /// Hands on the last chunk; the manifest's bytes.
    ///
    /// # Errors
    /// Whatever the sink returns.
    pub fn finish(mut self, model: ModelEntry) -> Result<Vec<u8>, ModelError> {
        if !self.buffer.is_empty() {
            self.flush()?;
        }
        let manifest = Manifest {
            format: "EARLW".into(),
            version: VERSION,
            model,
            size: self.kept,
            chunks: self.chunks,
            tensors: self.tensors,
            files: self.files,
            kat: Vec::new(),
        };
        serde_json::to_vec(&manifest).map_err(manifest_error)
    }

    fn align(&mut self) -> Result<(), ModelError> {
        let gap = self.next_start() - self.offset;
        self.append(&vec![0; gap as usize])
    }

    fn flush(&mut self) -> Result<(), ModelError> {
        let chunk = ChunkEntry {
            sha256: hex_sha256(&self.buffer),
            offset: self.kept,
            length: self.buffer.len() as u64,
        };
        (self.sink)(&chunk, &self.buffer)?;
        self.kept += chunk.length;
        self.chunks.push(chunk);
        self.buffer.clear();
        Ok(())
    }
}

/// Name of a quantized tensor's scales.
#[must_use]
pub fn scales_name(name: &str) -> String {
    format!("{name}.scales")
}

/// Shape of a quantized tensor's scales: one for each block of a row.
#[must_use]
pub fn scales_shape(shape: &[usize]) -> Vec<usize> {
    let mut shape = shape.to_vec();
    if let Some(last) = shape.last_mut() {
        *last = last.div_ceil(BLOCK);
    }
    shape
}

/// A bundle as files: `manifest.json` and its chunks.
pub struct Packed {
    /// Bytes of `manifest.json`.
    pub manifest: Vec<u8>,
    /// Path below the manifest's folder and bytes of each distinct chunk.
    pub chunks: Vec<(String, Vec<u8>)>,
}

impl Packed {
    /// The bundle, opened from memory.
    ///
    /// # Errors
    /// As [`Bundle::open`].
    pub fn open(&self) -> Result<Bundle, ModelError> {
        let held = |chunk: &ChunkEntry| {
            let path = chunk.path();
            let found = self.chunks.iter().find(|(held, _)| *held == path);
            let missing = || ModelError::Read { what: path.clone(), problem: "is missing".into() };
            found.map(|(_, bytes)| bytes.clone()).ok_or_else(missing)
        };
        Bundle::open(&self.manifest, held)
    }

    /// The same bundle, telling these answers.
    ///
    /// # Errors
    /// If the manifest can't be written.
    pub fn telling(self, kat: Vec<KnownAnswer>) -> Result<Self, ModelError> {
        let mut manifest: Manifest =
            serde_json::from_slice(&self.manifest).map_err(manifest_error)?;
        manifest.kat = kat;
        let manifest = serde_json::to_vec(&manifest).map_err(manifest_error)?;
        Ok(Self { manifest, ..self })
    }
}

/// Packs a small model; `dtype_of` picks the type by name and shape.
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
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    let mut keep = |chunk: &ChunkEntry, bytes: &[u8]| {
        if files.iter().all(|(path, _)| *path != chunk.path()) {
            files.push((chunk.path(), bytes.to_vec()));
        }
        Ok(())
    };
    let mut writer = Writer::new(CHUNK_BYTES, Vec::new(), &mut keep);
    for (name, tensor) in tensors {
        let dtype = dtype_of(name, &tensor.shape);
        let width = tensor.shape.last().copied().unwrap_or(1);
        let (codes, scales) = quantize(&tensor.data, width, dtype);
        writer.tensor(name, dtype, &tensor.shape, &codes, &scales)?;
    }
    let config = serde_json::to_value(config).map_err(manifest_error)?;
    let model = ModelEntry {
        name: config["name"].as_str().unwrap_or_default().into(),
        tier: tier.into(),
        licence: licence.into(),
        config,
    };
    let manifest = writer.finish(model)?;
    Ok(Packed { manifest, chunks: files })
}
