//! What a reader can do about an error: the hint carried by it, or by the model's own error in it.

use earl_benches::BenchError;
use earl_model::ModelError;
use std::fmt;

/// An error with a hint of its own.
#[derive(Debug)]
pub(crate) struct Hinted {
    message: String,
    hint: String,
}

impl fmt::Display for Hinted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Hinted {}

/// An error that says what to do.
pub(crate) fn error(message: impl Into<String>, hint: impl Into<String>) -> anyhow::Error {
    Hinted { message: message.into(), hint: hint.into() }.into()
}

/// The hint of an error, if any link of its chain has one.
pub(crate) fn of(problem: &anyhow::Error) -> Option<String> {
    problem.chain().find_map(|link| {
        let own = link.downcast_ref::<Hinted>().map(|hinted| hinted.hint.clone());
        own.or_else(|| link.downcast_ref::<ModelError>().map(ModelError::hint))
            .or_else(|| link.downcast_ref::<BenchError>().map(BenchError::hint))
    })
}
