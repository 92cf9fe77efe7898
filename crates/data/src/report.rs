//! What a corpus holds, and what was left out and why.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use luban_artifact::Artifact;
use serde::{Deserialize, Serialize};

use crate::quality::RULES;
use crate::{Error, Result, Split};

/// The report's name in a corpus artifact.
pub const FILE: &str = "report.json";
/// Why a text is left out that repeats an earlier one.
pub const EXACT_DUPLICATE: &str = "exact-duplicate";
/// Why a text is left out that is much like an earlier one.
pub const NEAR_DUPLICATE: &str = "near-duplicate";
/// Why a text is left out that a side has no room for.
pub const OVER_LIMIT: &str = "over-limit";
/// Groups and licences that the report names, the largest first; the others are summed up.
const NAMED_MAX: usize = 30;
/// Rows of each kind that the table shows.
const ROWS_MAX: usize = 12;
const OTHERS: &str = "(others)";

/// Texts and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// Documents.
    pub documents: u64,
    /// UTF-8 bytes of their texts; of files that a rule dropped, their length.
    pub bytes: u64,
}

/// One side of a corpus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Side {
    /// Documents.
    pub documents: u64,
    /// UTF-8 bytes of their texts.
    pub bytes: u64,
    /// Crates, files or records that they come from.
    pub groups: u64,
}

/// What became of a source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Files that were looked at.
    pub files: u64,
    /// Their bytes.
    pub file_bytes: u64,
    /// The training side.
    pub train: Side,
    /// The validation side.
    pub valid: Side,
    /// What was left out, by rule. A rule that judges whole files counts them as one document each.
    pub dropped: BTreeMap<String, Count>,
    /// What was kept, by licence; the largest ones, and `(others)`.
    pub licenses: BTreeMap<String, Count>,
    /// What was kept, by group; the largest ones, and `(others)`.
    pub groups: BTreeMap<String, Count>,
}

impl Report {
    /// Reads the report of a corpus.
    ///
    /// # Errors
    /// If it is missing or damaged.
    pub fn open(corpus: &Artifact) -> Result<Self> {
        let path: PathBuf = corpus.path(FILE)?;
        serde_json::from_slice(&corpus.read(FILE)?).map_err(|error| Error::Corrupt {
            path,
            what: "its content".into(),
            expected: "a corpus report".into(),
            found: error.to_string(),
        })
    }

    /// The beginning of a report: what the rules dropped, by their places in [`RULES`].
    pub(crate) fn of_dropped<'a>(dropped: impl Iterator<Item = (&'a usize, &'a Count)>) -> Self {
        let mut report = Self::default();
        for (&rule, count) in dropped {
            add(&mut report.dropped, RULES[rule].name(), *count);
        }
        report
    }

    pub(crate) fn drop_text(&mut self, reason: &str, bytes: u64) {
        add(&mut self.dropped, reason, Count { documents: 1, bytes });
    }

    pub(crate) fn keep_text(&mut self, split: Split, group: &str, license: &str, bytes: u64) {
        let side = self.side_mut(split);
        side.documents += 1;
        side.bytes += bytes;
        add(&mut self.licenses, license, Count { documents: 1, bytes });
        add(&mut self.groups, group, Count { documents: 1, bytes });
    }

    pub(crate) fn side_mut(&mut self, split: Split) -> &mut Side {
        match split {
            Split::Train => &mut self.train,
            Split::Valid => &mut self.valid,
        }
    }

    /// Sums up small groups and licences, of which there may be millions.
    pub(crate) fn shorten(&mut self) {
        for counts in [&mut self.licenses, &mut self.groups] {
            let small: Vec<String> = largest(counts).skip(NAMED_MAX).map(|(name, _)| name.clone()).collect();
            for name in small {
                let count = counts.remove(&name).unwrap_or_default();
                add(counts, OTHERS, count);
            }
        }
    }
}

fn add(counts: &mut BTreeMap<String, Count>, name: &str, more: Count) {
    if !counts.contains_key(name) {
        counts.insert(name.to_string(), Count::default());
    }
    if let Some(count) = counts.get_mut(name) {
        count.documents += more.documents;
        count.bytes += more.bytes;
    }
}

/// By bytes, the largest first; `(others)` last.
fn largest(counts: &BTreeMap<String, Count>) -> impl Iterator<Item = (&String, &Count)> {
    let mut sorted: Vec<_> = counts.iter().collect();
    sorted.sort_by_key(|(name, count)| (*name == OTHERS, u64::MAX - count.bytes));
    sorted.into_iter()
}

/// The report as a table for people.
pub fn render(report: &Report) -> String {
    let mut text = String::new();
    let all = Count { documents: report.files, bytes: report.file_bytes };
    row(&mut text, "looked at", "files", &all, "");
    for (name, side) in [("training", report.train), ("validation", report.valid)] {
        let count = Count { documents: side.documents, bytes: side.bytes };
        row(&mut text, name, "documents", &count, &format!("from {} groups", side.groups));
    }
    section(&mut text, "left out, by rule", &report.dropped, why);
    section(&mut text, "kept, by licence", &report.licenses, |_| "");
    section(&mut text, "kept, largest groups", &report.groups, |_| "");
    text
}

fn section(text: &mut String, title: &str, counts: &BTreeMap<String, Count>, note: fn(&str) -> &'static str) {
    if counts.is_empty() {
        return;
    }
    text.push_str(&format!("\n{title}\n"));
    for (name, count) in largest(counts).take(ROWS_MAX) {
        row(text, &format!("  {name}"), "", count, note(name));
    }
    if counts.len() > ROWS_MAX {
        text.push_str(&format!("  … and {} more\n", counts.len() - ROWS_MAX));
    }
}

fn why(reason: &str) -> &'static str {
    match reason {
        EXACT_DUPLICATE => "The same text as an earlier one, but for white space.",
        NEAR_DUPLICATE => "At least 80 % of its sequences of five words in common with an earlier one.",
        OVER_LIMIT => "Beyond the bytes that a side may have.",
        other => RULES.iter().find(|rule| rule.name() == other).map_or("", |rule| rule.why()),
    }
}

fn row(text: &mut String, name: &str, unit: &str, count: &Count, note: &str) {
    let megabytes = count.bytes as f64 / 1e6;
    let line = format!("{name:<34} {:>9} {unit:<9} {megabytes:>9.2} MB  {note}", count.documents);
    // Writing into a string cannot fail.
    let _ = writeln!(text, "{}", line.trim_end());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut report = Report { files: 50, file_bytes: 7_000_000, ..Report::default() };
        for index in 0..40 {
            report.keep_text(Split::Train, &format!("crate{index}"), "MIT", 1000 * (index + 1));
        }
        report.keep_text(Split::Valid, "crate99", "Apache-2.0", 2_500_000);
        report.drop_text("generated", 4_000_000);
        report.drop_text(EXACT_DUPLICATE, 10);
        report
    }

    #[test]
    fn small_groups_are_summed_up() {
        let mut report = report();
        report.shorten();
        assert_eq!(report.groups.len(), NAMED_MAX + 1);
        assert_eq!(report.groups[OTHERS].documents, 11);
        assert_eq!(report.groups.values().map(|count| count.bytes).sum::<u64>(), 820_000 + 2_500_000);
        assert_eq!(report.train, Side { documents: 40, bytes: 820_000, groups: 0 });
    }

    #[test]
    fn the_table_names_rules_with_their_reasons() {
        let text = render(&report());
        let line = |start: &str| text.lines().find(|line| line.trim_start().starts_with(start)).unwrap().to_string();
        assert!(line("generated").contains("4.00 MB") && line("generated").contains("a tool wrote it"));
        assert!(line("exact-duplicate").contains("but for white space"));
        assert!(line("validation").contains("2.50 MB"));
        assert!(text.contains("… and 29 more"));
    }
}
