//! What can go wrong in evaluation.

use std::path::PathBuf;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting that cannot be used.
    #[error("{name} is {found}; expected {expected}")]
    Setting {
        /// The option's name.
        name: &'static str,
        /// What it was.
        found: String,
        /// What it may be.
        expected: String,
    },
    /// There is nothing to score.
    #[error("{} holds no text to score", from.display())]
    NoText {
        /// Where text was looked for.
        from: PathBuf,
    },
    /// A text that is not UTF-8.
    #[error("{} is not UTF-8 text: byte {offset} is wrong", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// The first byte at fault.
        offset: usize,
    },
    /// A tokenizer without a token to start a text with.
    #[error("the tokenizer of {} has no end-of-text token, so that the first token of a text has nothing before it", model.display())]
    NoEos {
        /// The model.
        model: PathBuf,
    },
    /// A file could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The model cannot be run.
    #[error(transparent)]
    Engine(#[from] luban_engine::Error),
    /// A file is not what it says, or could not be written.
    #[error(transparent)]
    Artifact(#[from] luban_artifact::Error),
    /// The corpus is at fault.
    #[error(transparent)]
    Data(#[from] luban_data::Error),
    /// The tokenizer is at fault.
    #[error(transparent)]
    Text(#[from] luban_text::Error),
}

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;
