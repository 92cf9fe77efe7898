//! What can go wrong between raw data and batches.

use std::path::{Path, PathBuf};

/// The crate's result.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, where, and what was expected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An artifact could not be read or written.
    #[error(transparent)]
    Artifact(#[from] luban_artifact::Error),
    /// A text could not be encoded.
    #[error(transparent)]
    Text(#[from] luban_text::Error),
    /// The operating system refused something.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        what: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The data that was asked for is not there.
    #[error("there is no data at {}", .0.display())]
    Missing(PathBuf),
    /// A folder without files.
    #[error("{} holds no files (hidden files, links to folders, caches and artifacts are not read)", .0.display())]
    Empty(PathBuf),
    /// Every document was dropped.
    #[error("no usable text in {place}: of {documents} document(s) all were dropped ({reasons})")]
    Unusable {
        /// Which data.
        place: String,
        /// Documents looked at.
        documents: u64,
        /// How many were dropped by which rule.
        reasons: String,
    },
    /// One text that cannot become two.
    #[error(
        "{place} is too little text: after cleaning it is one piece that cannot be cut into training and validation"
    )]
    TooLittle {
        /// Which data.
        place: String,
    },
    /// A source that is given for one side of a corpus and has nothing for it.
    #[error("nothing is left of {place} for {split}: its texts were dropped by the rules, or as duplicates")]
    EmptySide {
        /// Which data.
        place: String,
        /// The side.
        split: crate::Split,
    },
    /// A line of a JSONL file that does not hold what it should.
    #[error("{}: line {line}: {reason}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line's number, from 1.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// A compressed file or a table that is damaged, or not what was asked for.
    #[error("{} cannot be unpacked: {reason}", path.display())]
    Packed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The program's own dependencies cannot be listed.
    #[error("the dependencies' sources cannot be listed: {0}; name a file or folder of your own text instead")]
    Cargo(String),
    /// A file is no longer what it was a moment ago.
    #[error("{} changed while the corpus was built from it; build again", .0.display())]
    Changed(PathBuf),
    /// An option that makes no sense.
    #[error("{what} is {found}; expected {expected}")]
    Option {
        /// The option's name.
        what: &'static str,
        /// Its value.
        found: String,
        /// What it may be.
        expected: &'static str,
    },
    /// A corpus file is not what the corpus's manifest promises.
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
    /// A corpus without enough text for one training sequence.
    #[error("the {split} texts of {} have {tokens} tokens; one sequence takes {needed}: use more text or a shorter context", dir.display())]
    TooShort {
        /// The corpus.
        dir: PathBuf,
        /// Which side of it.
        split: crate::Split,
        /// Tokens there are.
        tokens: u64,
        /// Tokens of one sequence and its last target.
        needed: usize,
    },
    /// A tokenizer that cannot mark where documents end.
    #[error("the tokenizer has no end-of-text token, which separates documents")]
    NoEndOfText,
    /// A loader position that does not fit the corpus.
    #[error("the saved position does not fit the corpus at {}: {reason}", dir.display())]
    Position {
        /// The corpus.
        dir: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// The job was asked to stop.
    #[error("building the corpus was cancelled")]
    Cancelled,
}

/// Names what was tried, and where, when an operation of the system fails.
pub(crate) trait Context<T> {
    fn context(self, what: &'static str, path: &Path) -> Result<T>;
}

impl<T> Context<T> for std::io::Result<T> {
    fn context(self, what: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| Error::Io { what, path: path.to_owned(), source })
    }
}
