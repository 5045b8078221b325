//! What keeps a whole bench from being read: what, where, and a hint how to mend it.

/// Errors of this crate; single bad rows are no errors, see [`crate::BadRow`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// A column map that is none.
    #[error("column map: {problem}")]
    Map {
        /// The broken rule, or what TOML says.
        problem: String,
    },
    /// The map names columns that the file has not.
    #[error("`{file}` has no column `{}`, which the map `{map}` asks for; it has `{}`", missing.join("`, `"), exist.join("`, `"))]
    Columns {
        /// The map's name.
        map: String,
        /// The file.
        file: String,
        /// Names that are not there.
        missing: Vec<String>,
        /// Names that are.
        exist: Vec<String>,
    },
    /// A folder without a file of the map's format.
    #[error("`{folder}` holds no file that ends in `.{kinds}`")]
    NoFile {
        /// The folder.
        folder: String,
        /// Endings that were looked for.
        kinds: String,
    },
    /// A file that can't be read.
    #[error("reading `{file}`: {problem}")]
    Read {
        /// The file.
        file: String,
        /// The reason.
        problem: String,
    },
    /// A program that was built without a reader for the format.
    #[error("`{file}` is Parquet, which this program was built without")]
    NotBuilt {
        /// The file.
        file: String,
    },
}

impl BenchError {
    /// What the reader of the error can do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Map { .. } => "see the maps in `benches/`, and `docs/evaluation.md`".into(),
            Self::Columns { .. } => {
                "correct `[columns]` in a copy of the map; a field of a struct is written `column.field`".into()
            }
            Self::NoFile { .. } => "give `--data` the file itself, or the folder that holds it".into(),
            Self::Read { .. } => "check that the file is whole and readable".into(),
            Self::NotBuilt { .. } => {
                "build it with `cargo build --release -p trainer --features parquet`".into()
            }
        }
    }
}
