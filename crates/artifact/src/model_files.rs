//! The files of a model: an artifact's, or a plain folder or GGUF file that somebody brought.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use luban_base::atomic::check_name;
use luban_base::digest::{Digest, Hasher};

use crate::error::{Context, Error, Result};
use crate::folder::Artifact;
use crate::gguf::{self, Gguf};
use crate::manifest::{Kind, MANIFEST};
use crate::mapped::{Mapped, digest_of};

/// The longest file of an unmanaged folder that is read into memory; weights are mapped instead.
const READ_BYTES_MAX: u64 = 1 << 30;
const FILES_MAX: usize = 100_000;
/// A folder with this file is read by it, whatever else lies there.
const CONFIG: &str = "config.json";

/// A model's folder, read by file name; or a GGUF file, which holds all of a model.
#[derive(Clone, Debug)]
pub struct ModelFiles(Inner);

#[derive(Clone, Debug)]
enum Inner {
    Managed(Box<Artifact>),
    Unmanaged(PathBuf),
    File(Arc<Gguf>),
}

impl ModelFiles {
    /// Opens a folder: *managed* if it has a `luban.json`, whose digests then hold for every file, *unmanaged*
    /// otherwise. A GGUF file is unmanaged too; its structure is checked.
    ///
    /// # Errors
    /// If it is neither, or a manifest or a GGUF file is damaged.
    pub fn open(dir: &Path) -> Result<Self> {
        if dir.is_file() {
            return open_file(dir).map(|gguf| Self(Inner::File(Arc::new(gguf))));
        }
        match Artifact::open(dir) {
            Ok(artifact) => Ok(Self(Inner::Managed(Box::new(artifact)))),
            Err(Error::NotAnArtifact { .. }) => Ok(Self(Inner::Unmanaged(dir.to_owned()))),
            Err(error) => Err(error),
        }
    }

    /// The folder, or the GGUF file.
    pub fn dir(&self) -> &Path {
        match &self.0 {
            Inner::Managed(artifact) => artifact.dir(),
            Inner::Unmanaged(dir) => dir,
            Inner::File(gguf) => gguf.path(),
        }
    }

    /// The GGUF file that the model is, or that its folder holds in place of `config.json`.
    ///
    /// # Errors
    /// If a folder has several, or its one is damaged.
    pub fn gguf(&self) -> Result<Option<Arc<Gguf>>> {
        if let Inner::File(gguf) = &self.0 {
            return Ok(Some(Arc::clone(gguf)));
        }
        if self.exists(CONFIG) {
            return Ok(None);
        }
        let mut names = self.names()?;
        names.retain(|name| !name.contains('/') && name.to_ascii_lowercase().ends_with(".gguf"));
        match names.as_slice() {
            [] => Ok(None),
            [name] => Gguf::open_named(self.map(name)?, &self.dir().join(name)).map(|gguf| Some(Arc::new(gguf))),
            several => Err(Error::Unsupported {
                path: self.dir().to_owned(),
                what: "a folder with several models",
                expected: "one GGUF file, or the path of one of them".to_owned(),
                found: several.join(", "),
            }),
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
            Inner::Unmanaged(_) | Inner::File(_) => None,
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
            Inner::File(_) => false,
        }
    }

    /// Reads a file whole; a managed one's digest is checked.
    ///
    /// # Errors
    /// If it is not there, or not what the manifest says, or too long to be anything but weights.
    pub fn read(&self, name: &str) -> Result<Vec<u8>> {
        match &self.0 {
            Inner::Managed(artifact) => artifact.read(name),
            Inner::Unmanaged(_) | Inner::File(_) => {
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
            Inner::Unmanaged(_) | Inner::File(_) => Mapped::open(&self.unmanaged_path(name)?),
        }
    }

    /// The model's identity: the artifact's; for a plain folder the SHA-256 over the names, sizes and digests of its
    /// files (which reads them all, unless they were read before and have not changed); for a GGUF file its own.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn digest(&self) -> Result<Digest> {
        let dir = match &self.0 {
            Inner::Managed(artifact) => return Ok(artifact.digest()),
            Inner::Unmanaged(dir) => dir,
            Inner::File(gguf) => return digest_at(gguf.path()).map(|(digest, _)| digest),
        };
        let mut hasher = Hasher::new();
        for name in plain_files(dir)? {
            let (digest, length) = digest_at(&dir.join(&name))?;
            hasher.update(format!("{digest} {length} {name}\n").as_bytes());
        }
        Ok(hasher.finish())
    }

    /// The files' names.
    fn names(&self) -> Result<Vec<String>> {
        match &self.0 {
            Inner::Managed(artifact) => Ok(artifact.manifest().files.keys().cloned().collect()),
            Inner::Unmanaged(dir) => plain_files(dir),
            Inner::File(_) => Ok(Vec::new()),
        }
    }

    fn unmanaged_path(&self, name: &str) -> Result<PathBuf> {
        if !self.exists(name) {
            return Err(Error::NoFile { dir: self.dir().to_owned(), name: name.to_owned() });
        }
        Ok(self.dir().join(name))
    }
}

/// Opens a model in one file.
fn open_file(path: &Path) -> Result<Gguf> {
    let bytes = Mapped::open(path)?;
    if bytes.starts_with(&gguf::MAGIC)
        || path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"))
    {
        return Gguf::open_named(bytes, path);
    }
    Err(Error::Unsupported {
        path: path.to_owned(),
        what: "a model in one file",
        expected: "a GGUF file, or a folder with config.json and model.safetensors".to_owned(),
        found: "a file of another kind".to_owned(),
    })
}

fn digest_at(path: &Path) -> Result<(Digest, usize)> {
    let (mapped, metadata) = Mapped::of(&File::open(path).context("open", path)?, path)?;
    Ok((digest_of(&mapped, &metadata), mapped.len()))
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
