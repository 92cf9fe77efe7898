//! Where an artifact comes from: the tree of what it was made from, down to the files of a corpus.
//!
//! Parents are found by their digest, never by their name alone: at the place that the manifest remembers, beside
//! the artifact, then in folders to search. One that is not found is *unverifiable*: neither good nor tampered.

mod find;
mod render;
mod sources;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

pub(crate) use find::{Finder, Parent};
pub use render::{RenderOptions, render};
use serde::Serialize;
pub use sources::{SOURCES, SourceFile, SourceGroup, groups};

use crate::error::Result;
use crate::folder::Artifact;
use crate::manifest::{Input, Kind, Manifest};
use luban_base::digest::Digest;

/// A tree deeper than this is cut; no chain of stages comes near it.
pub(crate) const DEPTH_MAX: usize = 64;

/// An artifact in the tree, and what it was made from.
#[derive(Clone, Debug, Serialize)]
pub struct Node {
    /// What the artifact above used it as; `None` at the root.
    pub role: Option<String>,
    /// What it is.
    pub kind: Kind,
    /// Its identity.
    pub digest: Digest,
    /// Whether it was found, and what is known of it.
    pub state: State,
    /// What it was made from.
    pub inputs: Vec<Node>,
    /// For a corpus, the files that it was made from, by group.
    pub sources: Vec<SourceGroup>,
}

/// Whether an artifact of the tree was found.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It was found.
    Found(Details),
    /// It stands further up in the tree already, where its inputs are.
    Above {
        /// Its folder.
        dir: PathBuf,
    },
    /// It was not found, so that nothing can be said of it.
    Unverifiable {
        /// Where it was remembered to stand, and what is there now.
        why: String,
    },
    /// Its place holds something damaged.
    Damaged {
        /// The folder.
        dir: PathBuf,
        /// What is wrong.
        why: String,
    },
}

/// What the manifest of an artifact that was found says, in short.
#[derive(Clone, Debug, Serialize)]
pub struct Details {
    /// Its folder.
    pub dir: PathBuf,
    /// The stage that made it.
    pub stage: Option<String>,
    /// Where it was pulled from.
    pub source: Option<String>,
    /// The program that made it.
    pub program: String,
    /// When it was made, in seconds since 1970-01-01 UTC.
    pub created_unix_s: u64,
    /// How many files it has.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
}

impl Details {
    fn of(dir: &Path, manifest: &Manifest) -> Self {
        Self {
            dir: dir.to_owned(),
            stage: manifest.stage.clone(),
            source: manifest.settings.get("source").and_then(|source| source.as_str()).map(str::to_owned),
            program: manifest.program.clone(),
            created_unix_s: manifest.created_unix_s,
            files: manifest.files.len(),
            bytes: manifest.files.values().map(|entry| entry.size).fold(0, u64::saturating_add),
        }
    }
}

/// The tree above an artifact. Manifests and source lists are read and checked, other files are not: that is
/// [`crate::verify::verify`].
///
/// # Errors
/// If the artifact itself cannot be opened. What is wrong with its parents is in their [`State`].
pub fn tree(dir: &Path, search: &[PathBuf]) -> Result<Node> {
    let artifact = Artifact::open(dir)?;
    let mut walk = Walk { finder: Finder::new(search), seen: BTreeSet::new() };
    Ok(walk.node(None, &artifact, 0))
}

struct Walk {
    finder: Finder,
    seen: BTreeSet<Digest>,
}

impl Walk {
    fn node(&mut self, role: Option<String>, artifact: &Artifact, depth: usize) -> Node {
        let manifest = artifact.manifest();
        let mut node = Node {
            role,
            kind: manifest.kind,
            digest: artifact.digest(),
            state: State::Above { dir: artifact.dir().to_owned() },
            inputs: Vec::new(),
            sources: Vec::new(),
        };
        if !self.seen.insert(node.digest) {
            return node;
        }
        node.state = State::Found(Details::of(artifact.dir(), manifest));
        if depth < DEPTH_MAX {
            node.inputs = manifest.inputs.iter().map(|input| self.input(input, artifact.dir(), depth + 1)).collect();
        }
        if manifest.kind == Kind::Corpus && artifact.exists(SOURCES) {
            match groups(artifact) {
                Ok(groups) => node.sources = groups,
                Err(error) => {
                    node.state = State::Damaged { dir: artifact.dir().to_owned(), why: error.to_string() };
                }
            }
        }
        node
    }

    fn input(&mut self, input: &Input, from: &Path, depth: usize) -> Node {
        let role = Some(input.role.clone());
        let state = match self.finder.find(input, from) {
            Parent::Found(artifact) => return self.node(role, &artifact, depth),
            Parent::Damaged { dir, error } => State::Damaged { dir, why: error.to_string() },
            Parent::Missing { why } => State::Unverifiable { why },
        };
        Node { role, kind: input.kind, digest: input.digest, state, inputs: Vec::new(), sources: Vec::new() }
    }
}
