//! Where texts come from.

mod cargo;
pub(crate) mod jsonl;
mod path;
pub(crate) mod unpack;

use std::path::{Path, PathBuf};

use luban_base::digest;
use serde_json::{Value, json};

use crate::quality::TextKind;
use crate::{Result, Split};
use unpack::{Packing, Plain};

/// What a corpus is built from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The Rust sources of the dependencies of the package or workspace in this folder, as `cargo metadata --locked`
    /// lists them for this machine: packages of registries only. Split by crate; licences from the packages.
    CargoDependencies {
        /// Where its `Cargo.toml` lies.
        manifest_dir: PathBuf,
    },
    /// A file, or a folder with everything in it: text, code, JSONL, tables (CSV, TSV, Parquet) with a column of
    /// texts; each may be compressed (`.gz`, `.zst`). Split by file, or by record of a JSONL file or table.
    Path(PathBuf),
}

/// What the licence of a text is when nothing says it.
pub(crate) const UNKNOWN_LICENSE: &str = "unknown";

/// A file that may hold text.
#[derive(Clone, Debug)]
pub(crate) struct SourceFile {
    /// Where it lies on this machine.
    pub(crate) path: PathBuf,
    /// Its name within the source, the same on every machine.
    pub(crate) name: String,
    /// What it must not be split from.
    pub(crate) group: String,
    pub(crate) license: String,
    pub(crate) format: Format,
    /// How its content is compressed, which the format is that of.
    pub(crate) packing: Option<Packing>,
    pub(crate) bytes: u64,
    /// The side of the corpus that its texts are for, where that is given.
    pub(crate) split: Option<Split>,
    /// Its content, where that no longer is the file itself.
    pub(crate) plain: Option<Plain>,
}

impl SourceFile {
    /// Whether it must be unpacked before it is looked at.
    fn is_packed(&self) -> bool {
        self.packing.is_some() || matches!(self.format, Format::Csv { .. } | Format::Parquet)
    }

    /// Where its content lies.
    pub(crate) fn plain_path(&self) -> &Path {
        self.plain.as_ref().map_or(&self.path, |plain| &plain.path)
    }

    /// Bytes of its content.
    pub(crate) fn plain_bytes(&self) -> u64 {
        self.plain.as_ref().map_or(self.bytes, |plain| plain.bytes)
    }
}

/// How a file is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// As one text.
    Text(TextKind),
    /// As one JSON object a line.
    Jsonl,
    /// The same, with the names of fields that we write ourselves.
    Records,
    /// As a table of one row a line, with names in the first.
    Csv {
        /// What stands between columns.
        delimiter: u8,
    },
    /// As a table by columns.
    Parquet,
}

impl Source {
    /// Every file, sorted by name.
    ///
    /// # Errors
    /// If there is nothing there, or it cannot be listed.
    pub(crate) fn files(&self) -> Result<Vec<SourceFile>> {
        let mut files = match self {
            Self::CargoDependencies { manifest_dir } => cargo::files(manifest_dir)?,
            Self::Path(path) => path::files(path)?,
        };
        files.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(files)
    }

    /// How messages call it.
    pub(crate) fn place(&self) -> String {
        match self {
            Self::CargoDependencies { .. } => "the dependencies' sources".into(),
            Self::Path(path) => path.display().to_string(),
        }
    }

    /// Something that changes when the source does, and is cheap to find out: the digest of `Cargo.lock`, or of all
    /// files' names, sizes and times.
    ///
    /// # Errors
    /// If there is nothing there, or it cannot be listed.
    pub fn fingerprint(&self) -> Result<Value> {
        match self {
            Self::CargoDependencies { manifest_dir } => cargo::fingerprint(manifest_dir),
            Self::Path(path) => {
                let listing = path::listing(path)?;
                Ok(json!({ "files": listing.files, "digest": digest::of_bytes(&listing.text) }))
            }
        }
    }
}
