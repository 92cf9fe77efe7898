//! What can go wrong in inference.

use std::path::PathBuf;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The model's description, weights or files.
    #[error(transparent)]
    Model(#[from] luban_model::Error),
    /// The model's folder.
    #[error(transparent)]
    Artifact(#[from] luban_artifact::Error),
    /// The model's tokenizer.
    #[error(transparent)]
    Text(#[from] luban_text::Error),
    /// A model that cannot do what was asked of it.
    #[error("this model cannot {what}: {why}")]
    Unsupported {
        /// What was asked.
        what: &'static str,
        /// Why not.
        why: String,
    },
    /// An option out of range.
    #[error("{what} is {found}; {expected}")]
    Option {
        /// Which option.
        what: &'static str,
        /// What it was.
        found: String,
        /// What it may be.
        expected: String,
    },
    /// A file of the model that does not say what it should.
    #[error("{file}: {what}")]
    File {
        /// Its name in the folder.
        file: String,
        /// What is wrong with it.
        what: String,
    },
    /// The engine's thread could not be started, or the machine refused something.
    #[error("cannot {what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// A request that the engine did not take.
    #[error(transparent)]
    Refused(#[from] crate::request::Refused),
    /// A request that the engine took and could not finish.
    #[error("the request failed: {0}")]
    Failed(String),
    /// A folder that is no model.
    #[error("{} holds no model: {why}", path.display())]
    NoModel {
        /// The folder.
        path: PathBuf,
        /// What is missing.
        why: String,
    },
}

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;
