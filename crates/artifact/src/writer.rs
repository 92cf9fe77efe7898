//! Making an artifact.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};

use luban_base::atomic::{FileEntry, StagedDir, StagedFile};
use luban_base::clock::{Clock, SystemClock};
use serde_json::{Map, Value};

use crate::error::{Context, Error, Result};
use crate::folder::Artifact;
use crate::keys::{Keys, PublicKey, Signature};
use crate::manifest::{FORMAT, Input, Kind, MANIFEST, Manifest};

/// Inputs further up than this are named by their whole path.
const PARENTS_MAX: usize = 3;

/// An artifact in the making; dropped without [`ArtifactWriter::commit`], it leaves nothing behind.
#[derive(Debug)]
pub struct ArtifactWriter {
    staged: StagedDir,
    manifest: Manifest,
}

impl ArtifactWriter {
    /// Starts an artifact that will stand at `target`, in place of the artifact that may stand there now.
    ///
    /// # Errors
    /// If something else stands there (only an artifact, an empty folder or nothing may), or the disk refuses.
    pub fn create(target: &Path, kind: Kind) -> Result<Self> {
        let staged = StagedDir::create(target)?;
        check_replaceable(staged.target())?;
        let manifest = Manifest {
            format: FORMAT,
            kind,
            created_unix_s: SystemClock::default().unix_s(),
            program: format!("luban {}", env!("CARGO_PKG_VERSION")),
            stage: None,
            settings: Value::Object(Map::new()),
            inputs: Vec::new(),
            metrics: Map::new(),
            files: Default::default(),
            signer: PublicKey([0; 32]),
            signature: Signature([0; 64]),
        };
        Ok(Self { staged, manifest })
    }

    /// Starts a file; it counts only once [`ArtifactFile::finish`] is called. Several may be open at once.
    ///
    /// # Errors
    /// If the name is not allowed or taken, or the disk refuses.
    pub fn file(&self, name: &str) -> Result<ArtifactFile> {
        self.check_free(name)?;
        Ok(ArtifactFile(self.staged.file(name)?))
    }

    /// Writes a whole file.
    ///
    /// # Errors
    /// If the name is not allowed or taken, or the disk refuses.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<FileEntry> {
        self.check_free(name)?;
        Ok(self.staged.write(name, bytes)?)
    }

    /// Copies a file in.
    ///
    /// # Errors
    /// If the name is not allowed or taken, the file cannot be read, or the disk refuses.
    pub fn copy(&self, name: &str, from: &Path) -> Result<FileEntry> {
        self.check_free(name)?;
        Ok(self.staged.copy(name, from)?)
    }

    /// Moves a file in, or copies it where it lies on another file system.
    ///
    /// # Errors
    /// If the name is not allowed or taken, the file cannot be read, or the disk refuses.
    pub fn adopt(&self, name: &str, from: &Path) -> Result<FileEntry> {
        self.check_free(name)?;
        Ok(self.staged.adopt(name, from)?)
    }

    /// Records an artifact that this one is made from.
    pub fn input(&mut self, role: &str, input: &Artifact) -> &mut Self {
        let path = hint(self.staged.target(), input.dir());
        let (kind, digest) = (input.kind(), input.digest());
        self.manifest.inputs.push(Input { role: role.to_owned(), kind, digest, path });
        self
    }

    /// Records the settings that this artifact is made with.
    pub fn settings(&mut self, settings: Value) -> &mut Self {
        self.manifest.settings = settings;
        self
    }

    /// Records the stage that makes this artifact.
    pub fn stage(&mut self, name: &str) -> &mut Self {
        self.manifest.stage = Some(name.to_owned());
        self
    }

    /// Records a measurement.
    pub fn metric(&mut self, name: &str, value: impl Into<Value>) -> &mut Self {
        self.manifest.metrics.insert(name.to_owned(), value.into());
        self
    }

    /// Sets the time that the manifest gives, instead of the clock's; for replays and tests.
    pub fn created_unix_s(&mut self, seconds: u64) -> &mut Self {
        self.manifest.created_unix_s = seconds;
        self
    }

    /// The files that are finished.
    ///
    /// # Errors
    /// If one was started and not finished.
    pub fn files(&self) -> Result<BTreeMap<String, FileEntry>> {
        Ok(self.staged.entries()?)
    }

    /// Where the artifact will stand.
    pub fn target(&self) -> &Path {
        self.staged.target()
    }

    /// Signs the manifest and lets the artifact appear at its target, on disk and whole.
    ///
    /// # Errors
    /// If a file was not finished, something else has come to stand at the target, or the disk refuses. The target
    /// is then as it was before.
    pub fn commit(mut self, keys: &Keys) -> Result<Artifact> {
        self.manifest.files = self.staged.entries()?;
        self.manifest.sign(keys);
        let target = self.staged.target().to_owned();
        check_replaceable(&target)?;
        self.staged.commit(MANIFEST, &self.manifest.render())?;
        Artifact::from_manifest(&target, self.manifest)
    }

    fn check_free(&self, name: &str) -> Result<()> {
        if name == MANIFEST {
            let why = "it is the manifest's";
            return Err(luban_base::Error::Name { name: name.to_owned(), why }.into());
        }
        Ok(())
    }
}

/// A file of an artifact in the making, hashed and counted as it is written.
#[derive(Debug)]
pub struct ArtifactFile(StagedFile);

impl ArtifactFile {
    /// Flushes the file to the disk and enters it in the manifest.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn finish(self) -> Result<FileEntry> {
        Ok(self.0.finish()?)
    }

    /// Bytes written so far.
    pub fn size(&self) -> u64 {
        self.0.size()
    }
}

impl Write for ArtifactFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Only what this program wrote, or nothing, may be replaced. A manifest that is damaged still marks its folder.
fn check_replaceable(target: &Path) -> Result<()> {
    // Looked at more than once: another saver may swap the target, and then take the old manifest away, while the
    // path is being followed.
    if (0..3).any(|_| !target.exists() || target.join(MANIFEST).is_file()) {
        return Ok(());
    }
    let mut entries = fs::read_dir(target).context("look into", target)?;
    match entries.next() {
        None => Ok(()),
        Some(entry) => {
            let name = entry.map_or_else(|_| "files".to_owned(), |entry| format!("{:?}", entry.file_name()));
            Err(Error::Occupied { target: target.to_owned(), found: format!("a folder with {name} in it") })
        }
    }
}

/// How to come from one artifact's folder to another's.
fn hint(from: &Path, to: &Path) -> String {
    let absolute = |path: &Path| {
        let parent =
            path.parent().map_or(Path::new("."), |p| if p.as_os_str().is_empty() { Path::new(".") } else { p });
        let parent = fs::canonicalize(parent).ok()?;
        Some(path.file_name().map_or_else(|| parent.clone(), |name| parent.join(name)))
    };
    let to = fs::canonicalize(to).unwrap_or_else(|_| to.to_owned());
    let relative = absolute(from).and_then(|from| relative(&from, &to));
    relative.unwrap_or(to).to_string_lossy().into_owned()
}

/// The path from one folder to another, if it goes up a few steps only.
fn relative(from: &Path, to: &Path) -> Option<PathBuf> {
    let shared = from.components().zip(to.components()).take_while(|(a, b)| a == b).count();
    let up = from.components().count() - shared;
    if up > PARENTS_MAX || shared == 0 {
        return None;
    }
    Some(std::iter::repeat_n(Component::ParentDir, up).chain(to.components().skip(shared)).collect())
}
