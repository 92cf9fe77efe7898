//! What can be wrong with a description or the weights of a model.

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A spec that no model can have, or beyond this program's bounds.
    #[error("the model's {field} is {found}; {expected}")]
    Spec {
        /// The field at fault.
        field: &'static str,
        /// What it was.
        found: String,
        /// What it may be.
        expected: String,
    },
    /// A `config.json` that cannot be understood.
    #[error("config.json: {0}")]
    Config(String),
    /// A GGUF file whose model cannot be understood.
    #[error("{}: {what}", path.display())]
    Gguf {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// An index of weights in several files that cannot be understood.
    #[error("model.safetensors.index.json: {0}")]
    Index(String),
    /// A weight that is missing or of another shape.
    #[error("weight {name}: expected {expected}, found {found}")]
    Weight {
        /// The weight's name in the file.
        name: String,
        /// What the spec asks for.
        expected: String,
        /// What there was.
        found: String,
    },
    /// An adapter that cannot be read, or not used with the model.
    #[error("the adapter in {}: {what}", path.display())]
    Adapter {
        /// The folder or file.
        path: std::path::PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A batch that the model cannot take.
    #[error("batch: {what} is {found}; the model takes {expected}")]
    Batch {
        /// What was out of bounds.
        what: &'static str,
        /// What it was.
        found: u64,
        /// What is allowed.
        expected: String,
    },
    /// A file that could not be read, or is not what it says.
    #[error(transparent)]
    Artifact(#[from] luban_artifact::Error),
}
