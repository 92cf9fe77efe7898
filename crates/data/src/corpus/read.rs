//! Reading a corpus.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use luban_artifact::{Artifact, Kind};
use luban_base::digest;

use crate::document::{Document, Split};
use crate::error::Context;
use crate::source::jsonl;
use crate::{Error, Result};

/// A corpus artifact; cheap to clone.
#[derive(Clone, Debug)]
pub struct Corpus {
    artifact: Arc<Artifact>,
    /// Which sides' digests were found right.
    checked: Arc<[OnceLock<()>; 2]>,
}

impl Corpus {
    /// Opens a corpus artifact. Each side's digest is checked when its documents are first asked for.
    ///
    /// # Errors
    /// If it is an artifact of another kind.
    pub fn open(artifact: &Artifact) -> Result<Self> {
        let artifact = artifact.clone().expect_kind(Kind::Corpus)?;
        Ok(Self { artifact: Arc::new(artifact), checked: Arc::default() })
    }

    /// Where it lies.
    pub fn dir(&self) -> &Path {
        self.artifact.dir()
    }

    /// The documents of one side, in the file's order; memory use is one document.
    ///
    /// # Errors
    /// If the file is not what the manifest says, or cannot be read.
    pub fn documents(&self, split: Split) -> Result<Documents> {
        let path = self.artifact.path(split.file())?;
        self.check(split, &path)?;
        let file = File::open(&path).context("open", &path)?;
        Ok(Documents { path, reader: BufReader::with_capacity(1 << 18, file), offset: 0, line: Vec::new() })
    }

    fn check(&self, split: Split, path: &Path) -> Result<()> {
        let checked = &self.checked[split as usize];
        if checked.get().is_some() {
            return Ok(());
        }
        let expected = self.artifact.manifest().files.get(split.file()).map(|entry| entry.sha256);
        let (found, _) = digest::of_file(path).context("read", path)?;
        if expected != Some(found) {
            let expected = expected.map(|digest| digest.to_string()).unwrap_or_default();
            let what = "SHA-256".into();
            return Err(Error::Corrupt { path: path.to_owned(), what, expected, found: found.to_string() });
        }
        let _ = checked.set(());
        Ok(())
    }
}

/// An iterator over the documents of one side.
#[derive(Debug)]
pub struct Documents {
    path: PathBuf,
    reader: BufReader<File>,
    offset: u64,
    line: Vec<u8>,
}

impl Documents {
    /// The file's size.
    ///
    /// # Errors
    /// If the disk refuses.
    pub(crate) fn file_bytes(&self) -> Result<u64> {
        Ok(self.reader.get_ref().metadata().context("look at", &self.path)?.len())
    }

    /// The texts of the documents whose lines begin within a range of the file.
    ///
    /// # Errors
    /// If a line is damaged or cannot be read.
    pub(crate) fn texts_beginning_in(&mut self, range: Range<u64>) -> Result<Vec<String>> {
        // What is left of the line to which the byte before the range belongs.
        let before = range.start.saturating_sub(1);
        self.reader.seek(SeekFrom::Start(before)).context("read", &self.path)?;
        self.offset = before;
        if range.start > 0 {
            self.offset += self.reader.skip_until(b'\n').context("read", &self.path)? as u64;
        }
        let mut texts = Vec::new();
        while self.offset < range.end {
            let Some(document) = self.read()? else { break };
            texts.push(document.text);
        }
        Ok(texts)
    }

    fn read(&mut self) -> Result<Option<Document>> {
        let count = jsonl::read_line(&mut self.reader, &mut self.line).context("read", &self.path)?;
        if count == 0 {
            return Ok(None);
        }
        let place = self.offset;
        self.offset += count;
        serde_json::from_slice(&self.line).map(Some).map_err(|error| Error::Corrupt {
            path: self.path.clone(),
            what: format!("the line at byte {place}"),
            expected: "a document".into(),
            found: error.to_string(),
        })
    }
}

impl Iterator for Documents {
    type Item = Result<Document>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}
