//! The inputs that are kept.

use std::fs;
use std::io;
use std::path::PathBuf;

use luban_base::digest;

use crate::Target;

/// Longest input that is kept.
pub const INPUT_BYTES_MAX: usize = 64 << 10;

/// The folder of a target.
pub fn folder(target: &Target) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name)
}

/// A target's inputs, in the order of their names; none where it has no folder.
///
/// # Errors
/// A folder or file that cannot be read.
pub fn read(target: &Target) -> io::Result<Vec<Vec<u8>>> {
    let entries = match fs::read_dir(folder(target)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort_unstable();
    paths.into_iter().map(fs::read).collect()
}

/// Keeps an input under its digest; what is kept already stays.
///
/// # Errors
/// A disk that refuses.
pub fn keep(target: &Target, input: &[u8]) -> io::Result<PathBuf> {
    let folder = folder(target);
    fs::create_dir_all(&folder)?;
    let path = folder.join(&digest::of_bytes(input).to_string()[..16]);
    fs::write(&path, input)?;
    Ok(path)
}
