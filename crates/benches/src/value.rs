//! One cell of a table, whatever stored it.

/// A value of a row, or the row itself ([`Value::Fields`]).
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Text(String),
    /// As the file writes it.
    Number(String),
    Bytes(Vec<u8>),
    List(Vec<Value>),
    Fields(Vec<(String, Value)>),
}

impl Value {
    /// The value of a column, or of a field inside one (`column.field`). The longest name wins, since a
    /// column's own name may hold dots (`input.jpg`).
    pub(crate) fn find(&self, path: &str) -> Option<&Value> {
        match self {
            Self::Fields(fields) => {
                let exact = fields.iter().find(|(name, _)| name == path).map(|(_, value)| value);
                exact.or_else(|| {
                    path.match_indices('.').rev().find_map(|(dot, _)| {
                        let (name, rest) = (&path[..dot], &path[dot + 1..]);
                        fields.iter().find(|(found, _)| found == name)?.1.find(rest)
                    })
                })
            }
            Self::List(items) => items.first()?.find(path),
            _ => None,
        }
    }

    /// As text: a text, a number, or the first entry of a list.
    pub(crate) fn text(&self) -> Option<String> {
        match self {
            Self::Text(text) | Self::Number(text) => Some(text.clone()),
            Self::List(items) => items.first()?.text(),
            _ => None,
        }
    }

    /// As a file's bytes: binary, a struct with `bytes`, or the first entry of a list.
    pub(crate) fn bytes(&self) -> Option<Vec<u8>> {
        match self {
            Self::Bytes(bytes) => Some(bytes.clone()),
            Self::Fields(_) => self.find("bytes")?.bytes(),
            Self::List(items) => items.first()?.bytes(),
            _ => None,
        }
    }

    /// What it is, for people.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "empty",
            Self::Text(_) => "a text",
            Self::Number(_) => "a number",
            Self::Bytes(_) => "binary",
            Self::List(_) => "a list",
            Self::Fields(_) => "a struct",
        }
    }

    /// The same in our form; texts stay texts.
    pub(crate) fn from_json(json: serde_json::Value) -> Self {
        use serde_json::Value as Json;
        match json {
            Json::Null => Self::Null,
            Json::Bool(flag) => Self::Text(flag.to_string()),
            Json::Number(number) => Self::Number(number.to_string()),
            Json::String(text) => Self::Text(text),
            Json::Array(items) => Self::List(items.into_iter().map(Self::from_json).collect()),
            Json::Object(fields) => Self::Fields(
                fields.into_iter().map(|(name, value)| (name, Self::from_json(value))).collect(),
            ),
        }
    }
}

/// Does one of the columns hold the name, or a struct with it?
pub(crate) fn has_root(columns: &[String], path: &str) -> bool {
    columns.iter().any(|column| {
        path.strip_prefix(column.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_path_and_names_may_hold_dots() {
        let json = r#"{"json": {"prompt": "a", "deep": {"er": 3}}, "input.jpg": "b", "list": [{"x": "first"}, 2]}"#;
        let row = Value::from_json(serde_json::from_str(json).unwrap());
        let text = |path: &str| row.find(path).and_then(Value::text);
        assert_eq!(text("json.prompt").as_deref(), Some("a"));
        assert_eq!(text("json.deep.er").as_deref(), Some("3"));
        assert_eq!(text("input.jpg").as_deref(), Some("b"));
        assert_eq!(text("list.x").as_deref(), Some("first"));
        assert_eq!((text("json.none"), text("none"), text("")), (None, None, None));
        let columns = ["json".to_owned(), "input.jpg".to_owned()];
        assert!(has_root(&columns, "json.prompt") && has_root(&columns, "input.jpg"));
        assert!(!has_root(&columns, "jsonx") && !has_root(&columns, "input"));
    }
}
