//! A published model → a bundle, a few rows at a time.
//!
//! ```text
//! shards ─rows─▶ quantize ─▶ stream ─▶ chunks, each hashed and noted in the journal ─▶ manifest
//! ```
//! Memory: one chunk, one row shard's scales and some rows, whatever the model's size. What comes out
//! is a function of the weights and the precision alone, so a killed export goes on where the last
//! whole chunk ends. Start at [`export`].

use super::journal::{self, Finished, Journal};
use crate::progress::Progress;
use crate::run_dir::write_file;
use anyhow::{Context, Result};
use earl_model::ModelError;
use earl_model::checkpoint::bundle::{ChunkEntry, ModelEntry, hex_sha256};
use earl_model::checkpoint::quantize::{dequantize, quantize};
use earl_model::checkpoint::writer::{Writer, scales_name, scales_shape};
use earl_model::emu3::editor::{RANKS_FILE, TIER};
use earl_model::emu3::text::PUBLISHED_RANKS;
use earl_model::emu3::{Emu3Config, Planned, Precision, Shards, plan};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Bytes of a chunk: the most the format takes, since there are hundreds.
const CHUNK_BYTES: u64 = 16 << 20;
/// Values read and quantized at once.
const PIECE_VALUES: usize = 4 << 20;
/// Values that are one piece of work for a core.
const JOB_VALUES: usize = 1 << 16;
/// Report of errors, beside the manifest.
const REPORT: &str = "export.json";

/// Where one of the two models comes from.
pub(crate) struct Part<'a> {
    /// Its files.
    pub shards: &'a Shards,
    /// The files' own names of its tensors.
    pub names: BTreeMap<String, String>,
}

/// What is to be exported.
pub(crate) struct Source<'a> {
    /// Configuration of what is there.
    pub config: Emu3Config,
    /// Language model and image tokenizer.
    pub parts: [Option<Part<'a>>; 2],
    /// Tells this source from others; see [`super::Directories::identity`].
    pub identity: String,
    /// Shown to people.
    pub name: String,
}

/// How far a tensor's stored values are from the source's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct TensorReport {
    /// Name in the bundle.
    pub name: String,
    /// Type in the bundle.
    pub dtype: String,
    /// Largest error.
    pub max_error: f64,
    /// Root of the mean squared error.
    pub rms_error: f64,
    /// The same as a share of the values' own root mean square.
    pub relative_rms_error: f64,
}

/// What was written.
pub(crate) struct Exported {
    /// SHA-256 of the manifest.
    pub sha256: String,
    /// Bytes of all chunks and the manifest.
    pub bytes: u64,
    /// By tensor.
    pub reports: Vec<TensorReport>,
    /// Chunks that an earlier run had written.
    pub kept_chunks: usize,
}

impl Exported {
    /// Its largest errors, as JSON.
    pub(crate) fn worst(&self) -> Value {
        let by = |key: fn(&TensorReport) -> f64| {
            self.reports.iter().max_by(|a, b| key(a).total_cmp(&key(b)))
        };
        json!({
            "max_error": by(|report| report.max_error),
            "relative_rms_error": by(|report| report.relative_rms_error),
        })
    }
}

/// Writes the bundle into `out`.
///
/// # Errors
/// If a tensor can't be read or holds a value that is no number, or `out` can't be written. What is
/// whole stays there, and the next call goes on from it.
pub(crate) fn export(source: &Source<'_>, precision: Precision, out: &Path) -> Result<Exported> {
    let chunks = out.join("chunks");
    fs::create_dir_all(&chunks).with_context(|| format!("making `{}`", chunks.display()))?;
    let identity = hex_sha256(format!("{} {precision:?}", source.identity).as_bytes());
    let (journal, finished) = Journal::open(out, &identity)?;
    let (journal, kept_chunks) = (RefCell::new(journal), finished.chunks.len());
    let mut sink = |chunk: &ChunkEntry, bytes: &[u8]| {
        let path = out.join(chunk.path());
        let written = write_file(&path, bytes);
        written.and_then(|()| journal.borrow_mut().chunk(chunk)).map_err(|problem| {
            ModelError::Read {
                what: format!("`{}`", path.display()),
                problem: format!("{problem:#}"),
            }
        })
    };
    let Finished { chunks: done, reports: known } = finished;
    let mut writer = Writer::new(CHUNK_BYTES, done, &mut sink);
    let plan = plan(&source.config, precision);
    let total: u64 = plan.iter().map(earl_model::emu3::plan::bytes).sum();
    let mut progress = Progress::new("export", 0, total >> 20);
    let mut reports = Vec::with_capacity(plan.len());
    for planned in &plan {
        let report = match known.get(&planned.name) {
            Some(report) if skip(&mut writer, planned)? => report.clone(),
            _ => {
                let report = stream(source, planned, &mut writer)?;
                journal.borrow_mut().tensor(&report)?;
                report
            }
        };
        reports.push(report);
        progress.step(writer.next_start() >> 20, &planned.name);
    }
    if source.config.lm.is_some() {
        writer.file(RANKS_FILE, PUBLISHED_RANKS)?;
    }
    let manifest = writer.finish(ModelEntry {
        name: source.name.clone(),
        tier: TIER.into(),
        licence: "that of the checkpoint it was made from".into(),
        config: source.config.to_json(),
    })?;
    finish(out, &manifest, &reports)?;
    let (sha256, bytes) = (hex_sha256(&manifest), total + manifest.len() as u64);
    Ok(Exported { sha256, bytes, reports, kept_chunks })
}

/// Jumps over a tensor whose bytes are all in chunks; was it so?
fn skip(writer: &mut Writer<'_>, planned: &Planned) -> Result<bool> {
    let Planned { name, dtype, shape, .. } = planned;
    let end = writer.next_start() + earl_model::emu3::plan::bytes(planned) + 2 * 256;
    if end > writer.kept() {
        return Ok(false);
    }
    let scales = dtype.is_quantized().then(|| scales_name(name));
    writer.skip(name, *dtype, shape, scales.clone())?;
    if let Some(scales) = scales {
        let half = earl_model::checkpoint::quantize::Dtype::F16;
        writer.skip(&scales, half, &scales_shape(shape), None)?;
    }
    Ok(true)
}

/// Sums over the values of a tensor.
#[derive(Clone, Copy, Default)]
struct Sums {
    count: usize,
    largest: f64,
    errors: f64,
    values: f64,
}

impl Sums {
    fn of(values: &[f32], stored: &[f32]) -> Self {
        let mut sums = Self { count: values.len(), ..Self::default() };
        for (&value, &stored) in values.iter().zip(stored) {
            let (value, error) = (f64::from(value), f64::from(stored) - f64::from(value));
            sums.largest = sums.largest.max(error.abs());
            sums.errors += error * error;
            sums.values += value * value;
        }
        sums
    }

    fn add(&mut self, other: Self) {
        self.count += other.count;
        self.largest = self.largest.max(other.largest);
        self.errors += other.errors;
        self.values += other.values;
    }
}

/// Reads, quantizes and appends one planned tensor.
fn stream(source: &Source<'_>, planned: &Planned, writer: &mut Writer<'_>) -> Result<TensorReport> {
    let Planned { tensor, name, dtype, rows, shape, vision } = planned;
    let missing = || ModelError::Tensors(format!("`{tensor}` is missing"));
    let part = source.parts[usize::from(*vision)].as_ref().ok_or_else(missing)?;
    let file_name = part.names.get(tensor).ok_or_else(missing)?;
    let width = shape.last().copied().unwrap_or(1);
    let row: usize = shape.iter().skip(1).product::<usize>().max(1);
    let (step, job) = ((PIECE_VALUES / row).max(1), JOB_VALUES.div_ceil(row) * row);
    let scales_name = dtype.is_quantized().then(|| scales_name(name));
    writer.start(name, *dtype, shape, scales_name.clone())?;
    let (mut scales, mut sums) = (Vec::new(), Sums::default());
    for first in rows.clone().step_by(step) {
        let host = part.shards.read_rows(file_name, first..rows.end.min(first + step))?;
        let done: Vec<(Vec<u8>, Vec<u8>, Sums)> = host
            .data
            .par_chunks(job)
            .map(|values| {
                // A vector is one row.
                let width = if shape.len() < 2 { values.len() } else { width };
                let (codes, scales) = quantize(values, width, *dtype);
                let stored = dequantize(&codes, &scales, width, *dtype);
                (codes, scales, Sums::of(values, &stored))
            })
            .collect();
        for (codes, more, job) in done {
            writer.append(&codes)?;
            scales.extend(more);
            sums.add(job);
        }
    }
    if let Some(scales_name) = scales_name {
        let half = earl_model::checkpoint::quantize::Dtype::F16;
        writer.start(&scales_name, half, &scales_shape(shape), None)?;
        writer.append(&scales)?;
    }
    let count = sums.count.max(1) as f64;
    let relative = if sums.values > 0.0 { (sums.errors / sums.values).sqrt() } else { 0.0 };
    Ok(TensorReport {
        name: name.clone(),
        dtype: format!("{dtype:?}").to_lowercase(),
        max_error: sums.largest,
        rms_error: (sums.errors / count).sqrt(),
        relative_rms_error: relative,
    })
}

/// The report, then the manifest; then what is left of earlier runs goes.
fn finish(out: &Path, manifest: &[u8], reports: &[TensorReport]) -> Result<()> {
    write_file(&out.join(REPORT), &serde_json::to_vec_pretty(&json!({ "tensors": reports }))?)?;
    write_file(&out.join("manifest.json"), manifest)?;
    let named = earl_model::checkpoint::bundle::parse_manifest(manifest)?;
    let named: std::collections::BTreeSet<String> =
        named.chunks.iter().map(|chunk| format!("{}.bin", chunk.sha256)).collect();
    for entry in fs::read_dir(out.join("chunks"))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_chunk = entry.path().extension().is_some_and(|extension| extension == "bin");
        if is_chunk && !named.contains(&name) {
            fs::remove_file(entry.path())?;
        }
    }
    let path = out.join(journal::NAME);
    fs::remove_file(&path).with_context(|| format!("removing `{}`", path.display()))
}
