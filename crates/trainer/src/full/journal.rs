//! What an export has written so far: a line a chunk or tensor, so that a killed one goes on.
//!
//! Torn last lines are left out; chunks count as far as their files have the hashes noted. A journal
//! of another model or precision is started anew. Start at [`Journal::open`].

use super::export::TensorReport;
use anyhow::{Context, Result};
use earl_model::checkpoint::bundle::{ChunkEntry, check_chunk};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    /// What is exported, and how.
    Identity(String),
    /// A chunk whose file is written.
    Chunk(ChunkEntry),
    /// A tensor all of whose bytes were handed on.
    Tensor(TensorReport),
}

/// The journal of one export.
pub(crate) struct Journal {
    file: File,
}

/// What an earlier run has left.
#[derive(Default)]
pub(crate) struct Finished {
    /// Chunks that are whole, in order.
    pub chunks: Vec<ChunkEntry>,
    /// Reports of tensors, by their names in the bundle.
    pub reports: BTreeMap<String, TensorReport>,
}

/// Its name in the bundle's folder; gone when the export is done.
pub(crate) const NAME: &str = "export.journal";

impl Journal {
    /// Opens the journal of an export into `folder`, and what it says is done.
    ///
    /// # Errors
    /// If it can't be written.
    pub(crate) fn open(folder: &Path, identity: &str) -> Result<(Self, Finished)> {
        let path = folder.join(NAME);
        let finished = fs::read_to_string(&path)
            .map_or_else(|_absent| Finished::default(), |text| read(&text, folder, identity));
        let fresh = finished.chunks.is_empty();
        let context = || format!("writing `{}`", path.display());
        let mut options = OpenOptions::new();
        let file = options.create(true).write(true).truncate(true).open(&path);
        let mut journal = Self { file: file.with_context(context)? };
        journal.line(&Line::Identity(identity.into()))?;
        for chunk in &finished.chunks {
            journal.chunk(chunk)?;
        }
        if fresh {
            return Ok((journal, Finished::default()));
        }
        for report in finished.reports.values() {
            journal.tensor(report)?;
        }
        Ok((journal, finished))
    }

    /// Notes a chunk.
    ///
    /// # Errors
    /// If it can't be written.
    pub(crate) fn chunk(&mut self, chunk: &ChunkEntry) -> Result<()> {
        self.line(&Line::Chunk(chunk.clone()))
    }

    /// Notes a tensor.
    ///
    /// # Errors
    /// If it can't be written.
    pub(crate) fn tensor(&mut self, report: &TensorReport) -> Result<()> {
        self.line(&Line::Tensor(report.clone()))
    }

    fn line(&mut self, line: &Line) -> Result<()> {
        let mut text = serde_json::to_string(line)?;
        text.push('\n');
        self.file.write_all(text.as_bytes()).context("writing the export's journal")
    }
}

fn read(text: &str, folder: &Path, identity: &str) -> Finished {
    let mut finished = Finished::default();
    let mut lines = text.lines().map_while(|line| serde_json::from_str::<Line>(line).ok());
    if !matches!(lines.next(), Some(Line::Identity(found)) if found == identity) {
        return finished;
    }
    let mut whole = true;
    for line in lines {
        match line {
            Line::Identity(_) => {}
            Line::Tensor(report) => {
                finished.reports.insert(report.name.clone(), report);
            }
            Line::Chunk(chunk) => {
                let is_there = || fs::read(folder.join(chunk.path())).ok();
                whole = whole && is_there().is_some_and(|b| check_chunk(&chunk, &b).is_ok());
                if whole {
                    finished.chunks.push(chunk);
                }
            }
        }
    }
    finished
}
