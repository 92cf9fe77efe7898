//! What can go wrong at the door to the disk.

use std::io;
use std::path::{Path, PathBuf};

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused something.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb: `write`, `flush to disk` …
        what: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file name that could leave its folder, or that the file system would not keep as it is.
    #[error("the file name {name:?} is not allowed: {why}")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A text that should be a SHA-256 digest.
    #[error("expected a digest of 64 lower-case hexadecimal digits, got {got:?}")]
    Digest {
        /// The text, shortened.
        got: String,
    },
    /// Something is in the place where a folder or file should go.
    #[error("cannot write to {}: expected {expected}, found {found}", path.display())]
    Occupied {
        /// The place.
        path: PathBuf,
        /// What may stand there.
        expected: &'static str,
        /// What does.
        found: &'static str,
    },
    /// A staged folder that cannot be committed as it is.
    #[error("cannot commit {}: the file {name:?} {why}", target.display())]
    Staging {
        /// Where the folder was to go.
        target: PathBuf,
        /// The file.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

impl Error {
    /// Whether a rename or a swap found the target changed since it was looked at.
    pub(crate) fn is_race(&self) -> bool {
        use io::ErrorKind::{AlreadyExists, DirectoryNotEmpty, NotFound};
        match self {
            Self::Io { what: "rename to", source, .. } => matches!(source.kind(), AlreadyExists | DirectoryNotEmpty),
            Self::Io { what: "swap in", source, .. } => source.kind() == NotFound,
            _ => false,
        }
    }
}

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Names what was tried, and where, when an operation of the system fails.
pub trait Context<T> {
    /// Turns an [`io::Error`] into [`Error::Io`].
    ///
    /// # Errors
    /// If `self` is an error.
    fn context(self, what: &'static str, path: &Path) -> Result<T>;
}

impl<T> Context<T> for io::Result<T> {
    fn context(self, what: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| Error::Io { what, path: path.to_owned(), source })
    }
}
