//! The first look at every file: its pieces, what the rules say of them, and what finds their duplicates.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use luban_base::cancel::Cancel;
use luban_base::digest::{Digest, Hasher};

use crate::dedup::{self, Bands, Key, MinHash};
use crate::error::Context;
use crate::pieces::Pieces;
use crate::quality::{self, Piece, RULES, Scope, TextKind};
use crate::report::Count;
use crate::source::jsonl::Record;
use crate::source::{Format, SourceFile, UNKNOWN_LICENSE, jsonl};
use crate::{Error, Result};

/// What one look at a file found.
pub(super) struct Scanned {
    /// The whole file's digest; none where a rule condemned it before its end.
    pub(super) sha256: Option<Digest>,
    /// The pieces that passed, in order.
    pub(super) texts: Vec<Text>,
    /// What was dropped, by the rule's place in [`RULES`].
    pub(super) dropped: BTreeMap<usize, Count>,
    /// The first rule that dropped something, and what it found.
    pub(super) reason: Option<String>,
}

impl Scanned {
    fn drop_text(&mut self, rule: usize, found: &str, bytes: u64) {
        let count = self.dropped.entry(rule).or_default();
        count.documents += 1;
        count.bytes += bytes;
        self.reason.get_or_insert_with(|| format!("{}: {found}", RULES[rule].name()));
    }
}

/// A piece that passed the rules, without its text.
pub(super) struct Text {
    pub(super) place: Place,
    /// Of its text.
    pub(super) bytes: u32,
    pub(super) key: Key,
    pub(super) bands: Bands,
    /// What its record says, where it is one of a JSONL file.
    pub(super) license: Option<String>,
}

/// Where a text stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Bytes of the file: the piece, or the JSONL line that holds it.
    pub(super) range: Range<u64>,
    /// The JSONL line's number, from 1; 0 in other files.
    pub(super) line: u64,
    /// The piece within the record's text; empty in other files.
    pub(super) part: Range<usize>,
}

/// What all looks share.
pub(super) struct Scanner<'a> {
    pub(super) hash: MinHash,
    pub(super) text_field: Option<&'a str>,
    /// Whether no rule is asked but those that every corpus needs.
    pub(super) keep_all: bool,
    pub(super) cancel: &'a Cancel,
    /// Bytes read so far, for who shows progress.
    pub(super) read: AtomicU64,
}

impl Scanner<'_> {
    pub(super) fn scan(&self, file: &SourceFile) -> Result<Scanned> {
        let opened = File::open(file.plain_path()).context("open", file.plain_path())?;
        let mut reader = Counted { reader: opened, hasher: Hasher::new(), read: &self.read };
        let mut scanned = Scanned { sha256: None, texts: Vec::new(), dropped: BTreeMap::new(), reason: None };
        let whole = match file.format {
            Format::Text(kind) => self.text(file, kind, &mut reader, &mut scanned)?,
            Format::Jsonl => self.records(file, self.text_field, &mut reader, &mut scanned)?,
            Format::Records => self.records(file, None, &mut reader, &mut scanned)?,
            Format::Csv { .. } | Format::Parquet => unreachable!("tables are unpacked before they are looked at"),
        };
        let hasher = reader.hasher;
        scanned.sha256 = match &file.plain {
            Some(plain) => Some(plain.sha256),
            None => whole.then(|| hasher.finish()),
        };
        // An empty file has no pieces; it is too short all the same.
        if scanned.texts.is_empty() && scanned.dropped.is_empty() {
            self.condemn(&Piece::new(b"", true, TextKind::Prose, file.plain_bytes()), &mut scanned);
        }
        Ok(scanned)
    }

    /// Looks through one text; gives whether it was read to its end.
    fn text(&self, file: &SourceFile, kind: TextKind, reader: impl Read, scanned: &mut Scanned) -> Result<bool> {
        let mut pieces = Pieces::new(reader);
        while let Some((offset, bytes)) = pieces.next_piece().context("read", &file.path)? {
            self.check_cancel()?;
            let mark = if offset == 0 && bytes.starts_with(b"\xEF\xBB\xBF") { 3 } else { 0 };
            let piece = Piece::new(&bytes[mark..], offset == 0, kind, file.plain_bytes());
            match self.check(&piece) {
                None => {
                    let range = offset + mark as u64..offset + bytes.len() as u64;
                    scanned.texts.push(self.text_at(Place { range, line: 0, part: 0..0 }, piece.text));
                }
                Some((rule, found)) if RULES[rule].scope() == Scope::File => {
                    scanned.texts.clear();
                    (scanned.dropped, scanned.reason) = (BTreeMap::new(), None);
                    scanned.drop_text(rule, &found, file.plain_bytes());
                    return Ok(false);
                }
                Some((rule, found)) => scanned.drop_text(rule, &found, bytes.len() as u64),
            }
        }
        Ok(true)
    }

    fn records(
        &self,
        file: &SourceFile,
        field: Option<&str>,
        reader: impl Read,
        scanned: &mut Scanned,
    ) -> Result<bool> {
        let mut reader = BufReader::with_capacity(1 << 18, reader);
        let (mut line, mut start) = (Vec::new(), 0);
        for number in 1.. {
            self.check_cancel()?;
            let count = jsonl::read_line(&mut reader, &mut line).context("read", &file.path)?;
            if count == 0 {
                break;
            }
            jsonl::check_length(&file.path, number, count)?;
            let place = Place { range: start..start + line.len() as u64, line: number, part: 0..0 };
            start += count;
            if line.trim_ascii().is_empty() {
                continue;
            }
            match std::str::from_utf8(&line) {
                Ok(text) => {
                    let record =
                        jsonl::parse(text, field).map_err(|reason| jsonl::fault(&file.path, number, reason))?;
                    self.record(file, place, record, scanned)?;
                }
                // Only the rules' own words about it are wanted here: this drops it as not UTF-8.
                Err(_) => self.condemn(&Piece::new(&line, true, TextKind::Prose, line.len() as u64), scanned),
            }
        }
        Ok(true)
    }

    fn record(&self, file: &SourceFile, place: Place, record: Record, scanned: &mut Scanned) -> Result<()> {
        let license = (record.license != UNKNOWN_LICENSE).then_some(record.license);
        let (before, size) = (scanned.texts.len(), record.text.len() as u64);
        let mut pieces = Pieces::new(record.text.as_bytes());
        while let Some((offset, bytes)) = pieces.next_piece().context("read", &file.path)? {
            let piece = Piece::new(bytes, offset == 0, TextKind::Prose, size);
            let Some((rule, found)) = self.check(&piece) else {
                let part = offset as usize..offset as usize + bytes.len();
                let text = self.text_at(Place { part, ..place.clone() }, piece.text);
                scanned.texts.push(Text { license: license.clone(), ..text });
                continue;
            };
            if RULES[rule].scope() == Scope::File {
                scanned.texts.truncate(before);
                scanned.drop_text(rule, &found, size);
                break;
            }
            scanned.drop_text(rule, &found, bytes.len() as u64);
        }
        // A record without any text has no pieces; it is too short all the same.
        if size == 0 {
            self.condemn(&Piece::new(b"", true, TextKind::Prose, 0), scanned);
        }
        Ok(())
    }

    fn condemn(&self, piece: &Piece<'_>, scanned: &mut Scanned) {
        if let Some((rule, found)) = self.check(piece) {
            scanned.drop_text(rule, &found, piece.file_bytes);
        }
    }

    /// What is remembered of a text.
    pub(super) fn text_at(&self, place: Place, text: &str) -> Text {
        // Pieces are at most 64 KiB.
        let bytes = text.len() as u32;
        Text { place, bytes, key: dedup::key(text), bands: self.hash.bands(text), license: None }
    }

    fn check(&self, piece: &Piece<'_>) -> Option<(usize, String)> {
        if self.keep_all { quality::check_needed(piece) } else { quality::check(piece) }
    }

    fn check_cancel(&self) -> Result<()> {
        if self.cancel.is_raised() { Err(Error::Cancelled) } else { Ok(()) }
    }
}

/// A reader that counts and hashes what passes.
struct Counted<'a, R> {
    reader: R,
    hasher: Hasher,
    read: &'a AtomicU64,
}

impl<R: Read> Read for &mut Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}
