//! A file or folder that a user names.

use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use luban_artifact::MANIFEST;

use super::unpack::Packing;
use super::{Format, SourceFile, UNKNOWN_LICENSE};
use crate::error::Context;
use crate::quality::TextKind;
use crate::{Error, Result};

/// Most files of one source.
const FILES_MAX: usize = 4 << 20;
/// Deepest folder within a source.
const DEPTH_MAX: usize = 64;
/// Folders that hold what tools installed, beside hidden ones and those that a `CACHEDIR.TAG` marks.
const INSTALLED: [&str; 2] = ["node_modules", "__pycache__"];
/// Extensions of code, markup and configuration, for which lines should be short.
const CODE: &str = "asm bash bat c cc cfg clj cmake cpp cs css cu cuh cxx dart ex exs f90 fs go gradle graphql h hh \
    hpp hs htm html hxx ini java jl js json jsx kt kts less lisp lock lua m mjs ml mli mm mts nim nix php pl pm proto \
    ps1 py pyi r rb rs s sass scala scm scss sh sol sql svelte svg swift tcl tf toml ts tsx v vb vhd vue xml yaml \
    yml zig zsh";

/// Every regular file under a path that is not hidden.
pub(super) fn files(root: &Path) -> Result<Vec<SourceFile>> {
    let mut files = Vec::new();
    walk(root, &mut |path, name, metadata| {
        let (group, license) = (name.clone(), UNKNOWN_LICENSE.to_string());
        let (packing, format) = kind_of(&path);
        let bytes = metadata.len();
        files.push(SourceFile { path, name, group, license, format, packing, bytes, split: None, plain: None });
    })?;
    Ok(files)
}

/// What a source looks like without reading its files.
pub(super) struct Listing {
    pub(super) files: usize,
    /// One line a file: name, size, time of the last change.
    pub(super) text: Vec<u8>,
}

pub(super) fn listing(root: &Path) -> Result<Listing> {
    let mut lines = Vec::new();
    walk(root, &mut |_, name, metadata| {
        let since = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        lines.push(format!("{name}\t{}\t{}\n", metadata.len(), since.unwrap_or_default().as_nanos()));
    })?;
    lines.sort_unstable();
    Ok(Listing { files: lines.len(), text: lines.concat().into_bytes() })
}

fn walk(root: &Path, found: &mut impl FnMut(PathBuf, String, &Metadata)) -> Result<()> {
    let metadata = match fs::metadata(root) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(Error::Missing(root.to_owned())),
        other => other.context("look at", root)?,
    };
    if metadata.is_file() {
        let name = root.file_name().unwrap_or(root.as_os_str()).to_string_lossy().into_owned();
        found(root.to_owned(), name, &metadata);
        return Ok(());
    }
    let mut count = 0;
    folder(root, "", 0, &mut |path, name, metadata| {
        count += 1;
        found(path, name, metadata);
        count <= FILES_MAX
    })?;
    match count {
        0 => Err(Error::Empty(root.to_owned())),
        1..=FILES_MAX => Ok(()),
        _ => Err(Error::Option { what: "the number of files", found: format!("over {FILES_MAX}"), expected: "fewer" }),
    }
}

/// Goes through a folder in no certain order; stops when `found` says so. Links to folders are not followed, so
/// there are no loops; pipes and devices are not opened.
fn folder(
    dir: &Path,
    prefix: &str,
    depth: usize,
    found: &mut impl FnMut(PathBuf, String, &Metadata) -> bool,
) -> Result<()> {
    // Corpora and models within the data, the one that is being replaced too, are no data.
    if depth > DEPTH_MAX || ["CACHEDIR.TAG", MANIFEST].iter().any(|name| dir.join(name).exists()) {
        return Ok(());
    }
    for entry in fs::read_dir(dir).context("read", dir)? {
        let entry = entry.context("read", dir)?;
        let (path, file_name) = (entry.path(), entry.file_name());
        let file_name = file_name.to_string_lossy();
        if file_name.starts_with('.') || INSTALLED.contains(&file_name.as_ref()) {
            continue;
        }
        let name = format!("{prefix}{file_name}");
        if entry.file_type().context("look at", &path)?.is_dir() {
            folder(&path, &format!("{name}/"), depth + 1, found)?;
            continue;
        }
        // A link that leads nowhere is no file.
        let Ok(metadata) = fs::metadata(&path) else { continue };
        if metadata.is_file() && !found(path, name, &metadata) {
            break;
        }
    }
    Ok(())
}

/// By the name's extensions.
fn kind_of(path: &Path) -> (Option<Packing>, Format) {
    let packing = path.extension().and_then(|extension| Packing::of_extension(&extension.to_string_lossy()));
    let content = if packing.is_some() { path.with_extension("") } else { path.to_owned() };
    (packing, format_of(&content))
}

fn format_of(path: &Path) -> Format {
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase());
    match extension.as_deref() {
        Some("jsonl" | "ndjson") => Format::Jsonl,
        Some("csv") => Format::Csv { delimiter: b',' },
        Some("parquet") => Format::Parquet,
        Some("tsv") => Format::Csv { delimiter: b'\t' },
        Some(extension) if CODE.split_whitespace().any(|code| code == extension) => Format::Text(TextKind::Code),
        _ => Format::Text(TextKind::Prose),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_and_hidden_or_installed_ones_are_not() {
        let place = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let path = place.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "text").unwrap();
        };
        for name in [
            "a.txt",
            "b/c.RS",
            "b/d/e.jsonl",
            ".git/config",
            ".hidden",
            "node_modules/x.js",
            "t/CACHEDIR.TAG",
            "model/luban.json",
            "model/README.md",
            "t/o",
        ] {
            make(name);
        }
        std::os::unix::fs::symlink(place.path(), place.path().join("b/loop")).unwrap();
        std::os::unix::fs::symlink("nowhere", place.path().join("b/broken")).unwrap();
        let mut found = files(place.path()).unwrap();
        found.sort_by(|left, right| left.name.cmp(&right.name));
        let names: Vec<_> = found.iter().map(|file| (file.name.as_str(), file.format)).collect();
        let expected = [
            ("a.txt", Format::Text(TextKind::Prose)),
            ("b/c.RS", Format::Text(TextKind::Code)),
            ("b/d/e.jsonl", Format::Jsonl),
        ];
        assert_eq!(names, expected);
        assert_eq!(files(&place.path().join("a.txt")).unwrap()[0].name, "a.txt");
        assert!(matches!(files(&place.path().join("no")), Err(Error::Missing(_))));
        assert!(matches!(files(&place.path().join(".git/..").join("t")), Err(Error::Empty(_))));
    }
}
