//! Temporary names beside a target, and how one takes the target's place.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::disk;
use crate::error::{Context, Error, Result};

const MARK: &str = ".luban-";
/// Being written, or replaced and to be removed.
const TEMP: &str = ".tmp";
/// The old target, where the file system cannot swap names: for a moment the only copy.
const ASIDE: &str = ".aside";
const TRIES_MAX: usize = 64;

static COUNTER: AtomicU64 = AtomicU64::new(0);

/// A hidden file or folder beside a target, locked while it is in use; dropped, it vanishes.
#[derive(Debug)]
pub(super) struct Temp {
    path: PathBuf,
    lock: File,
}

impl Temp {
    pub(super) fn folder(target: &Path) -> Result<Self> {
        Self::create(target, |path| {
            disk::create_folder(path)?;
            File::open(path).context("open", path)
        })
    }

    pub(super) fn file(target: &Path, access: disk::Access) -> Result<Self> {
        Self::create(target, |path| disk::create_file(path, access))
    }

    fn create(target: &Path, make: impl Fn(&Path) -> Result<File>) -> Result<Self> {
        let parent = parent_of(target);
        disk::create_dirs(&parent)?;
        recover(target)?;
        clean(target);
        let mut tries = 0;
        loop {
            let path = temporary_name(target, TEMP);
            tries += 1;
            match make(&path) {
                // A name left by a dead process with our number, or a cleaner that came before the lock.
                Err(Error::Io { source, .. })
                    if matches!(source.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound)
                        && tries < TRIES_MAX => {}
                Err(error) => return Err(error),
                Ok(lock) => {
                    let temp = Self { path, lock };
                    if temp.locked()? {
                        return Ok(temp);
                    }
                    if tries >= TRIES_MAX {
                        let source = io::Error::from(io::ErrorKind::ResourceBusy);
                        return Err(source).context("lock", &temp.path);
                    }
                }
            }
        }
    }

    /// Locks the file or folder, and sees whether it still has its name.
    fn locked(&self) -> Result<bool> {
        match self.lock.try_lock() {
            Err(TryLockError::WouldBlock) => return Ok(false),
            // No locks on this file system: then nobody cleans either, see `lock_abandoned`.
            Err(TryLockError::Error(_)) | Ok(()) => {}
        }
        let opened = self.lock.metadata().context("look at", &self.path)?;
        Ok(fs::symlink_metadata(&self.path).is_ok_and(|named| named.ino() == opened.ino()))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the content of a temporary file and flushes it.
    pub(super) fn write_all(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let count = self.write(bytes).context("write", &self.path)?;
            bytes = &bytes[count..];
        }
        self.sync()
    }

    /// Flushes a temporary file to the disk.
    pub(super) fn sync(&self) -> Result<()> {
        disk::sync(&self.lock, &self.path)
    }

    /// Gives this file or folder the target's name and flushes the parent. Returns where the replaced one lies now.
    ///
    /// After an error the target is what it was before.
    pub(super) fn place_at(&mut self, target: &Path) -> Result<Option<PathBuf>> {
        let mut tries = 0;
        loop {
            tries += 1;
            let outcome = self.place_once(target);
            // Another process placed or removed the target between our look and our step: look again.
            let raced = outcome.as_ref().is_err_and(|error| error.is_race());
            if !raced || tries >= TRIES_MAX {
                return outcome;
            }
        }
    }

    fn place_once(&self, target: &Path) -> Result<Option<PathBuf>> {
        let Ok(found) = fs::symlink_metadata(target) else {
            disk::rename(&self.path, target)?;
            sync_or(target, || disk::rename(target, &self.path))?;
            return Ok(None);
        };
        // Held until the end, so that no cleaner takes the old one before it is certain that we keep the new.
        let old = File::open(target).ok();
        let _held = old.as_ref().map(|old| old.try_lock());
        match disk::exchange(&self.path, target) {
            Ok(()) => {
                sync_or(target, || disk::exchange(&self.path, target).context("swap back", target))?;
                Ok(Some(self.path.clone()))
            }
            Err(error) if disk::cannot_exchange(&error) && found.is_dir() => self.replace_folder(target).map(Some),
            Err(error) if disk::cannot_exchange(&error) => {
                // A file may replace a file in one step, though not back again.
                disk::rename(&self.path, target)?;
                disk::sync_folder(&parent_of(target)).map(|()| None)
            }
            Err(error) => Err(error).context("swap in", target),
        }
    }

    /// The way without a swap: the old folder steps aside first, where [`recover`] finds it.
    fn replace_folder(&self, target: &Path) -> Result<PathBuf> {
        let aside = temporary_name(target, ASIDE);
        disk::rename(target, &aside)?;
        let back = || disk::rename(&aside, target);
        if let Err(error) = disk::rename(&self.path, target) {
            let _ = back();
            return Err(error);
        }
        sync_or(target, || disk::rename(target, &self.path).and_then(|()| back()))?;
        Ok(aside)
    }
}

impl Write for Temp {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        disk::write_some(&mut self.lock, &self.path, bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        // After a commit nothing, or what was replaced, is left under this name. What cannot be removed now, the
        // next save to the target removes.
        let _ = match fs::symlink_metadata(&self.path) {
            Ok(found) if found.is_dir() => disk::remove_tree(&self.path),
            Ok(_) => disk::remove_file(&self.path),
            Err(_) => Ok(()),
        };
    }
}

/// Flushes the target's parent; takes the change back if that fails.
fn sync_or(target: &Path, undo: impl FnOnce() -> Result<()>) -> Result<()> {
    disk::sync_folder(&parent_of(target)).inspect_err(|_| {
        // If this fails too, the target is the new one, whole but perhaps not yet on the disk.
        let _ = undo();
    })
}

/// Gives a folder that is to be removed a temporary name, and the lock that keeps cleaners off it.
pub(super) fn take_name(path: &Path) -> Result<(PathBuf, Option<File>)> {
    let held = File::open(path).ok();
    let _ = held.as_ref().map(|folder| folder.try_lock());
    let nameless = temporary_name(path, TEMP);
    disk::rename(path, &nameless)?;
    Ok((nameless, held))
}

/// Brings a folder back that was set aside by a process that died in the middle of replacing it.
///
/// Only needed where the file system cannot swap names. Does nothing if the target is there.
///
/// # Errors
/// If it lies there and cannot be renamed.
pub fn recover(target: &Path) -> Result<()> {
    if fs::symlink_metadata(target).is_ok() {
        return Ok(());
    }
    let mut asides: Vec<PathBuf> = leavings(target).into_iter().filter(|path| ends_with(path, ASIDE)).collect();
    asides.sort_by_key(|path| fs::metadata(path).and_then(|found| found.modified()).ok());
    match asides.pop() {
        Some(aside) => match lock_abandoned(&aside) {
            Some(_held) => disk::rename(&aside, target),
            None => Ok(()),
        },
        None => Ok(()),
    }
}

/// Removes what dead processes left beside the target.
fn clean(target: &Path) {
    for path in leavings(target) {
        // A leaving that cannot be removed (another user's, perhaps) is no reason not to save.
        if let Some(_held) = lock_abandoned(&path) {
            let _ = if path.is_dir() { disk::remove_tree(&path) } else { disk::remove_file(&path) };
        }
    }
}

/// Removes what dead processes left in a folder, whatever their targets were. For folders with targets whose names
/// change from save to save, such as checkpoints by step; otherwise the next save to a target cleans up for itself.
pub fn sweep(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let target = name.strip_prefix('.').and_then(|rest| Some(rest.rsplit_once(MARK)?.0));
        // A folder that was set aside may be the only copy: that is for `recover`.
        if let Some(target) = target.filter(|_| name.ends_with(TEMP)) {
            let target = folder.join(target);
            if leavings(&target).contains(&path) {
                clean(&target);
            }
        }
    }
}

/// Files and folders beside the target that have a temporary name of its.
fn leavings(target: &Path) -> Vec<PathBuf> {
    let prefix = prefix_of(target);
    let Ok(entries) = fs::read_dir(parent_of(target)) else { return Vec::new() };
    let ours = |path: &PathBuf| {
        let name = path.file_name().map_or(&b""[..], OsStr::as_bytes);
        let rest = name.strip_prefix(prefix.as_bytes()).unwrap_or_default();
        let rest = rest.strip_suffix(TEMP.as_bytes()).or_else(|| rest.strip_suffix(ASIDE.as_bytes()));
        rest.is_some_and(|rest| !rest.is_empty() && rest.iter().all(|byte| byte.is_ascii_digit() || *byte == b'-'))
    };
    entries.filter_map(|entry| Some(entry.ok()?.path())).filter(ours).collect()
}

/// Takes the lock of a leaving if nobody holds it: its process is dead, or past the point where it needs it.
///
/// The lock must be held while the leaving is removed, or a process that has just made it could lock it in between.
fn lock_abandoned(path: &Path) -> Option<File> {
    let file = File::open(path).ok()?;
    file.try_lock().ok().map(|()| file)
}

fn prefix_of(target: &Path) -> OsString {
    let mut prefix = OsString::from(".");
    prefix.push(target.file_name().unwrap_or_default());
    prefix.push(MARK);
    prefix
}

fn temporary_name(target: &Path, suffix: &str) -> PathBuf {
    let mut name = prefix_of(target);
    name.push(format!("{}-{}{suffix}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed)));
    parent_of(target).join(name)
}

fn ends_with(path: &Path, suffix: &str) -> bool {
    path.as_os_str().as_bytes().ends_with(suffix.as_bytes())
}

/// The folder that a path lies in; `.` for a bare name.
pub(super) fn parent_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// The place that a path names: a link is followed, so that what it points to is replaced and not the link.
pub(super) fn resolve(path: &Path) -> Result<PathBuf> {
    if path.file_name().is_none() {
        // `.`, `..` and `/` have no name that another could take.
        return fs::canonicalize(path).context("find", path);
    }
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() => fs::canonicalize(path).context("follow the link", path),
        _ => Ok(path.to_owned()),
    }
}
