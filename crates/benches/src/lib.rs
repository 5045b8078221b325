//! Public editing benches: copies on disk and a column map in, rows of (picture, instruction, target) out.
//!
//! ```text
//! benches/*.toml → files (Parquet | `WebDataset` tar | JSON index) → rows → the evaluation
//! ```
//! Pictures stay the bytes that were stored; whoever asks decodes them. Rows are handed out one by one, so
//! that a bench of any size fits. A row that can't be used is reported by file and number and passed over.
//! No network, no tensor, no model. Start at [`read`].

mod error;
mod json;
mod map;
#[cfg(feature = "parquet")]
mod parquet;
mod value;
mod webdataset;

pub use error::BenchError;
pub use map::{BenchMap, Columns, Format};

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use value::Value;

/// Largest picture or text of a row, in bytes.
const MAX_FIELD_BYTES: u64 = 64 << 20;

/// One edit that a bench asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The file's name and the row's number in it, from 1.
    pub place: Place,
    /// The bench's own name for it, or the place.
    pub id: String,
    /// Kind of edit, where the bench says it.
    pub op: Option<String>,
    /// What to do.
    pub instruction: String,
    /// The picture to edit, as stored.
    pub source: Vec<u8>,
    /// The edited picture, as stored, where the bench has one.
    pub target: Option<Vec<u8>>,
}

/// Where a row stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Name of the file.
    pub file: String,
    /// Number of the row in it, from 1.
    pub row: usize,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}`, row {}", self.file, self.row)
    }
}

/// A row that can't be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRow {
    /// Where it stands.
    pub place: Place,
    /// What is wrong with it.
    pub problem: String,
}

impl std::fmt::Display for BadRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.place, self.problem)
    }
}

/// Hands every row of a bench to `each`, in order, until it breaks; rows that `only` leaves out are passed over.
///
/// `data` is a file, or a folder whose files of the map's format are read in the order of their names.
///
/// # Errors
/// If there is no such file, one can't be read, or the map names a column that is not there.
pub fn read(
    map: &BenchMap,
    data: &Path,
    each: &mut dyn FnMut(Result<Row, BadRow>) -> ControlFlow<()>,
) -> Result<(), BenchError> {
    for file in files(map, data)? {
        let mut rows = Rows { map, file: name(&file), count: 0, each };
        let flow = match map.format {
            Format::Parquet => read_parquet(&file, &mut rows),
            Format::Webdataset => webdataset::read(&file, &mut rows),
            Format::Json => json::read(&file, &mut rows),
        }?;
        if flow.is_break() {
            break;
        }
    }
    Ok(())
}

#[cfg(feature = "parquet")]
fn read_parquet(file: &Path, rows: &mut Rows<'_>) -> Result<ControlFlow<()>, BenchError> {
    parquet::read(file, rows)
}

#[cfg(not(feature = "parquet"))]
fn read_parquet(file: &Path, _: &mut Rows<'_>) -> Result<ControlFlow<()>, BenchError> {
    Err(BenchError::NotBuilt { file: name(file) })
}

/// What a reader hands its rows to.
struct Rows<'a> {
    map: &'a BenchMap,
    file: String,
    count: usize,
    each: &'a mut dyn FnMut(Result<Row, BadRow>) -> ControlFlow<()>,
}

impl Rows<'_> {
    /// The next row, or why it could not be read.
    fn push(&mut self, row: Result<&Value, String>) -> ControlFlow<()> {
        self.count += 1;
        let place = Place { file: self.file.clone(), row: self.count };
        let made = match row {
            Ok(value) if !self.map.wants(value) => return ControlFlow::Continue(()),
            Ok(value) => self.map.row(&place, value),
            Err(problem) => Err(problem),
        };
        (self.each)(made.map_err(|problem| BadRow { place, problem }))
    }

    /// Fails with the names that exist if the map asks for another.
    fn check_columns(&self, exist: &[String]) -> Result<(), BenchError> {
        let missing: Vec<String> =
            self.map.roots().into_iter().filter(|name| !value::has_root(exist, name)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let (file, map) = (self.file.clone(), self.map.name.clone());
        Err(BenchError::Columns { map, file, missing, exist: exist.to_vec() })
    }
}

fn name(file: &Path) -> String {
    file.file_name()
        .map_or_else(|| file.display().to_string(), |name| name.to_string_lossy().into())
}

/// The files of a bench, by name.
fn files(map: &BenchMap, data: &Path) -> Result<Vec<PathBuf>, BenchError> {
    let failed = |error: std::io::Error| BenchError::Read {
        file: data.display().to_string(),
        problem: error.to_string(),
    };
    if !std::fs::metadata(data).map_err(failed)?.is_dir() {
        return Ok(vec![data.to_owned()]);
    }
    if let Some(file) = &map.file {
        return Ok(vec![data.join(file)]);
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(data).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let extension =
            path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
        if path.is_file()
            && extension.is_some_and(|found| map.format.extensions().contains(&found.as_str()))
        {
            found.push(path);
        }
    }
    found.sort();
    if found.is_empty() {
        let (folder, kinds) = (data.display().to_string(), map.format.extensions().join("` or `."));
        return Err(BenchError::NoFile { folder, kinds });
    }
    Ok(found)
}
