//! The operations that change the disk, each behind its fault point.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::{Guard, Op, fault};
use crate::error::{Context, Result};

/// Who may read a file.
#[derive(Clone, Copy, Debug)]
pub(super) enum Access {
    /// Whoever the user's mask allows.
    Shared,
    /// The owner alone.
    Owner,
}

pub(super) fn create_file(path: &Path, access: Access) -> Result<File> {
    let mode = match access {
        Access::Shared => 0o666,
        Access::Owner => 0o600,
    };
    fault::point(Op::Create, path)
        .and_then(|()| OpenOptions::new().write(true).create_new(true).mode(mode).open(path))
        .context("create", path)
}

pub(super) fn create_folder(path: &Path) -> Result<()> {
    fault::point(Op::Create, path).and_then(|()| fs::create_dir(path)).context("create", path)
}

/// Makes a folder and its missing parents, and flushes the folders that they were made in.
///
/// # Errors
/// If one cannot be made.
pub fn create_dirs(path: &Path) -> Result<()> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    let parent = super::place::parent_of(path);
    create_dirs(&parent)?;
    match create_folder(path) {
        // Another thread or process was faster.
        Err(_) if path.is_dir() => Ok(()),
        Err(error) => Err(error),
        Ok(()) => sync_folder(&parent),
    }
}

/// Writes some of the bytes. A planned fault strikes after half of them, as a full disk does.
pub(super) fn write_some(file: &mut File, path: &Path, bytes: &[u8]) -> io::Result<usize> {
    if let Err(error) = fault::point(Op::Write, path) {
        file.write_all(&bytes[..bytes.len() / 2])?;
        return Err(error);
    }
    file.write(bytes)
}

pub(super) fn sync(file: &File, path: &Path) -> Result<()> {
    if !fault::is_on(Guard::Sync) {
        return Ok(());
    }
    fault::point(Op::Sync, path).and_then(|()| file.sync_all()).context("flush to disk", path)
}

pub(super) fn sync_file(path: &Path) -> Result<()> {
    sync(&File::open(path).context("open", path)?, path)
}

/// Flushes a folder's list of names to the disk. File systems that cannot do that (they say `EINVAL`) are believed
/// to need no flush, as other databases do.
///
/// # Errors
/// If the disk refuses.
pub fn sync_folder(path: &Path) -> Result<()> {
    if !fault::is_on(Guard::Sync) {
        return Ok(());
    }
    let synced = fault::point(Op::Sync, path).and_then(|()| File::open(path)?.sync_all());
    match synced {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        other => other.context("flush to disk", path),
    }
}

pub(super) fn rename(from: &Path, to: &Path) -> Result<()> {
    fault::point(Op::Rename, to).and_then(|()| fs::rename(from, to)).context("rename to", to)
}

/// Swaps two names in one step.
pub(super) fn exchange(a: &Path, b: &Path) -> io::Result<()> {
    fault::point(Op::Exchange, b)?;
    Ok(renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE)?)
}

/// Whether an error of [`exchange`] means that the file system or the kernel cannot swap names at all.
pub(super) fn cannot_exchange(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS | libc::EOPNOTSUPP))
}

pub(super) fn remove_file(path: &Path) -> Result<()> {
    gone(fault::point(Op::Remove, path).and_then(|()| fs::remove_file(path))).context("remove", path)
}

pub(super) fn remove_tree(path: &Path) -> Result<()> {
    gone(fault::point(Op::Remove, path).and_then(|()| fs::remove_dir_all(path))).context("remove", path)
}

/// What is not there needs no removal.
fn gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
