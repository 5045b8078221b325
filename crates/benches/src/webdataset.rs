//! `WebDataset` shards: tar files in which one row is a run of entries of one name.
//!
//! `a/0001.input.jpg`, `a/0001.output.jpg`, `a/0001.json` are the row `a/0001` with the columns `input.jpg`,
//! `output.jpg` and `json`. `.json` is read as an object, `.txt` and `.cls` as text, the rest as bytes.

use crate::error::BenchError;
use crate::value::Value;
use crate::{MAX_FIELD_BYTES, Rows};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufReader, Read};
use std::ops::ControlFlow;
use std::path::Path;

pub(crate) fn read(file: &Path, rows: &mut Rows<'_>) -> Result<ControlFlow<()>, BenchError> {
    let failed = |error: std::io::Error| BenchError::Read {
        file: file.display().to_string(),
        problem: error.to_string(),
    };
    rows.check_columns(&columns(file).map_err(failed)?)?;
    let mut archive = tar::Archive::new(BufReader::new(File::open(file).map_err(failed)?));
    let mut row = Pending::default();
    for entry in archive.entries().map_err(failed)? {
        let mut entry = match entry {
            Ok(entry) => entry,
            // Rows before the tear count; the one under way may lack entries.
            Err(error) => {
                row.key.get_or_insert_default();
                row.problem = Some(format!("the shard ends here: {error}"));
                return Ok(row.flush(rows));
            }
        };
        let Some((key, column)) = split(&entry.path_bytes()) else { continue };
        if row.key.as_ref() != Some(&key) {
            if row.flush(rows).is_break() {
                return Ok(ControlFlow::Break(()));
            }
            row.key = Some(key);
        }
        row.add(column, &mut entry);
    }
    Ok(row.flush(rows))
}

/// Names of all columns of a shard; headers alone are read.
fn columns(file: &Path) -> std::io::Result<Vec<String>> {
    let mut archive = tar::Archive::new(File::open(file)?);
    let mut found = BTreeSet::new();
    for entry in archive.entries_with_seek()? {
        // The second reading reports a torn end by its row.
        let Ok(entry) = entry else { break };
        found.extend(split(&entry.path_bytes()).map(|(_, column)| column));
    }
    Ok(found.into_iter().collect())
}

/// Row and column of an entry: its path up to the first dot of the last part, and what follows.
fn split(path: &[u8]) -> Option<(String, String)> {
    let path = String::from_utf8_lossy(path);
    let start = path.rfind('/').map_or(0, |at| at + 1);
    let dot = start + path[start..].find('.')?;
    let (key, column) = (&path[..dot], &path[dot + 1..]);
    (dot > start && !column.is_empty()).then(|| (key.to_owned(), column.to_lowercase()))
}

/// A row whose entries are still coming.
#[derive(Default)]
struct Pending {
    key: Option<String>,
    fields: Vec<(String, Value)>,
    problem: Option<String>,
}

impl Pending {
    fn add(&mut self, column: String, entry: &mut tar::Entry<'_, impl Read>) {
        let (size, mut bytes) = (entry.size(), Vec::new());
        match entry.take(MAX_FIELD_BYTES + 1).read_to_end(&mut bytes) {
            Err(error) => self.problem = Some(format!("`{column}` can't be read: {error}")),
            Ok(_) if bytes.len() as u64 > MAX_FIELD_BYTES => {
                self.problem = Some(format!("`{column}` is larger than {MAX_FIELD_BYTES} bytes"));
            }
            Ok(_) if bytes.len() as u64 != size => {
                self.problem = Some(format!("`{column}` is cut off"));
            }
            Ok(_) => match field(&column, bytes) {
                Ok(value) => self.fields.push((column, value)),
                Err(problem) => self.problem = Some(problem),
            },
        }
    }

    fn flush(&mut self, rows: &mut Rows<'_>) -> ControlFlow<()> {
        if self.key.take().is_none() {
            return ControlFlow::Continue(());
        }
        let fields = Value::Fields(std::mem::take(&mut self.fields));
        match self.problem.take() {
            Some(problem) => rows.push(Err(problem)),
            None => rows.push(Ok(&fields)),
        }
    }
}

fn field(column: &str, bytes: Vec<u8>) -> Result<Value, String> {
    match column.rsplit('.').next() {
        Some("json") => serde_json::from_slice(&bytes)
            .map(Value::from_json)
            .map_err(|error| format!("`{column}` is no JSON: {error}")),
        Some("txt" | "cls") => String::from_utf8(bytes)
            .map(Value::Text)
            .map_err(|error| format!("`{column}` is no text: {error}")),
        _ => Ok(Value::Bytes(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_split_at_the_first_dot_of_the_name() {
        let found = |path: &str| split(path.as_bytes());
        assert_eq!(found("a.b/0001.input.JPG"), Some(("a.b/0001".into(), "input.jpg".into())));
        assert_eq!(found("x.json"), Some(("x".into(), "json".into())));
        assert_eq!((found("folder/"), found(".hidden"), found("x.")), (None, None, None));
    }
}
