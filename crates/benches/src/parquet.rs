//! Parquet files: the columns that the map names, and no other, row by row.

use crate::Rows;
use crate::error::BenchError;
use crate::value::{Value, has_root};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};
use parquet::schema::types::Type;
use std::fs::File;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

pub(crate) fn read(file: &Path, rows: &mut Rows<'_>) -> Result<ControlFlow<()>, BenchError> {
    let failed = |problem: String| BenchError::Read { file: file.display().to_string(), problem };
    let opened = File::open(file).map_err(|error| failed(error.to_string()))?;
    let reader = guarded(|| SerializedFileReader::new(opened)).map_err(failed)?;
    let schema = reader.metadata().file_metadata().schema().clone();
    let exist: Vec<String> =
        schema.get_fields().iter().map(|field| field.name().to_owned()).collect();
    rows.check_columns(&exist)?;
    let projection = projected(&schema, &rows.map.roots()).map_err(failed)?;
    let mut iter = guarded(|| reader.get_row_iter(Some(projection))).map_err(failed)?;
    loop {
        // A damaged page ends the file: what follows it can't be found.
        let (flow, ended) = match guarded(|| iter.next().transpose()) {
            Ok(None) => return Ok(ControlFlow::Continue(())),
            Ok(Some(row)) => (rows.push(Ok(&fields(row))), false),
            Err(problem) => (rows.push(Err(format!("the file ends here: {problem}"))), true),
        };
        if flow.is_break() || ended {
            return Ok(flow);
        }
    }
}

/// The library panics on some damaged files; here that is an error like any other.
fn guarded<T>(call: impl FnOnce() -> parquet::errors::Result<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(found) => found.map_err(|error| error.to_string()),
        Err(_) => Err("the file is damaged".to_owned()),
    }
}

/// The schema with the wanted columns alone.
fn projected(schema: &Type, wanted: &[String]) -> Result<Type, String> {
    let keeps = |field: &Arc<Type>| {
        let name = [field.name().to_owned()];
        wanted.iter().any(|path| has_root(&name, path))
    };
    let kept = schema.get_fields().iter().filter(|field| keeps(field)).cloned().collect();
    Type::group_type_builder(schema.name())
        .with_fields(kept)
        .build()
        .map_err(|error| error.to_string())
}

fn fields(row: Row) -> Value {
    Value::Fields(
        row.into_columns().into_iter().map(|(name, field)| (name, value(field))).collect(),
    )
}

fn value(field: Field) -> Value {
    match field {
        Field::Null => Value::Null,
        Field::Str(text) => Value::Text(text),
        Field::Bool(flag) => Value::Text(flag.to_string()),
        Field::Bytes(bytes) => Value::Bytes(bytes.data().to_vec()),
        Field::Group(row) => fields(row),
        Field::ListInternal(list) => {
            Value::List(list.elements().iter().cloned().map(value).collect())
        }
        other => Value::Number(other.to_string()),
    }
}
