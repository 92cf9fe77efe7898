//! Files and folders that appear whole or not at all.
//!
//! The protocol: write into a temporary folder beside the target; flush each file to the disk; write the manifest
//! last; flush it and the folder; swap the folder in under the target's name; flush the parent. A flush that fails
//! fails the save, and whatever stood at the target before is still there after any error. Removal takes the
//! manifest away first, so that nobody believes a folder that is half gone.
//!
//! A temporary folder is locked (`flock`) while its process lives. The next save to the same target removes the
//! unlocked ones, which are those of processes that died.
//!
//! ```
//! # fn main() -> luban_base::error::Result<()> {
//! # let place = tempfile::tempdir().unwrap();
//! # let target = place.path().join("corpus");
//! use luban_base::atomic::StagedDir;
//! let staged = StagedDir::create(&target)?;
//! let entry = staged.write("train.txt", b"some text")?;
//! assert_eq!(entry.size, 9);
//! assert!(!target.exists());
//! staged.commit("manifest.txt", b"train.txt 9")?;
//! assert_eq!(std::fs::read(target.join("train.txt")).unwrap(), b"some text");
//! # Ok(())
//! # }
//! ```

mod disk;
mod place;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::digest::{self, Digest, Hasher};
use crate::error::{Context, Error, Result};
use crate::fault::{self, Guard, Op};

pub use disk::{create_dirs, sync_folder};
use place::{Temp, resolve};
pub use place::{recover, sweep};

const BUFFER_BYTES: usize = 1 << 18;
const NAME_BYTES_MAX: usize = 200;
const NAME_PARTS_MAX: usize = 4;

/// What a manifest records about a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// SHA-256 of the content.
    pub sha256: Digest,
    /// Length in bytes.
    pub size: u64,
}

/// Files by name; `None` while one is still being written.
type Entries = BTreeMap<String, Option<FileEntry>>;

/// A folder in the making; dropped, it vanishes.
#[derive(Debug)]
pub struct StagedDir {
    target: PathBuf,
    temp: Temp,
    entries: Arc<Mutex<Entries>>,
}

impl StagedDir {
    /// Starts a folder that will stand at `target`; missing parents are made, leavings of dead processes removed.
    ///
    /// # Errors
    /// If the target is a file, or the parent cannot be written to.
    pub fn create(target: &Path) -> Result<Self> {
        let target = resolve(target)?;
        match fs::symlink_metadata(&target) {
            Ok(found) if !found.is_dir() => {
                return Err(Error::Occupied { path: target, expected: "a folder or nothing", found: "a file" });
            }
            _ => {}
        }
        let temp = Temp::folder(&target)?;
        Ok(Self { target, temp, entries: Arc::default() })
    }

    /// Where the files lie until the commit.
    pub fn path(&self) -> &Path {
        self.temp.path()
    }

    /// Where the folder will stand, links resolved.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Writes a whole file.
    ///
    /// # Errors
    /// If the name is not allowed or taken, or the disk refuses.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<FileEntry> {
        let mut file = self.file(name)?;
        file.write_all(bytes).context("write", &file.path)?;
        file.finish()
    }

    /// Starts a file; it counts only once [`StagedFile::finish`] is called. Several may be open at once.
    ///
    /// # Errors
    /// If the name is not allowed or taken, or the disk refuses.
    pub fn file(&self, name: &str) -> Result<StagedFile> {
        let path = self.reserve(name)?;
        let file = disk::create_file(&path, disk::Access::Shared).inspect_err(|_| self.release(name))?;
        let sink = Sink { file, path: path.clone(), hasher: Hasher::new(), size: 0 };
        let writer = BufWriter::with_capacity(BUFFER_BYTES, sink);
        Ok(StagedFile { name: name.to_owned(), path, writer, entries: Arc::clone(&self.entries) })
    }

    /// Takes in a file that lies elsewhere, by renaming where that is possible and by copying otherwise.
    ///
    /// # Errors
    /// If the name is not allowed or taken, or the disk refuses.
    pub fn adopt(&self, name: &str, from: &Path) -> Result<FileEntry> {
        let path = self.reserve(name)?;
        let moved = disk::rename(from, &path);
        let taken = match moved {
            Ok(()) => disk::sync_file(&path).and_then(|()| digest::of_file(&path).context("read", &path)),
            Err(_) => {
                self.release(name);
                return self.copy(name, from);
            }
        };
        let (sha256, size) = taken.inspect_err(|_| self.release(name))?;
        let entry = FileEntry { sha256, size };
        locked(&self.entries).insert(name.to_owned(), Some(entry));
        Ok(entry)
    }

    /// Copies a file in.
    ///
    /// # Errors
    /// If the name is not allowed or taken, or the disk refuses.
    pub fn copy(&self, name: &str, from: &Path) -> Result<FileEntry> {
        let mut source = File::open(from).context("read", from)?;
        let mut file = self.file(name)?;
        io::copy(&mut source, &mut file).context("copy", from)?;
        file.finish()
    }

    /// The finished files.
    ///
    /// # Errors
    /// If one was started and not finished.
    pub fn entries(&self) -> Result<BTreeMap<String, FileEntry>> {
        let unfinished = |name: &str| Error::Staging {
            target: self.target.clone(),
            name: name.to_owned(),
            why: "was started and not finished",
        };
        let entries = locked(&self.entries);
        entries.iter().map(|(name, entry)| Ok((name.clone(), entry.ok_or_else(|| unfinished(name))?))).collect()
    }

    /// Writes the manifest, and lets the folder appear at its target in place of whatever folder stood there.
    ///
    /// # Errors
    /// If a file was not finished or the disk refuses; the target is then as it was before.
    pub fn commit(mut self, manifest_name: &str, manifest: &[u8]) -> Result<()> {
        self.entries()?;
        for folder in self.subfolders() {
            sync_folder(&folder)?;
        }
        self.write(manifest_name, manifest)?;
        sync_folder(self.temp.path())?;
        if let Some(replaced) = self.temp.place_at(&self.target)? {
            // The save has succeeded; what is left of the old folder, the next save would remove as well.
            let _ = remove_replaced(&replaced, manifest_name);
        }
        Ok(())
    }

    /// Folders within the staged one that its files' names imply, deepest first.
    fn subfolders(&self) -> Vec<PathBuf> {
        let entries = locked(&self.entries);
        let parents = |name: &String| Path::new(name).ancestors().skip(1).map(PathBuf::from).collect::<Vec<_>>();
        let mut folders: Vec<PathBuf> = entries.keys().flat_map(parents).collect();
        folders.retain(|folder| !folder.as_os_str().is_empty());
        folders.sort_unstable_by(|a, b| b.cmp(a));
        folders.dedup();
        folders.into_iter().map(|folder| self.temp.path().join(folder)).collect()
    }

    /// Marks a name as taken and makes the folder that it lies in.
    fn reserve(&self, name: &str) -> Result<PathBuf> {
        check_name(name)?;
        let path = self.temp.path().join(name);
        if locked(&self.entries).contains_key(name) {
            let why = "was written twice";
            return Err(Error::Staging { target: self.target.clone(), name: name.to_owned(), why });
        }
        if let Some(folder) = path.parent() {
            create_dirs(folder)?;
        }
        locked(&self.entries).insert(name.to_owned(), None);
        Ok(path)
    }

    fn release(&self, name: &str) {
        locked(&self.entries).remove(name);
    }
}

/// A file of a [`StagedDir`], hashed and counted as it is written.
#[derive(Debug)]
pub struct StagedFile {
    name: String,
    path: PathBuf,
    writer: BufWriter<Sink>,
    entries: Arc<Mutex<Entries>>,
}

impl StagedFile {
    /// Flushes the file to the disk and enters it in its folder's list.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn finish(mut self) -> Result<FileEntry> {
        self.writer.flush().context("write", &self.path)?;
        let sink = self.writer.get_mut();
        disk::sync(&sink.file, &self.path)?;
        let entry = FileEntry { sha256: std::mem::take(&mut sink.hasher).finish(), size: sink.size };
        locked(&self.entries).insert(self.name, Some(entry));
        Ok(entry)
    }

    /// Bytes written so far.
    pub fn size(&self) -> u64 {
        self.writer.get_ref().size + self.writer.buffer().len() as u64
    }
}

impl Write for StagedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// The unbuffered end of a [`StagedFile`].
#[derive(Debug)]
struct Sink {
    file: File,
    path: PathBuf,
    hasher: Hasher,
    size: u64,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = disk::write_some(&mut self.file, &self.path, bytes)?;
        self.hasher.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes one file whole or not at all.
///
/// # Errors
/// If the target is a folder or the disk refuses; the target is then as it was before.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    write_one(path, bytes, disk::Access::Shared)
}

/// Like [`write_file`], but only the owner may read the file.
///
/// # Errors
/// If the target is a folder or the disk refuses; the target is then as it was before.
pub fn write_private_file(path: &Path, bytes: &[u8]) -> Result<()> {
    write_one(path, bytes, disk::Access::Owner)
}

/// Like [`write_file`], for content that does not lie in memory: `fill` writes it.
///
/// # Errors
/// Those of `fill`; if the target is a folder or the disk refuses. The target is then as it was before.
pub fn write_file_with<E: From<Error>>(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    let (target, mut temp) = start_file(path, disk::Access::Shared)?;
    let mut writer = BufWriter::with_capacity(BUFFER_BYTES, &mut temp);
    fill(&mut writer)?;
    writer.flush().context("write", &target)?;
    drop(writer);
    temp.sync()?;
    Ok(finish_file(temp, &target)?)
}

fn write_one(path: &Path, bytes: &[u8], access: disk::Access) -> Result<()> {
    let (target, mut temp) = start_file(path, access)?;
    temp.write_all(bytes)?;
    finish_file(temp, &target)
}

fn start_file(path: &Path, access: disk::Access) -> Result<(PathBuf, Temp)> {
    let target = resolve(path)?;
    if target.is_dir() {
        return Err(Error::Occupied { path: target, expected: "a file or nothing", found: "a folder" });
    }
    let temp = Temp::file(&target, access)?;
    Ok((target, temp))
}

fn finish_file(mut temp: Temp, target: &Path) -> Result<()> {
    if let Some(replaced) = temp.place_at(target)? {
        let _ = disk::remove_file(&replaced);
    }
    Ok(())
}

/// Removes a folder: first its name, in one step, then what it held. So a removal cut short leaves nothing under that
/// name, and what it leaves under a temporary one goes with the next save to it, or [`sweep`].
///
/// # Errors
/// If something cannot be removed; a folder that is not there is no error.
pub fn remove_dir(path: &Path) -> Result<()> {
    let path = resolve(path)?;
    if !path.exists() {
        return Ok(());
    }
    let parent = place::parent_of(&path);
    let (nameless, _held) = place::take_name(&path)?;
    sync_folder(&parent)?;
    disk::remove_tree(&nameless)?;
    sync_folder(&parent)
}

/// Removes a folder that a save has replaced, its manifest first: where the file system cannot swap names, a folder that
/// was set aside and looks whole would be brought back.
fn remove_replaced(path: &Path, manifest_name: &str) -> Result<()> {
    disk::remove_file(&path.join(manifest_name))?;
    sync_folder(path)?;
    disk::remove_tree(path)?;
    sync_folder(&place::parent_of(path))
}

/// Checks that a file name, as a manifest or an archive gives it, stays in its folder: one to four parts parted by
/// `/`, none of them empty, `.` or `..`, without backslashes or control characters.
///
/// # Errors
/// If it does not.
pub fn check_name(name: &str) -> Result<()> {
    let why = if name.len() > NAME_BYTES_MAX {
        "it is longer than 200 bytes"
    } else if name.chars().any(|c| c.is_control() || c == '\\' || c == ':') {
        "it has a backslash, a colon or a control character"
    } else if name.split('/').any(|part| matches!(part, "" | "." | "..")) {
        "it has an empty part, '.' or '..'"
    } else if name.split('/').count() > NAME_PARTS_MAX {
        "it has more than four parts"
    } else {
        return Ok(());
    };
    if !fault::is_on(Guard::Names) {
        return Ok(());
    }
    Err(Error::Name { name: name.chars().take(NAME_BYTES_MAX).collect(), why })
}

/// The entries even if a writer panicked: a half-done change of the map cannot be seen.
fn locked(entries: &Mutex<Entries>) -> MutexGuard<'_, Entries> {
    entries.lock().unwrap_or_else(PoisonError::into_inner)
}
