//! An artifact that lies on disk.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use luban_base::atomic::{self, FileEntry};
use luban_base::digest::{self, Digest};
use luban_base::fault::{self, Guard};

use crate::error::{Context, Error, Result};
use crate::manifest::{Kind, MANIFEST, MANIFEST_BYTES_MAX, Manifest};
use crate::mapped::{Mapped, digest_of};

/// A folder whose manifest was read and found whole. Its files are checked as they are read.
#[derive(Clone, Debug)]
pub struct Artifact {
    dir: PathBuf,
    manifest: Manifest,
    digest: Digest,
}

impl Artifact {
    /// Opens an artifact: reads its manifest and checks its form, file names and signature, but not yet the files,
    /// nor whether the signer is trusted (that does [`crate::verify::verify`]).
    ///
    /// # Errors
    /// If there is no manifest, or it is damaged or of another format.
    pub fn open(dir: &Path) -> Result<Self> {
        // Where a file system cannot swap names, a save that was killed may have left the folder beside its place.
        // That it cannot be brought back shows below, as a folder that is missing.
        let _ = atomic::recover(dir);
        let path = dir.join(MANIFEST);
        let bytes = match read_manifest(&path) {
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound && dir.is_dir() => {
                return Err(Error::NotAnArtifact { dir: dir.to_owned() });
            }
            other => other?,
        };
        Self::from_manifest(dir, Manifest::parse(&bytes, &path)?)
    }

    pub(crate) fn from_manifest(dir: &Path, manifest: Manifest) -> Result<Self> {
        Ok(Self { dir: dir.to_owned(), digest: manifest.digest(), manifest })
    }

    /// The artifact, if it is of the kind that is needed.
    ///
    /// # Errors
    /// [`Error::Kind`] if it is not.
    pub fn expect_kind(self, expected: Kind) -> Result<Self> {
        match self.manifest.kind {
            found if found == expected => Ok(self),
            found => Err(Error::Kind { dir: self.dir, expected, found }),
        }
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What its manifest says.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        self.manifest.kind
    }

    /// Its identity.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Whether it has a file of this name.
    pub fn exists(&self, name: &str) -> bool {
        self.manifest.files.contains_key(name)
    }

    /// Where a file lies. Its content is not checked: prefer [`Artifact::read`] and [`Artifact::map`].
    ///
    /// # Errors
    /// If the manifest does not list it.
    pub fn path(&self, name: &str) -> Result<PathBuf> {
        self.entry(name).map(|(path, _)| path)
    }

    /// Reads a file whole and checks its digest.
    ///
    /// # Errors
    /// If the manifest does not list it, or it is not what the manifest says.
    pub fn read(&self, name: &str) -> Result<Vec<u8>> {
        let (path, entry) = self.entry(name)?;
        let file = File::open(&path).context("open", &path)?;
        check_size(&path, &entry, file.metadata().context("look at", &path)?.len())?;
        let mut bytes = Vec::with_capacity(usize::try_from(entry.size).unwrap_or(0));
        file.take(entry.size).read_to_end(&mut bytes).context("read", &path)?;
        check_digest(&path, &entry, digest::of_bytes(&bytes))?;
        Ok(bytes)
    }

    /// Maps a file and checks its digest, unless that was done before and the file has not changed since (by device,
    /// inode, size and times).
    ///
    /// # Errors
    /// If the manifest does not list it, or it is not what the manifest says.
    pub fn map(&self, name: &str) -> Result<Mapped> {
        let (path, entry) = self.entry(name)?;
        let file = File::open(&path).context("open", &path)?;
        let (mapped, metadata) = Mapped::of(&file, &path)?;
        check_size(&path, &entry, metadata.len())?;
        check_digest(&path, &entry, digest_of(&mapped, &metadata))?;
        Ok(mapped)
    }

    /// Reads every file and checks its digest, remembering nothing from earlier checks. Gives the bytes checked.
    ///
    /// # Errors
    /// The first file that is not what the manifest says.
    pub fn check_files(&self) -> Result<u64> {
        let mut checked = 0;
        for (name, entry) in &self.manifest.files {
            let path = self.dir.join(name);
            let size = fs::metadata(&path).context("look at", &path)?.len();
            check_size(&path, entry, size)?;
            let (found, read) = digest::of_file(&path).context("read", &path)?;
            check_size(&path, entry, read)?;
            check_digest(&path, entry, found)?;
            checked += entry.size;
        }
        Ok(checked)
    }

    fn entry(&self, name: &str) -> Result<(PathBuf, FileEntry)> {
        match self.manifest.files.get(name) {
            Some(entry) => Ok((self.dir.join(name), *entry)),
            None => Err(Error::NoFile { dir: self.dir.clone(), name: name.to_owned() }),
        }
    }
}

fn check_size(path: &Path, entry: &FileEntry, found: u64) -> Result<()> {
    if found != entry.size && fault::is_on(Guard::Bounds) {
        let bytes = |count: u64| format!("{count} bytes");
        return Err(Error::corrupt(path, "its length", bytes(entry.size), bytes(found)));
    }
    Ok(())
}

fn check_digest(path: &Path, entry: &FileEntry, found: Digest) -> Result<()> {
    if found != entry.sha256 && fault::is_on(Guard::Digest) {
        return Err(Error::wrong_digest(path, entry.sha256, found));
    }
    Ok(())
}

fn read_manifest(path: &Path) -> Result<Vec<u8>> {
    let file = File::open(path).context("open", path)?;
    let size = file.metadata().context("look at", path)?.len();
    if size > MANIFEST_BYTES_MAX {
        return Err(Error::corrupt(path, "its length", format!("at most {MANIFEST_BYTES_MAX} bytes"), size));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    file.take(MANIFEST_BYTES_MAX).read_to_end(&mut bytes).context("read", path)?;
    Ok(bytes)
}
