//! Corpora: built from a source, written as an artifact, read as a stream of documents.
//!
//! The build looks at every file once, in parallel, and keeps some hundred bytes a text; then it drops duplicates,
//! splits, and reads again what it writes. So memory grows with the number of texts, not with their size. Results
//! depend on the files and the seed alone, never on threads or time.

mod entry;
mod read;
mod reread;
mod scan;
mod split;
mod write;

pub use read::{Corpus, Documents};

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use luban_artifact::{Artifact, ArtifactWriter, Keys, Kind};
use luban_base::cancel::Cancel;
use luban_base::progress::{Event, Observer};
use serde_json::{Value, json};

use crate::dedup::{self, LIKENESS_MIN, MinHash, shingles};
use crate::report::Report;
use crate::source::{Source, SourceFile, unpack};
use crate::{Error, Result, Split, parallel};
use entry::{Entry, Fate};
use reread::Rereader;
use scan::{Scanned, Scanner};

/// Pairs of texts that one thread compares at a time.
const COMPARED_AT_ONCE: usize = 64;

/// What to build a corpus from, and how.
#[derive(Clone, Debug)]
pub struct BuildOptions {
    /// Where the texts come from.
    pub source: Source,
    /// The JSONL field or the column of tables that holds the text, where it is neither `text` nor `content`.
    pub text_field: Option<String>,
    /// Where the texts for validation come from, if not from [`Self::source`]; all of that is then for training, but for
    /// what is much like one of these.
    pub valid: Option<Source>,
    /// Whether everything stays that is UTF-8: no other rule is asked, and duplicates are not looked for.
    pub keep_all: bool,
    /// Decides the split, the order of documents and the permutations that find near duplicates.
    pub seed: u64,
    /// Most bytes of text for training; a random choice of documents where there is more.
    pub max_bytes: u64,
    /// Most bytes of text for validation.
    pub valid_max_bytes: u64,
    /// Share of the text that validation gets, below that bound.
    pub valid_share: f64,
    /// Threads; all of the machine's by default.
    pub threads: Option<usize>,
    /// What the artifact's manifest records as its settings.
    pub settings: Value,
    /// The stage that the manifest names.
    pub stage: String,
    /// Stops the build.
    pub cancel: Cancel,
}

impl BuildOptions {
    /// The defaults for a source.
    pub fn new(source: Source) -> Self {
        Self {
            source,
            text_field: None,
            valid: None,
            keep_all: false,
            seed: 0,
            max_bytes: 64 << 20,
            valid_max_bytes: 1 << 20,
            valid_share: 0.02,
            threads: None,
            settings: Value::Object(serde_json::Map::new()),
            stage: "data.build".into(),
            cancel: Cancel::new(),
        }
    }

    /// Something that changes when the source does, and is cheap to find out.
    ///
    /// # Errors
    /// If there is nothing there, or it cannot be listed.
    pub fn source_fingerprint(&self) -> Result<Value> {
        let source = self.source.fingerprint()?;
        match &self.valid {
            None => Ok(source),
            Some(valid) => Ok(json!({ "training": source, "validation": valid.fingerprint()? })),
        }
    }

    /// Every file: those for validation first, so that of texts that are alike theirs stay.
    fn files(&self) -> Result<Vec<SourceFile>> {
        let mut files = Vec::new();
        for mut file in self.valid.iter().map(Source::files).collect::<Result<Vec<_>>>()?.into_iter().flatten() {
            (file.name, file.group) = (format!("valid/{}", file.name), format!("valid/{}", file.group));
            files.push(SourceFile { split: Some(Split::Valid), ..file });
        }
        let given = if files.is_empty() { None } else { Some(Split::Train) };
        files.extend(self.source.files()?.into_iter().map(|file| SourceFile { split: given, ..file }));
        Ok(files)
    }

    fn check(&self) -> Result<()> {
        if !(self.valid_share > 0.0 && self.valid_share < 1.0) {
            let found = self.valid_share.to_string();
            return Err(Error::Option { what: "valid-share", found, expected: "more than 0 and less than 1" });
        }
        for (what, bytes) in [("max-bytes", self.max_bytes), ("valid-max-bytes", self.valid_max_bytes)] {
            if bytes == 0 {
                return Err(Error::Option { what, found: "0".into(), expected: "at least 1" });
            }
        }
        Ok(())
    }
}

/// Builds a corpus artifact at `target`: `train.jsonl` and `valid.jsonl` (a [`crate::Document`] a line),
/// `sources.jsonl` (a file of the source a line, with its digest and what became of it) and `report.json`
/// ([`Report`]).
///
/// # Errors
/// If there is no data, none of it is usable, a JSONL line is damaged, a file changes meanwhile, the disk refuses,
/// or the options' stop flag is raised. What stood at the target is then still there.
pub fn build(options: &BuildOptions, target: &Path, keys: &Keys, observer: &dyn Observer) -> Result<Artifact> {
    options.check()?;
    let writer = ArtifactWriter::create(target, Kind::Corpus)?;
    let mut files = options.files()?;
    let _unpacked = unpack::all(&mut files, options, target, observer)?;
    let scanner = Scanner {
        hash: MinHash::new(options.seed),
        text_field: options.text_field.as_deref(),
        keep_all: options.keep_all,
        cancel: &options.cancel,
        read: AtomicU64::new(0),
    };
    let mut scanned = scan_all(&scanner, &files, options, observer)?;
    let mut entries = entry::catalogue(&mut scanned);
    if entries.is_empty() {
        return Err(unusable(&options.source, &scanned));
    }
    if !options.keep_all {
        drop_duplicates(&mut entries, &files, options, observer)?;
    }
    split::assign(&mut entries, &files, &scanner, options)?;
    write::write(writer, &write::Parts { files: &files, scanned: &scanned, options, observer }, entries, keys)
}

fn scan_all(
    scanner: &Scanner<'_>,
    files: &[SourceFile],
    options: &BuildOptions,
    observer: &dyn Observer,
) -> Result<Vec<Scanned>> {
    let total = files.iter().map(SourceFile::plain_bytes).sum();
    let tick = || {
        let done = scanner.read.load(Ordering::Relaxed);
        observer.event(&Event::Progress { what: "reading", done, total, unit: "bytes" });
    };
    parallel::map(files, threads(options), &options.cancel, |file| scanner.scan(file), tick)
}

fn threads(options: &BuildOptions) -> usize {
    options.threads.unwrap_or_else(parallel::threads)
}

fn unusable(source: &Source, scanned: &[Scanned]) -> Error {
    let report = Report::of_dropped(scanned.iter().flat_map(|scanned| &scanned.dropped));
    let reasons: Vec<String> =
        report.dropped.iter().map(|(name, count)| format!("{name} {}", count.documents)).collect();
    let documents = report.dropped.values().map(|count| count.documents).sum();
    Error::Unusable { place: source.place(), documents, reasons: reasons.join(", ") }
}

/// Of texts that are alike, the first one in the files' order stays.
fn drop_duplicates(
    entries: &mut [Entry],
    files: &[SourceFile],
    options: &BuildOptions,
    observer: &dyn Observer,
) -> Result<()> {
    let repeated = dedup::exact(entries.iter().map(|entry| entry.text.key));
    for (entry, repeated) in entries.iter_mut().zip(repeated) {
        if repeated {
            entry.fate = Fate::ExactDuplicate;
        }
    }
    let rest = (0_u32..).zip(entries.iter()).filter(|(_, entry)| entry.is_kept());
    let pairs = dedup::candidates(rest.map(|(number, entry)| (number, &entry.text.bands)));
    let alike = compare(&pairs, entries, files, options, observer)?;
    for (&(later, earlier), alike) in pairs.iter().zip(alike) {
        // Pairs are sorted by the later text, so the earlier one's fate is settled.
        if alike && entries[earlier as usize].is_kept() {
            entries[later as usize].fate = Fate::NearDuplicate;
        }
    }
    Ok(())
}

/// Whether the texts of each pair are near duplicates, by their whole sets of shingles.
fn compare(
    pairs: &[(u32, u32)],
    entries: &[Entry],
    files: &[SourceFile],
    options: &BuildOptions,
    observer: &dyn Observer,
) -> Result<Vec<bool>> {
    let chunks: Vec<&[(u32, u32)]> = pairs.chunks(COMPARED_AT_ONCE).collect();
    let (compared, total) = (AtomicU64::new(0), pairs.len() as u64);
    let work = |chunk: &&[(u32, u32)]| {
        let mut reader = Rereader::new(options.text_field.as_deref());
        let mut set = |number: u32| -> Result<Vec<u64>> {
            let entry = &entries[number as usize];
            Ok(dedup::shingle_set(&reader.read(&files[entry.file], &entry.text)?))
        };
        // A text's pairs stand together, so its set is made once.
        let mut current: Option<(u32, Vec<u64>)> = None;
        let mut alike = Vec::with_capacity(chunk.len());
        for &(later, earlier) in *chunk {
            if current.as_ref().is_none_or(|(number, _)| *number != later) {
                current = Some((later, set(later)?));
            }
            let other = set(earlier)?;
            alike.push(current.as_ref().is_some_and(|(_, set)| shingles::jaccard(set, &other) >= LIKENESS_MIN));
        }
        compared.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        Ok(alike)
    };
    let tick = || {
        let done = compared.load(Ordering::Relaxed);
        observer.event(&Event::Progress { what: "comparing", done, total, unit: "pairs" });
    };
    Ok(parallel::map(&chunks, threads(options), &options.cancel, work, tick)?.concat())
}
