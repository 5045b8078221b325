//! JSON indices: rows in a `.json` or `.jsonl` file, pictures as files beside it.
//!
//! An array of objects, an object of objects (each one's name becomes its `@key`), or one object a line.

use crate::error::BenchError;
use crate::value::Value;
use crate::{MAX_FIELD_BYTES, Rows};
use std::fs::File;
use std::io::Read;
use std::ops::ControlFlow;
use std::path::{Component, Path};

/// The field that holds a row's name in an object of objects.
const KEY: &str = "@key";

pub(crate) fn read(file: &Path, rows: &mut Rows<'_>) -> Result<ControlFlow<()>, BenchError> {
    let failed = |problem: String| BenchError::Read { file: file.display().to_string(), problem };
    let text = std::fs::read_to_string(file).map_err(|error| failed(error.to_string()))?;
    let found = parse(&text).map_err(failed)?;
    let exist: std::collections::BTreeSet<String> = found
        .iter()
        .flatten()
        .filter_map(|row| match row {
            Value::Fields(fields) => Some(fields.iter().map(|(name, _)| name.clone())),
            _ => None,
        })
        .flatten()
        .collect();
    rows.check_columns(&exist.into_iter().collect::<Vec<_>>())?;
    let folder = file.parent().unwrap_or(Path::new(""));
    let pictures: Vec<String> = [Some(&rows.map.columns.source), rows.map.columns.target.as_ref()]
        .into_iter()
        .flatten()
        .cloned()
        .collect();
    for row in found {
        let flow = match row.and_then(|row| with_pictures(row, &pictures, folder, rows)) {
            Ok(row) => rows.push(Ok(&row)),
            Err(problem) => rows.push(Err(problem)),
        };
        if flow.is_break() {
            return Ok(flow);
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// The rows of a file; a line that is no JSON is a bad row, a file that is none an error.
fn parse(text: &str) -> Result<Vec<Result<Value, String>>, String> {
    use serde_json::Value as Json;
    match serde_json::from_str::<Json>(text) {
        Ok(Json::Array(items)) => {
            Ok(items.into_iter().map(|row| Ok(Value::from_json(row))).collect())
        }
        Ok(Json::Object(fields)) if fields.values().all(Json::is_object) => {
            let named = |(key, row): (String, Json)| {
                let mut row = Value::from_json(row);
                if let Value::Fields(fields) = &mut row {
                    fields.push((KEY.to_owned(), Value::Text(key)));
                }
                Ok(row)
            };
            Ok(fields.into_iter().map(named).collect())
        }
        whole => {
            let lines = text.lines().filter(|line| !line.trim().is_empty());
            let row = |line: &str| match serde_json::from_str::<Json>(line) {
                Ok(row) if row.is_object() => Ok(Value::from_json(row)),
                Ok(_) => Err("the line is no JSON object".to_owned()),
                Err(error) => Err(format!("the line is no JSON: {error}")),
            };
            let rows: Vec<Result<Value, String>> = lines.map(row).collect();
            if rows.iter().any(Result::is_ok) {
                return Ok(rows);
            }
            Err(whole.map_or_else(
                |error| format!("it is no JSON: {error}"),
                |_| "it is neither an array nor an object of rows".to_owned(),
            ))
        }
    }
}

/// The row with the bytes of its pictures in the place of their paths. Rows that are not asked for stay.
fn with_pictures(
    mut row: Value,
    names: &[String],
    folder: &Path,
    rows: &Rows<'_>,
) -> Result<Value, String> {
    if !rows.map.wants(&row) {
        return Ok(row);
    }
    for name in names {
        let Some(path) = row.find(name).and_then(Value::text) else { continue };
        let bytes = picture(folder, &path).map_err(|problem| format!("`{name}`: {problem}"))?;
        if let Value::Fields(fields) = &mut row {
            fields.retain(|(found, _)| found != name);
            fields.push((name.clone(), Value::Bytes(bytes)));
        }
    }
    Ok(row)
}

fn picture(folder: &Path, path: &str) -> Result<Vec<u8>, String> {
    let plain = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    if !Path::new(path).components().all(plain) {
        return Err(format!("`{path}` leaves the folder of the index"));
    }
    let file = folder.join(path);
    let mut bytes = Vec::new();
    File::open(&file)
        .and_then(|file| file.take(MAX_FIELD_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("`{path}` can't be read: {error}"))?;
    if bytes.len() as u64 > MAX_FIELD_BYTES {
        return Err(format!("`{path}` is larger than {MAX_FIELD_BYTES} bytes"));
    }
    Ok(bytes)
}
