//! Column maps: which column of a bench's files is the picture, the instruction, the target.

use crate::error::BenchError;
use crate::value::Value;
use crate::{Place, Row};
use serde::Deserialize;
use std::collections::BTreeMap;

/// A bench's format and columns, as `benches/*.toml` hold them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BenchMap {
    /// The bench's name in tables.
    pub name: String,
    /// How its files are stored.
    pub format: Format,
    /// Where the files come from, for people.
    #[serde(default)]
    pub origin: String,
    /// Where the column names come from, for people.
    pub names_from: String,
    /// Were the names compared with a file of the bench itself?
    pub verified: bool,
    /// The one file to read of a folder; all of the format's without it.
    #[serde(default)]
    pub file: Option<String>,
    /// Rows the whole bench has, after `only`; others are warned of.
    #[serde(default)]
    pub examples: Option<usize>,
    /// Text cut from the front of every instruction.
    #[serde(default)]
    pub instruction_prefix: String,
    /// The columns.
    pub columns: Columns,
    /// Rows are read only where these columns hold these texts.
    #[serde(default)]
    pub only: BTreeMap<String, String>,
}

/// Names of columns. A field of a struct or JSON object is `column.field`; a list stands for its first entry;
/// `@file` is the name of the file up to its first dot.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Columns {
    /// Parts of the row's name, joined by `-`.
    #[serde(default)]
    pub id: Vec<String>,
    /// The picture to edit.
    pub source: String,
    /// The edited picture.
    #[serde(default)]
    pub target: Option<String>,
    /// What to do.
    pub instruction: String,
    /// Kind of edit.
    #[serde(default)]
    pub op: Option<String>,
}

/// How files are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Parquet; pictures are binary, or structs with `bytes` (as Hugging Face writes them).
    Parquet,
    /// Tar shards; a row is the run of entries with one name up to the first dot, a column what follows it.
    Webdataset,
    /// An array, an object of objects, or one object a line; pictures are paths beside the file.
    Json,
}

impl Format {
    /// Endings of its files.
    #[must_use]
    pub fn extensions(self) -> &'static [&'static str] {
        match self {
            Self::Parquet => &["parquet"],
            Self::Webdataset => &["tar"],
            Self::Json => &["json", "jsonl"],
        }
    }
}

/// The pseudo-column of the file's name.
const FILE: &str = "@file";

impl BenchMap {
    /// Reads a map.
    ///
    /// # Errors
    /// Names the line, the valid keys, or the broken rule.
    pub fn parse(text: &str) -> Result<Self, BenchError> {
        let map: Self =
            toml::from_str(text).map_err(|error| BenchError::Map { problem: error.to_string() })?;
        let columns = &map.columns;
        if map.name.trim().is_empty() || columns.source.is_empty() || columns.instruction.is_empty()
        {
            let problem =
                "`name`, `columns.source` and `columns.instruction` must not be empty".into();
            return Err(BenchError::Map { problem });
        }
        Ok(map)
    }

    /// Names of all columns the map asks for.
    pub(crate) fn roots(&self) -> Vec<String> {
        let Columns { id, source, target, instruction, op } = &self.columns;
        let optional = target.iter().chain(op);
        let all = id.iter().chain([source, instruction]).chain(optional).chain(self.only.keys());
        let mut names: Vec<String> = all.filter(|name| *name != FILE).cloned().collect();
        names.sort();
        names.dedup();
        names
    }

    /// Is the row one of those that `only` asks for?
    pub(crate) fn wants(&self, row: &Value) -> bool {
        self.only.iter().all(|(name, wanted)| {
            row.find(name).and_then(Value::text).is_some_and(|found| found == *wanted)
        })
    }

    /// A row of the bench, or what is wrong with it.
    pub(crate) fn row(&self, place: &Place, row: &Value) -> Result<Row, String> {
        let columns = &self.columns;
        let text = |name: &str| -> Result<String, String> {
            if name == FILE {
                return Ok(place.file.split('.').next().unwrap_or_default().to_owned());
            }
            let value = row.find(name).ok_or_else(|| format!("there is no `{name}`"))?;
            value.text().ok_or_else(|| format!("`{name}` is {}, not a text", value.kind()))
        };
        let instruction = text(&columns.instruction)?;
        let instruction = instruction.trim();
        let instruction =
            instruction.strip_prefix(self.instruction_prefix.trim_end()).unwrap_or(instruction);
        if instruction.trim().is_empty() {
            return Err(format!("`{}` is empty", columns.instruction));
        }
        let parts: Vec<String> =
            columns.id.iter().map(|name| text(name)).collect::<Result<_, _>>()?;
        let named = format!("{}-{}", place.file, place.row);
        Ok(Row {
            id: if parts.is_empty() { named } else { parts.join("-") },
            op: columns.op.as_deref().map(text).transpose()?,
            instruction: instruction.trim().to_owned(),
            source: picture(row, &columns.source)?,
            target: columns.target.as_deref().map(|name| picture(row, name)).transpose()?,
            place: place.clone(),
        })
    }
}

/// The bytes of a picture: binary, a struct with `bytes`, or the first of a list of such.
fn picture(row: &Value, name: &str) -> Result<Vec<u8>, String> {
    let value = row.find(name).ok_or_else(|| format!("there is no `{name}`"))?;
    let bytes = value.bytes().ok_or_else(|| match value {
        Value::Null => format!("`{name}` holds no picture"),
        Value::Fields(_) => format!("`{name}` holds no picture: its `bytes` are empty"),
        other => format!("`{name}` is {}, not the bytes of a picture", other.kind()),
    })?;
    if bytes.is_empty() {
        Err(format!("`{name}` holds no picture: it is empty"))
    } else {
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: &str = "name = \"Test\"\nformat = \"json\"\nnames_from = \"this test\"\nverified = true\ninstruction_prefix = \"do: \"\n\
        [columns]\nid = [\"key\", \"turn\"]\nsource = \"picture\"\ninstruction = \"words\"\nop = \"@file\"\n[only]\nlanguage = \"en\"\n";

    fn row(json: &str) -> Value {
        let mut value = Value::from_json(serde_json::from_str(json).unwrap());
        if let Value::Fields(fields) = &mut value {
            fields.push(("picture".into(), Value::Bytes(vec![1, 2])));
        }
        value
    }

    #[test]
    fn rows_are_read_by_the_map() {
        let map = BenchMap::parse(MAP).unwrap();
        let place = Place { file: "counting-1.json".into(), row: 3 };
        let value =
            row(r#"{"key": "a", "turn": 2, "words": ["do: it ", "again"], "language": "en"}"#);
        assert!(map.wants(&value));
        let found = map.row(&place, &value).unwrap();
        assert_eq!((found.id.as_str(), found.instruction.as_str()), ("a-2", "it"));
        assert_eq!((found.op.as_deref(), found.source), (Some("counting-1"), vec![1, 2]));
        assert!(!map.wants(&row(r#"{"language": "cn"}"#)));
        assert_eq!(map.roots(), ["key", "language", "picture", "turn", "words"]);
    }

    #[test]
    fn what_is_wrong_with_a_row_is_said() {
        let map = BenchMap::parse(MAP).unwrap();
        let place = Place { file: "f.json".into(), row: 1 };
        let problem = |json: &str| map.row(&place, &row(json)).unwrap_err();
        assert_eq!(problem(r#"{"key": "a", "turn": 1}"#), "there is no `words`");
        assert_eq!(problem(r#"{"key": "a", "turn": 1, "words": "do: "}"#), "`words` is empty");
        let found = problem(r#"{"key": "a", "turn": 1, "words": {"en": "x"}}"#);
        assert_eq!(found, "`words` is a struct, not a text");
        let empty = Value::Fields(vec![("picture".into(), Value::Fields(vec![]))]);
        assert!(picture(&empty, "picture").unwrap_err().contains("its `bytes` are empty"));
        let number = Value::Fields(vec![("picture".into(), Value::Number("3".into()))]);
        assert_eq!(
            picture(&number, "picture").unwrap_err(),
            "`picture` is a number, not the bytes of a picture"
        );
    }

    #[test]
    fn broken_maps_are_named() {
        let error = BenchMap::parse(&MAP.replace("words", "")).unwrap_err();
        assert!(error.to_string().contains("must not be empty"), "{error}");
        let error = BenchMap::parse(&MAP.replace("source", "sauce")).unwrap_err();
        assert!(error.to_string().contains("unknown field `sauce`"), "{error}");
    }
}
