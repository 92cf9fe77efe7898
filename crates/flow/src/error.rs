//! What can go wrong while recipes are read and stages run.

use std::path::PathBuf;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A recipe that says something impossible, and where.
    #[error("{file}{}: {what}", line.map(|line| format!(", line {line}")).unwrap_or_default())]
    Recipe {
        /// The recipe's file, or what stands for it.
        file: String,
        /// The line, counted from 1; none for what the command line added.
        line: Option<usize>,
        /// What is wrong.
        what: String,
    },
    /// A stage that failed.
    #[error("stage '{name}' failed")]
    Stage {
        /// Its name in the recipe.
        name: String,
        /// Why.
        #[source]
        source: Box<Error>,
    },
    /// An input that is missing or of the wrong kind.
    #[error("{role}: {what}")]
    Input {
        /// The option or key.
        role: &'static str,
        /// What is wrong with it.
        what: String,
    },
    /// A path that is not UTF-8.
    #[error("the path {} is not UTF-8, so that manifests cannot name it", path.display())]
    Path {
        /// The path.
        path: PathBuf,
    },
    /// Options that cannot be written as JSON.
    #[error("the settings of {stage} cannot be recorded")]
    Settings {
        /// The stage.
        stage: &'static str,
        /// Why.
        source: serde_json::Error,
    },
    /// A file that could not be read or written.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The person stopped it.
    #[error("stopped{}", kept.as_ref().map(|kept| format!("; {kept}")).unwrap_or_default())]
    Interrupted {
        /// What was saved, so that the same command goes on from there.
        kept: Option<String>,
    },
    /// An artifact, a key or a pull is at fault.
    #[error(transparent)]
    Artifact(#[from] luban_artifact::Error),
    /// The disk refused something while a file was written.
    #[error(transparent)]
    Disk(#[from] luban_base::Error),
    /// A model that cannot be read or written.
    #[error(transparent)]
    Model(#[from] luban_model::Error),
    /// The corpus or its sources are at fault.
    #[error(transparent)]
    Data(#[from] luban_data::Error),
    /// The tokenizer is at fault.
    #[error(transparent)]
    Text(#[from] luban_text::Error),
    /// Training failed.
    #[error(transparent)]
    Train(#[from] luban_train::Error),
    /// Quantization failed.
    #[error(transparent)]
    Compress(#[from] luban_compress::Error),
    /// Evaluation failed.
    #[error(transparent)]
    Eval(#[from] luban_eval::Error),
    /// The model cannot be run.
    #[error(transparent)]
    Engine(#[from] luban_engine::Error),
    /// The server failed.
    #[error(transparent)]
    Serve(#[from] luban_serve::Error),
    /// There is no data to begin with.
    #[error("{0}")]
    NoData(String),
}
