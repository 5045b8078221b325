//! Everything that can go wrong in this crate: what, where, and a hint how to mend it.

/// Errors of the model crate. [`ModelError::hint`] says what to do; [`ModelError::code`] is stable.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A configuration breaks one of its rules.
    #[error("config key `{key}`: {problem}")]
    Config {
        /// Dotted path of the key.
        key: &'static str,
        /// The broken rule with the value found.
        problem: String,
    },
    /// A word outside the model's vocabulary.
    #[error("not understood: `{word}`")]
    NotUnderstood {
        /// The word as typed, lower-cased.
        word: String,
        /// Known words that look alike.
        near: Vec<String>,
    },
    /// An instruction that is empty or too long.
    #[error("instruction {problem}")]
    Instruction {
        /// What is wrong with its length.
        problem: String,
    },
    /// A picture that can't be used.
    #[error("picture {problem}")]
    Picture {
        /// What is wrong with it.
        problem: String,
    },
    /// An option out of its range.
    #[error("option `{name}`: {problem}")]
    Option {
        /// The option.
        name: &'static str,
        /// The broken rule with the value found.
        problem: String,
    },
    /// A plan the editor is told to carry out and can't.
    #[error("plan{}: {problem}", step.map_or_else(String::new, |step| format!(", step {step}")))]
    Plan {
        /// The step, from 1; none if it is about the whole plan.
        step: Option<usize>,
        /// What is wrong with it.
        problem: String,
    },
    /// A tensor the model needs is not there, or one it does not know is.
    #[error("tensors do not fit the model: {0}")]
    Tensors(String),
    /// A checkpoint whose tensors do not fit its configuration: every difference, not just the first.
    #[error("{what} does not fit its configuration:\n  {}", problems.join("\n  "))]
    Checkpoint {
        /// The model that was to be loaded.
        what: String,
        /// One line for each tensor: its name, where it is, what is wrong.
        problems: Vec<String>,
        /// What to do about it.
        fix: String,
    },
    /// Bytes that are not what the format asks for.
    #[error("{what}: {problem}")]
    Format {
        /// The file or part of it.
        what: String,
        /// Where it breaks the format.
        problem: String,
    },
    /// A format version this build can't read.
    #[error("{what} has version {found}; this build reads version {supported}")]
    Version {
        /// The file.
        what: String,
        /// Its version.
        found: u64,
        /// What is supported.
        supported: u64,
    },
    /// Content that does not match its recorded SHA-256.
    #[error("{what} is damaged: SHA-256 is {found}, expected {expected}")]
    Hash {
        /// The file or chunk.
        what: String,
        /// Recorded hash, hex.
        expected: String,
        /// Computed hash, hex.
        found: String,
    },
    /// A chunk could not be read at all.
    #[error("{what} can't be read: {problem}")]
    Read {
        /// The chunk.
        what: String,
        /// The reason the reader gave.
        problem: String,
    },
    /// The model produced a number that is no number.
    #[error("the model's logits hold a NaN at token {index}")]
    NotANumber {
        /// Index of the generated token.
        index: usize,
    },
    /// The device failed to give its data back.
    #[error("the device failed: {0}")]
    Device(String),
    /// The caller stopped the edit.
    #[error("stopped after {tokens} tokens")]
    Stopped {
        /// Tokens generated so far.
        tokens: usize,
    },
}

impl ModelError {
    /// What the reader of the error can do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Config { .. } => "correct the key in the model's config and try again".into(),
            Self::NotUnderstood { near, .. } if near.is_empty() => {
                "say it with other words; the model's card lists those it knows".into()
            }
            Self::NotUnderstood { near, .. } => format!("did you mean `{}`?", near.join("`, `")),
            Self::Instruction { .. } => "write one short sentence, such as `remove the cat`".into(),
            Self::Picture { .. } => "open a PNG, JPEG or WebP picture of at least 1×1 pixel".into(),
            Self::Option { .. } => "give the option a value in its range".into(),
            Self::Plan { .. } => {
                "write the plan as `trainer edit --json` prints it, rows and columns from 0".into()
            }
            Self::Tensors(_) => {
                "the weights belong to another model or version; export them again".into()
            }
            Self::Checkpoint { fix, .. } => fix.clone(),
            Self::Format { .. } | Self::Hash { .. } => {
                "fetch the file again, or write it again with `trainer export`".into()
            }
            Self::Version { .. } => "update this program, or export the model again with it".into(),
            Self::Read { .. } => "check that the file is there and readable".into(),
            Self::NotANumber { .. } => "the weights are damaged; use another checkpoint".into(),
            Self::Device(_) => "try the CPU backend".into(),
            Self::Stopped { .. } => {
                "run the edit again with the same seed to get the same result".into()
            }
        }
    }

    /// Stable code of the error, as `docs/WEB.md` lists them.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotUnderstood { .. } => "E_NOT_UNDERSTOOD",
            Self::Instruction { .. } => "E_INSTRUCTION",
            Self::Picture { .. } => "E_IMAGE_DECODE",
            Self::Option { .. } | Self::Config { .. } | Self::Plan { .. } => "E_OPTION",
            Self::Tensors(_) | Self::Checkpoint { .. } => "E_TENSOR_MISSING",
            Self::Format { .. } => "E_FORMAT",
            Self::Version { .. } => "E_VERSION",
            Self::Hash { .. } => "E_HASH_MISMATCH",
            Self::Read { .. } => "E_HTTP",
            Self::NotANumber { .. } | Self::Device(_) => "E_SELF_TEST",
            Self::Stopped { .. } => "E_STOPPED",
        }
    }
}
