//! Every text that passed the rules, and what became of it.

use super::scan::{Scanned, Text};
use crate::Split;
use crate::source::SourceFile;

/// A text of the catalogue.
pub(super) struct Entry {
    /// The file's place in the list of files.
    pub(super) file: usize,
    pub(super) text: Text,
    /// Whether this is the end of a source that had to be cut in two.
    pub(super) end: bool,
    pub(super) fate: Fate,
}

/// What becomes of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is in the corpus.
    Kept(Split),
    /// It repeats an earlier text.
    ExactDuplicate,
    /// It is much like an earlier text.
    NearDuplicate,
    /// Its side of the corpus is full.
    OverLimit,
}

impl Entry {
    /// What must not be torn apart between training and validation.
    pub(super) fn group(&self, files: &[SourceFile]) -> String {
        let group = &files[self.file].group;
        let end = if self.end { " (its end)" } else { "" };
        match self.text.place.line {
            0 => format!("{group}{end}"),
            line => format!("{group}:{line}{end}"),
        }
    }

    /// Where the text came from, as documents tell it.
    pub(super) fn source(&self, files: &[SourceFile]) -> String {
        let (name, place) = (&files[self.file].name, &self.text.place);
        let (record, offset) = match place.line {
            0 => (name.clone(), place.range.start),
            line => (format!("{name}:{line}"), place.part.start as u64),
        };
        // A byte order mark is no beginning of its own.
        if offset > 3 { format!("{record}+{offset}") } else { record }
    }

    pub(super) fn license<'a>(&'a self, files: &'a [SourceFile]) -> &'a str {
        self.text.license.as_deref().unwrap_or(&files[self.file].license)
    }

    pub(super) fn bytes(&self) -> u64 {
        u64::from(self.text.bytes)
    }

    pub(super) fn is_kept(&self) -> bool {
        matches!(self.fate, Fate::Kept(_))
    }
}

/// All texts in the files' order; for a start, all go to training.
pub(super) fn catalogue(scanned: &mut [Scanned]) -> Vec<Entry> {
    let texts = scanned.iter_mut().map(|scanned| std::mem::take(&mut scanned.texts)).enumerate();
    let entry = |file, text| Entry { file, text, end: false, fate: Fate::Kept(Split::Train) };
    texts.flat_map(|(file, texts)| texts.into_iter().map(move |text| entry(file, text))).collect()
}
