//! Texts again, from where the first look saw them.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

use super::scan::{Place, Text};
use crate::dedup;
use crate::error::Context;
use crate::source::{Format, SourceFile, jsonl};
use crate::{Error, Result};

/// Reads texts by their places; keeps the last file open.
#[derive(Default)]
pub(super) struct Rereader<'a> {
    open: Option<(PathBuf, File)>,
    text_field: Option<&'a str>,
    buffer: Vec<u8>,
}

impl<'a> Rereader<'a> {
    pub(super) fn new(text_field: Option<&'a str>) -> Self {
        Self { open: None, text_field, buffer: Vec::new() }
    }

    /// The text, if it is still what it was.
    ///
    /// # Errors
    /// If the file cannot be read any more or has changed.
    pub(super) fn read(&mut self, file: &SourceFile, text: &Text) -> Result<String> {
        let found = self.read_at(file, &text.place)?;
        match found {
            Some(found) if dedup::key(&found) == text.key => Ok(found),
            _ => Err(Error::Changed(file.path.clone())),
        }
    }

    fn read_at(&mut self, file: &SourceFile, place: &Place) -> Result<Option<String>> {
        let plain = file.plain_path();
        if self.open.as_ref().is_none_or(|(path, _)| path != plain) {
            self.open = Some((plain.to_owned(), File::open(plain).context("open", plain)?));
        }
        let Some((path, opened)) = &mut self.open else { return Ok(None) };
        opened.seek(SeekFrom::Start(place.range.start)).context("read", path)?;
        self.buffer.clear();
        opened.take(place.range.end - place.range.start).read_to_end(&mut self.buffer).context("read", path)?;
        let Ok(text) = std::str::from_utf8(&self.buffer) else { return Ok(None) };
        let field = match file.format {
            Format::Jsonl => self.text_field,
            Format::Records => None,
            _ => return Ok(Some(text.to_string())),
        };
        let record = jsonl::parse(text, field).ok();
        Ok(record.and_then(|record| record.text.get(place.part.clone()).map(str::to_string)))
    }
}
