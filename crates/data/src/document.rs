//! The unit of a corpus.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One text of a corpus, as a line of `train.jsonl` or `valid.jsonl` holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// The text itself.
    pub text: String,
    /// Where it came from: a file's path within its source; `:LINE` for a record of a JSONL file, `+BYTES` for a
    /// piece that begins further on.
    pub source: String,
    /// What must not be torn apart between training and validation: a crate, a file, a record.
    pub group: String,
    /// Its licence, or `unknown`.
    pub license: String,
}

/// The two sides of a corpus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// What models learn from.
    Train,
    /// What they are measured on, and never see.
    Valid,
}

impl Split {
    /// The file that holds this side.
    pub fn file(self) -> &'static str {
        match self {
            Self::Train => "train.jsonl",
            Self::Valid => "valid.jsonl",
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Train => "training",
            Self::Valid => "validation",
        })
    }
}
