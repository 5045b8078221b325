//! What a reader can do about an error: the hint carried by it, or by the model's own error, a file
//! system's or a configuration's in it.

use anyhow::Error;
use earl_benches::BenchError;
use earl_model::ModelError;
use std::fmt;
use std::io::ErrorKind;

/// An error with a hint of its own.
#[derive(Debug)]
pub(crate) struct Hinted {
    message: String,
    hint: String,
    source: Option<Error>,
}

impl fmt::Display for Hinted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Hinted {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(AsRef::as_ref)
    }
}

/// An error that says what to do.
pub(crate) fn error(message: impl Into<String>, hint: impl Into<String>) -> Error {
    Hinted { message: message.into(), hint: hint.into(), source: None }.into()
}

/// An error with its reason, and what to do.
pub(crate) fn because(reason: Error, message: impl Into<String>, hint: impl Into<String>) -> Error {
    Hinted { message: message.into(), hint: hint.into(), source: Some(reason) }.into()
}

/// The hint of an error, if any link of its chain has one.
pub(crate) fn of(problem: &Error) -> Option<String> {
    problem.chain().find_map(|link| {
        let own = link.downcast_ref::<Hinted>().map(|hinted| hinted.hint.clone());
        let own = own
            .or_else(|| link.downcast_ref::<ModelError>().map(ModelError::hint))
            .or_else(|| link.downcast_ref::<BenchError>().map(BenchError::hint));
        let file = || link.downcast_ref::<std::io::Error>().and_then(|error| of_file(error.kind()));
        let toml = || link.downcast_ref::<toml::de::Error>().map(|_| KEYS.to_owned());
        let json = || link.downcast_ref::<serde_json::Error>().map(|_| JSON.to_owned());
        own.or_else(file).or_else(toml).or_else(json)
    })
}

/// What to do about JSON that can't be read.
const JSON: &str = "correct the line, or write the file again; `--help` says what it holds";

/// What to do about a configuration.
pub(crate) const KEYS: &str =
    "correct the key, or leave it out to get its default; see docs/training.md";

fn of_file(kind: ErrorKind) -> Option<String> {
    let hint = match kind {
        ErrorKind::NotFound => "check the path; it is taken from the folder you are in",
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            "choose a place you may read and write, or change its permissions"
        }
        ErrorKind::NotADirectory | ErrorKind::IsADirectory | ErrorKind::AlreadyExists => {
            "a file stands where a folder should be, or the reverse; give another path"
        }
        ErrorKind::StorageFull | ErrorKind::FileTooLarge | ErrorKind::QuotaExceeded => {
            "make room on the disk, or raise the limit; a run goes on with `--resume`"
        }
        ErrorKind::InvalidData => "the file is not text in UTF-8; give another one",
        _ => return None,
    };
    Some(hint.to_owned())
}
