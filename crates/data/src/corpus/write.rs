//! Writing a corpus: documents in a random order, the list of sources, the report.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;

use luban_artifact::{Artifact, ArtifactFile, ArtifactWriter, Keys};
use luban_base::digest::Digest;
use luban_base::progress::{Event, Observer};
use luban_base::random::Stream;
use serde::Serialize;

use super::BuildOptions;
use super::entry::{Entry, Fate};
use super::reread::Rereader;
use super::scan::Scanned;
use crate::document::{Document, Split};
use crate::error::Context;
use crate::report::{self, Report};
use crate::source::SourceFile;
use crate::{Error, Result, streams};

/// Documents between two progress events.
const REPORT_EVERY: usize = 512;

/// What the corpus is written from.
pub(super) struct Parts<'a> {
    pub(super) files: &'a [SourceFile],
    pub(super) scanned: &'a [Scanned],
    pub(super) options: &'a BuildOptions,
    pub(super) observer: &'a dyn Observer,
}

pub(super) fn write(
    mut writer: ArtifactWriter,
    parts: &Parts<'_>,
    mut entries: Vec<Entry>,
    keys: &Keys,
) -> Result<Artifact> {
    let order = order(&mut entries, parts.options);
    documents(&writer, parts, &entries, &order)?;
    let (lines, report) = (source_lines(parts, &entries), summary(parts, &entries));
    let mut sources = Jsonl::start(&writer, luban_artifact::lineage::SOURCES)?;
    lines.iter().try_for_each(|line| sources.push(line))?;
    sources.finish()?;
    let text = serde_json::to_string_pretty(&report).expect("a report is always JSON") + "\n";
    writer.write(report::FILE, text.as_bytes())?;
    for (name, side) in [("train", report.train), ("valid", report.valid)] {
        writer.metric(&format!("{name}_documents"), side.documents);
        writer.metric(&format!("{name}_bytes"), side.bytes);
    }
    writer.stage(&parts.options.stage).settings(parts.options.settings.clone());
    Ok(writer.commit(keys)?)
}

/// The kept texts in the order in which they are written; settles which of them go beyond a side's limit.
fn order(entries: &mut [Entry], options: &BuildOptions) -> Vec<usize> {
    let mut order: Vec<usize> = (0..entries.len()).filter(|&index| entries[index].is_kept()).collect();
    Stream::new(options.seed, &[streams::ORDER]).shuffle(&mut order);
    let mut room = BTreeMap::from([("train.jsonl", options.max_bytes), ("valid.jsonl", options.valid_max_bytes)]);
    order.retain(|&index| {
        let Fate::Kept(split) = entries[index].fate else { return false };
        let Some(room) = room.get_mut(split.file()) else { return false };
        let fits = entries[index].bytes() <= *room;
        match fits {
            true => *room -= entries[index].bytes(),
            false => entries[index].fate = Fate::OverLimit,
        }
        fits
    });
    order
}

fn documents(writer: &ArtifactWriter, parts: &Parts<'_>, entries: &[Entry], order: &[usize]) -> Result<()> {
    let mut train = Jsonl::start(writer, Split::Train.file())?;
    let mut valid = Jsonl::start(writer, Split::Valid.file())?;
    let mut reader = Rereader::new(parts.options.text_field.as_deref());
    for (done, &index) in order.iter().enumerate() {
        if parts.options.cancel.is_raised() {
            return Err(Error::Cancelled);
        }
        if done.is_multiple_of(REPORT_EVERY) {
            let (done, total) = (done as u64, order.len() as u64);
            parts.observer.event(&Event::Progress { what: "writing", done, total, unit: "documents" });
        }
        let entry = &entries[index];
        let document = Document {
            text: reader.read(&parts.files[entry.file], &entry.text)?,
            source: entry.source(parts.files),
            group: entry.group(parts.files),
            license: entry.license(parts.files).to_string(),
        };
        match entry.fate {
            Fate::Kept(Split::Valid) => valid.push(&document)?,
            _ => train.push(&document)?,
        }
    }
    train.finish()?;
    valid.finish()
}

/// A file of the artifact with a JSON value a line.
struct Jsonl {
    name: &'static str,
    file: ArtifactFile,
}

impl Jsonl {
    fn start(writer: &ArtifactWriter, name: &'static str) -> Result<Self> {
        Ok(Self { name, file: writer.file(name)? })
    }

    fn push(&mut self, value: &impl Serialize) -> Result<()> {
        let mut line = serde_json::to_vec(value).expect("strings and numbers are always JSON");
        line.push(b'\n');
        self.file.write_all(&line).context("write", Path::new(self.name))
    }

    fn finish(self) -> Result<()> {
        self.file.finish()?;
        Ok(())
    }
}

/// A line of `sources.jsonl`.
#[derive(Serialize)]
struct SourceLine<'a> {
    path: &'a str,
    group: &'a str,
    license: &'a str,
    sha256: Option<Digest>,
    bytes: u64,
    /// Of it, in the corpus.
    documents: u64,
    kept: bool,
    /// Why none of it is in the corpus.
    reason: Option<String>,
}

fn source_lines<'a>(parts: &Parts<'a>, entries: &[Entry]) -> Vec<SourceLine<'a>> {
    let mut kept = vec![0_u64; parts.files.len()];
    let mut fates = vec![None; parts.files.len()];
    for entry in entries {
        kept[entry.file] += u64::from(entry.is_kept());
        fates[entry.file] = fates[entry.file].or(reason_of(entry.fate));
    }
    let line = |(index, file): (usize, &'a SourceFile)| {
        let by_rule = parts.scanned[index].reason.clone();
        let reason = || fates[index].map(str::to_string).or(by_rule);
        SourceLine {
            path: &file.name,
            group: &file.group,
            license: &file.license,
            sha256: parts.scanned[index].sha256,
            bytes: file.bytes,
            documents: kept[index],
            kept: kept[index] > 0,
            reason: if kept[index] > 0 { None } else { reason() },
        }
    };
    parts.files.iter().enumerate().map(line).collect()
}

fn reason_of(fate: Fate) -> Option<&'static str> {
    match fate {
        Fate::Kept(_) => None,
        Fate::ExactDuplicate => Some(report::EXACT_DUPLICATE),
        Fate::NearDuplicate => Some(report::NEAR_DUPLICATE),
        Fate::OverLimit => Some(report::OVER_LIMIT),
    }
}

fn summary(parts: &Parts<'_>, entries: &[Entry]) -> Report {
    let mut report = Report::of_dropped(parts.scanned.iter().flat_map(|scanned| &scanned.dropped));
    report.files = parts.files.len() as u64;
    report.file_bytes = parts.files.iter().map(|file| file.bytes).sum();
    let mut groups: BTreeMap<Split, BTreeSet<String>> = BTreeMap::new();
    for entry in entries {
        let (group, license) = (entry.group(parts.files), entry.license(parts.files));
        match entry.fate {
            Fate::Kept(split) => {
                report.keep_text(split, &group, license, entry.bytes());
                groups.entry(split).or_default().insert(group);
            }
            fate => report.drop_text(reason_of(fate).unwrap_or_default(), entry.bytes()),
        }
    }
    for (split, names) in groups {
        report.side_mut(split).groups = names.len() as u64;
    }
    report.shorten();
    report
}
