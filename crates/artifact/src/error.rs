//! What can go wrong with an artifact.

use std::io;
use std::path::{Path, PathBuf};

use luban_base::digest::Digest;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The disk refused something while a file or folder was written.
    #[error(transparent)]
    Disk(#[from] luban_base::Error),
    /// The operating system refused something.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        what: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is not what it should be: damaged, cut short or changed.
    #[error("{} is corrupt: {what}: expected {expected}, found {found}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Which part of it.
        what: String,
        /// What should be there.
        expected: String,
        /// What is.
        found: String,
    },
    /// A folder without a manifest where an artifact was asked for.
    #[error("{} is not an artifact: it has no {}", dir.display(), crate::MANIFEST)]
    NotAnArtifact {
        /// The folder.
        dir: PathBuf,
    },
    /// An artifact of the wrong kind.
    #[error("{} is a {found} artifact; expected a {expected}", dir.display())]
    Kind {
        /// The artifact's folder.
        dir: PathBuf,
        /// What was asked for.
        expected: crate::Kind,
        /// What it is.
        found: crate::Kind,
    },
    /// A file that the folder does not have, or that its manifest does not list.
    #[error("{} has no file {name:?}", dir.display())]
    NoFile {
        /// The folder.
        dir: PathBuf,
        /// The file's name.
        name: String,
    },
    /// Something that this version does not read.
    #[error("{}: {what} is not supported: expected {expected}, found {found}", path.display())]
    Unsupported {
        /// The file or folder.
        path: PathBuf,
        /// Which part of it.
        what: &'static str,
        /// What this version reads.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A save that would destroy something that is not an artifact.
    #[error("refusing to replace {}: expected an artifact, an empty folder or nothing, found {found}", target.display())]
    Occupied {
        /// The place.
        target: PathBuf,
        /// What stands there.
        found: String,
    },
    /// Tensors that cannot be written as they were given.
    #[error("cannot write tensor {name:?}: expected {expected}, got {got}")]
    Tensor {
        /// The tensor.
        name: String,
        /// What should have been given.
        expected: String,
        /// What was.
        got: String,
    },
    /// A model source that is not understood or not known.
    #[error("cannot use the model source {spec:?}: {why}")]
    Source {
        /// The source as it was given.
        spec: String,
        /// What is wrong with it.
        why: String,
    },
    /// A model that could not be fetched.
    #[error("cannot fetch {from}: {why}")]
    Fetch {
        /// From where.
        from: String,
        /// What went wrong.
        why: String,
    },
}

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn corrupt(path: &Path, what: impl Into<String>, expected: impl ToString, found: impl ToString) -> Self {
        Self::Corrupt {
            path: path.to_owned(),
            what: what.into(),
            expected: expected.to_string(),
            found: found.to_string(),
        }
    }

    pub(crate) fn wrong_digest(path: &Path, expected: Digest, found: Digest) -> Self {
        Self::corrupt(path, "SHA-256", expected, found)
    }

    pub(crate) fn fetch(from: impl Into<String>, why: impl ToString) -> Self {
        Self::Fetch { from: from.into(), why: why.to_string() }
    }
}

/// Names what was tried, and where, when an operation of the system fails.
pub(crate) trait Context<T> {
    fn context(self, what: &'static str, path: &Path) -> Result<T>;
}

impl<T> Context<T> for io::Result<T> {
    fn context(self, what: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| Error::Io { what, path: path.to_owned(), source })
    }
}
