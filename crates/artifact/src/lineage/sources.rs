//! The files that a corpus was made from, as its `sources.jsonl` lists them.

use std::collections::BTreeMap;

use luban_base::digest::Digest;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::folder::Artifact;

/// The list's name in a corpus artifact: one JSON object a line.
pub const SOURCES: &str = "sources.jsonl";

/// A file that went into a corpus, or was left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceFile {
    /// Where it stood.
    pub path: String,
    /// What it belongs to: a crate's name, a folder.
    #[serde(default)]
    pub group: String,
    /// The licence, if it is known.
    #[serde(default)]
    pub license: Option<String>,
    /// Its content's digest, if it could be read.
    #[serde(default)]
    pub sha256: Option<Digest>,
    /// Its length.
    #[serde(default)]
    pub bytes: u64,
    /// Whether any of it is in the corpus.
    pub kept: bool,
    /// Why not.
    #[serde(default)]
    pub reason: Option<String>,
}

/// The files of one group.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SourceGroup {
    /// Its name.
    pub group: String,
    /// Its licence, if it is known.
    pub license: Option<String>,
    /// Files that are in the corpus.
    pub kept: usize,
    /// Their bytes.
    pub kept_bytes: u64,
    /// All files, those left out too, in the list's order.
    pub files: Vec<SourceFile>,
}

/// Reads and checks the source list of a corpus; groups are sorted by name and licence.
///
/// # Errors
/// If the list is missing, is not what the manifest says, or does not read.
pub fn groups(corpus: &Artifact) -> Result<Vec<SourceGroup>> {
    let path = corpus.path(SOURCES)?;
    let bytes = corpus.read(SOURCES)?;
    let mut groups: BTreeMap<(String, Option<String>), SourceGroup> = BTreeMap::new();
    let lines = bytes.split(|&byte| byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty());
    for (index, line) in lines {
        let file: SourceFile = serde_json::from_slice(line)
            .map_err(|error| Error::corrupt(&path, format!("line {}", index + 1), "a source file", error))?;
        let (group, license) = (file.group.clone(), file.license.clone().filter(|license| !license.is_empty()));
        let entry = groups.entry((group.clone(), license.clone()));
        let entry = entry.or_insert(SourceGroup { group, license, kept: 0, kept_bytes: 0, files: Vec::new() });
        if file.kept {
            entry.kept += 1;
            entry.kept_bytes = entry.kept_bytes.saturating_add(file.bytes);
        }
        entry.files.push(file);
    }
    Ok(groups.into_values().collect())
}
