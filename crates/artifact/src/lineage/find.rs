//! Finding an artifact by its digest.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::folder::Artifact;
use crate::manifest::{Input, MANIFEST};

/// The most folders that are looked into at one place.
const FOLDERS_MAX: usize = 10_000;

/// What was found of a parent.
pub(crate) enum Parent {
    /// The artifact with the digest.
    Found(Box<Artifact>),
    /// Nothing with the digest; and where it should stand is a manifest that is damaged or changed.
    Damaged { dir: PathBuf, error: Box<Error> },
    /// Nothing.
    Missing { why: String },
}

/// Looks for artifacts by digest.
pub(crate) struct Finder {
    search: Vec<PathBuf>,
}

impl Finder {
    pub(crate) fn new(search: &[PathBuf]) -> Self {
        Self { search: search.to_vec() }
    }

    /// Looks for an input of the artifact at `from`: where it stood, beside `from`, in the search folders.
    pub(crate) fn find(&self, input: &Input, from: &Path) -> Parent {
        let hinted = plain(&from.join(&input.path));
        let at_hint = Artifact::open(&hinted);
        let elsewhere = || {
            let beside = std::iter::once(parent_of(from));
            beside.chain(self.search.iter().cloned()).flat_map(|place| artifacts_in(&place))
        };
        match at_hint {
            Ok(artifact) if artifact.digest() == input.digest => return Parent::Found(Box::new(artifact)),
            _ => {}
        }
        let matching = |dir: PathBuf| Artifact::open(&dir).ok().filter(|found| found.digest() == input.digest);
        if let Some(artifact) = elsewhere().find_map(matching) {
            return Parent::Found(Box::new(artifact));
        }
        let place = hinted.display();
        match at_hint {
            Ok(other) => Parent::Missing { why: format!("{place} now holds another artifact, {}", other.digest()) },
            Err(error @ (Error::Corrupt { .. } | Error::Unsupported { .. })) => {
                Parent::Damaged { dir: hinted, error: Box::new(error) }
            }
            Err(_) => Parent::Missing { why: format!("it is not at {place} any more") },
        }
    }
}

/// The folder itself and those in it that have a manifest, in order of their names.
fn artifacts_in(place: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(place).into_iter().flatten().take(FOLDERS_MAX);
    let mut folders: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    folders.sort();
    folders.insert(0, place.to_owned());
    folders.retain(|folder| folder.join(MANIFEST).is_file());
    folders
}

/// The folder that an artifact stands in.
fn parent_of(dir: &Path) -> PathBuf {
    let parent = |dir: &Path| dir.parent().map(Path::to_owned);
    fs::canonicalize(dir).ok().as_deref().and_then(parent).or_else(|| parent(dir)).unwrap_or_default()
}

/// The same place without steps up and down, where it exists; for messages.
fn plain(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}
