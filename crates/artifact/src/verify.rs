//! Checking an artifact and everything that it was made from.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use luban_base::digest::Digest;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::folder::Artifact;
use crate::keys::Trusted;
use crate::lineage::{DEPTH_MAX, Finder, Parent};
use crate::manifest::{Kind, MANIFEST};

/// What a verification found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The artifacts that were checked, in order, the damaged one included.
    pub checked: Vec<Checked>,
    /// The first thing that is wrong: the first that was tampered with, if there is any (the check ends there), else
    /// the first untrusted signer, else the first artifact that was not found.
    pub problem: Option<Problem>,
}

impl Report {
    /// Whether everything was found, whole, and signed by trusted keys.
    pub fn is_good(&self) -> bool {
        self.problem.is_none()
    }
}

/// An artifact that was checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// Its folder.
    pub dir: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// Its identity.
    pub digest: Digest,
    /// How many files it lists.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Plain files in the folder that the manifest does not list; Luban never reads them.
    pub unlisted: Vec<String>,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The artifact's folder.
    pub dir: PathBuf,
    /// The file in it.
    pub file: String,
    /// What sort of problem it is.
    pub what: What,
    /// What should be there.
    pub expected: String,
    /// What is.
    pub found: String,
}

/// Sorts of problems, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// Something needed for the check is not there or not understood: neither good nor tampered.
    Unverifiable,
    /// Whole, but signed by a key that is not in the list of trusted ones.
    UntrustedSigner,
    /// Damaged or changed.
    Tampered,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unverifiable => "unverifiable",
            Self::UntrustedSigner => "untrusted signer",
            Self::Tampered => "tampered",
        })
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.dir.join(&self.file);
        write!(f, "{}: {}: expected {}, found {}", self.what, path.display(), self.expected, self.found)
    }
}

/// Checks an artifact: its manifest to the byte, its signature and whether the signer is trusted, the digest of every
/// file; then the same for everything it was made from, found by digest as [`crate::lineage::tree`] does. Nothing is
/// taken from caches.
///
/// # Errors
/// If the folder is no artifact, or something cannot be read at all. What is wrong with the artifacts is in the
/// report.
pub fn verify(dir: &Path, search: &[PathBuf], trusted: &Trusted) -> Result<Report> {
    let mut walk = Walk {
        finder: Finder::new(search),
        trusted,
        seen: BTreeSet::new(),
        report: Report { checked: Vec::new(), problem: None },
    };
    match Artifact::open(dir) {
        Ok(artifact) => walk.artifact(&artifact, 0)?,
        Err(error) => walk.failure(dir, error)?,
    }
    Ok(walk.report)
}

struct Walk<'a> {
    finder: Finder,
    trusted: &'a Trusted,
    seen: BTreeSet<Digest>,
    report: Report,
}

impl Walk<'_> {
    fn artifact(&mut self, artifact: &Artifact, depth: usize) -> Result<()> {
        let (dir, manifest) = (artifact.dir(), artifact.manifest());
        if !self.seen.insert(artifact.digest()) {
            return Ok(());
        }
        self.report.checked.push(Checked {
            dir: dir.to_owned(),
            kind: manifest.kind,
            digest: artifact.digest(),
            files: manifest.files.len(),
            bytes: manifest.files.values().map(|entry| entry.size).fold(0, u64::saturating_add),
            unlisted: unlisted(artifact),
        });
        if let Err(error) = artifact.check_files() {
            return self.failure(dir, error);
        }
        if !self.trusted.contains(&manifest.signer) {
            let found = format!("a valid one by {}", manifest.signer);
            self.problem(dir, MANIFEST, What::UntrustedSigner, ("a signature by a trusted key", found));
        }
        if depth == DEPTH_MAX && !manifest.inputs.is_empty() {
            let found = "more above".to_owned();
            self.problem(dir, MANIFEST, What::Unverifiable, ("at most 64 artifacts in a chain", found));
            return Ok(());
        }
        for input in &manifest.inputs {
            match self.finder.find(input, dir) {
                Parent::Found(parent) => self.artifact(&parent, depth + 1)?,
                Parent::Damaged { dir, error } => self.failure(&dir, *error)?,
                Parent::Missing { why } => {
                    let expected = format!("the {} {} in one of the folders searched", input.kind, input.digest);
                    self.problem(&dir.join(&input.path), MANIFEST, What::Unverifiable, (&expected, why));
                }
            }
            if self.is_over() {
                break;
            }
        }
        Ok(())
    }

    /// Enters an error that says something about an artifact; hands back any other.
    fn failure(&mut self, dir: &Path, error: Error) -> Result<()> {
        let file = |path: &Path| path.strip_prefix(dir).unwrap_or(path).to_string_lossy().into_owned();
        match error {
            Error::Corrupt { path, what, expected, found } => {
                let found = format!("{found} ({what})");
                self.problem(dir, &file(&path), What::Tampered, (&expected, found));
                Ok(())
            }
            Error::Io { path, source, .. } if source.kind() == ErrorKind::NotFound && dir.join(MANIFEST).exists() => {
                let found = "no such file".to_owned();
                self.problem(dir, &file(&path), What::Tampered, ("a file that the manifest lists", found));
                Ok(())
            }
            Error::Unsupported { path, what, expected, found } => {
                let found = format!("{found} ({what})");
                self.problem(dir, &file(&path), What::Unverifiable, (&expected, found));
                Ok(())
            }
            other => Err(other),
        }
    }

    /// Keeps the worst problem, and of equally bad ones the first.
    fn problem(&mut self, dir: &Path, file: &str, what: What, (expected, found): (&str, String)) {
        if self.report.problem.as_ref().is_none_or(|known| known.what < what) {
            let (dir, file) = (dir.to_owned(), file.to_owned());
            self.report.problem = Some(Problem { dir, file, what, expected: expected.to_owned(), found });
        }
    }

    fn is_over(&self) -> bool {
        self.report.problem.as_ref().is_some_and(|problem| problem.what == What::Tampered)
    }
}

/// Plain files in an artifact's folder that its manifest does not list, sorted.
fn unlisted(artifact: &Artifact) -> Vec<String> {
    let entries = fs::read_dir(artifact.dir()).into_iter().flatten();
    let names =
        entries.filter_map(|entry| entry.ok().filter(|entry| entry.path().is_file())?.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| name != MANIFEST && !artifact.exists(name)).collect();
    names.sort_unstable();
    names
}
