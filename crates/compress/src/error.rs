//! What can go wrong in compression.

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
    /// A model that is quantized already.
    #[error("{} is quantized already ({tensor} is in int8); quantize the model that it was made from", path.display())]
    Quantized {
        /// The model.
        path: PathBuf,
        /// A quantized tensor of it.
        tensor: String,
    },
    /// A weight that is no number.
    #[error("{tensor} of {} has a weight that is {found}; expected finite numbers", path.display())]
    NotFinite {
        /// The model.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// What it has.
        found: f32,
    },
    /// The model is at fault.
    #[error(transparent)]
    Model(#[from] luban_model::Error),
    /// A file could not be read or written, or is not what it says.
    #[error(transparent)]
    Artifact(#[from] luban_artifact::Error),
    /// The model could not be measured.
    #[error(transparent)]
    Eval(#[from] luban_eval::Error),
}

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;
