//! The files of a model: an artifact's, or those of a plain folder that somebody brought.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use luban_base::atomic::check_name;
use luban_base::digest::{Digest, Hasher};

use crate::error::{Context, Error, Result};
use crate::folder::Artifact;
use crate::manifest::{Kind, MANIFEST};
use crate::mapped::{Mapped, digest_of};

/// The longest file of an unmanaged folder that is read into memory; weights are mapped instead.
const READ_BYTES_MAX: u64 = 1 << 30;
const FILES_MAX: usize = 100_000;

/// A model's folder, read by file name.
#[derive(Clone, Debug)]
pub struct ModelFiles(Inner);

#[derive(Clone, Debug)]
enum Inner {
    Managed(Box<Artifact>),
    Unmanaged(PathBuf),
}

impl ModelFiles {
    /// Opens a folder: *managed* if it has a `luban.json`, whose digests then hold for every file, *unmanaged*
    /// otherwise.
    ///
    /// # Errors
    /// If it is no folder, or its manifest is damaged.
    pub fn open(dir: &Path) -> Result<Self> {
        match Artifact::open(dir) {
            Ok(artifact) => Ok(Self(Inner::Managed(Box::new(artifact)))),
            Err(Error::NotAnArtifact { .. }) => Ok(Self(Inner::Unmanaged(dir.to_owned()))),
            Err(_) if dir.is_file() => Err(Error::Unsupported {
                path: dir.to_owned(),
                what: "a model in one file",
                expected: "a folder with config.json and model.safetensors".to_owned(),
                found: "a file".to_owned(),
            }),
            Err(error) => Err(error),
        }
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        match &self.0 {
            Inner::Managed(artifact) => artifact.dir(),
            Inner::Unmanaged(dir) => dir,
        }
    }

    /// Whether a manifest vouches for the files.
    pub fn is_managed(&self) -> bool {
        self.artifact().is_some()
    }

    /// The artifact, if it is one.
    pub fn artifact(&self) -> Option<&Artifact> {
        match &self.0 {
            Inner::Managed(artifact) => Some(artifact),
            Inner::Unmanaged(_) => None,
        }
    }

    /// What the manifest says that it is; `None` if there is none.
    pub fn kind(&self) -> Option<Kind> {
        self.artifact().map(Artifact::kind)
    }

    /// Whether it has a file of this name.
    pub fn exists(&self, name: &str) -> bool {
        match &self.0 {
            Inner::Managed(artifact) => artifact.exists(name),
            Inner::Unmanaged(dir) => check_name(name).is_ok() && dir.join(name).is_file(),
        }
    }

    /// Reads a file whole; a managed one's digest is checked.
    ///
    /// # Errors
    /// If it is not there, or not what the manifest says, or too long to be anything but weights.
    pub fn read(&self, name: &str) -> Result<Vec<u8>> {
        match &self.0 {
            Inner::Managed(artifact) => artifact.read(name),
            Inner::Unmanaged(_) => {
                let path = self.unmanaged_path(name)?;
                let size = fs::metadata(&path).context("look at", &path)?.len();
                if size > READ_BYTES_MAX {
                    let expected = format!("at most {READ_BYTES_MAX} bytes");
                    return Err(Error::corrupt(&path, "its length", expected, size));
                }
                fs::read(&path).context("read", &path)
            }
        }
    }

    /// Maps a file; a managed one's digest is checked, once while it does not change.
    ///
    /// # Errors
    /// If it is not there, or not what the manifest says.
    pub fn map(&self, name: &str) -> Result<Mapped> {
        match &self.0 {
            Inner::Managed(artifact) => artifact.map(name),
            Inner::Unmanaged(_) => Mapped::open(&self.unmanaged_path(name)?),
        }
    }

    /// The model's identity: the artifact's, or for a plain folder the SHA-256 over the names, sizes and digests of
    /// its files (which reads them all, unless they were read before and have not changed).
    ///
    /// # Errors
    /// If a file of a plain folder cannot be read.
    pub fn digest(&self) -> Result<Digest> {
        let dir = match &self.0 {
            Inner::Managed(artifact) => return Ok(artifact.digest()),
            Inner::Unmanaged(dir) => dir,
        };
        let mut hasher = Hasher::new();
        for name in plain_files(dir)? {
            let path = dir.join(&name);
            let (mapped, metadata) = Mapped::of(&File::open(&path).context("open", &path)?, &path)?;
            let digest = digest_of(&mapped, &metadata);
            hasher.update(format!("{digest} {} {name}\n", mapped.len()).as_bytes());
        }
        Ok(hasher.finish())
    }

    fn unmanaged_path(&self, name: &str) -> Result<PathBuf> {
        if !self.exists(name) {
            return Err(Error::NoFile { dir: self.dir().to_owned(), name: name.to_owned() });
        }
        Ok(self.dir().join(name))
    }
}

/// Names of the plain files right in a folder, sorted; hidden ones left out.
pub(crate) fn plain_files(dir: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).context("look into", dir)?.take(FILES_MAX) {
        let entry = entry.context("look into", dir)?;
        if let Ok(name) = entry.file_name().into_string()
            && name != MANIFEST
            && !name.starts_with('.')
            && entry.path().is_file()
        {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}
