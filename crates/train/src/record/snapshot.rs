//! What the record of a run says now: while it goes on, and after it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use luban_base::atomic;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::history::{self, Entry, Step};
use super::report::{self, Ending, Header};
use super::{HISTORY, run_dir};

/// Where the record holds what is known beside the history.
const FACTS: &str = "run.json";
/// Longest file of facts that is read: a plan and some settings are far shorter.
const FACTS_BYTES_MAX: u64 = 1 << 20;
/// Steps whose time tells how long the others will take.
const RECENT: usize = 50;

#[derive(Serialize, Deserialize)]
struct Facts {
    header: Header,
    ending: Ending,
    figures: Value,
}

/// Notes what is known of a run besides what happened in it.
pub(super) fn note(folder: &Path, header: &Header, ending: &Ending, figures: &Value) -> io::Result<()> {
    let facts = Facts { header: header.clone(), ending: ending.clone(), figures: figures.clone() };
    atomic::write_file(&folder.join(FACTS), &serde_json::to_vec(&facts)?).map_err(io::Error::other)
}

/// Everything that a record holds.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// What was known before the run.
    pub header: Header,
    /// How it ended, or that it has not. A killed run is one that has not.
    pub ending: Ending,
    /// What came of it, where it has ended.
    pub figures: Value,
    /// What happened, in order.
    pub entries: Vec<Entry>,
}

/// The folder of a record: the given one, or that of the model to be made there; nothing where there is none.
pub fn find(place: &Path) -> Option<PathBuf> {
    [place.to_owned(), run_dir(place)].into_iter().find(|folder| folder.join(HISTORY).is_file())
}

impl Snapshot {
    /// Reads the record in a folder.
    ///
    /// # Errors
    /// If a file cannot be read, or does not hold what a record's file holds.
    pub fn read(folder: &Path) -> io::Result<Self> {
        let path = folder.join(FACTS);
        if fs::metadata(&path)?.len() > FACTS_BYTES_MAX {
            return Err(io::Error::other(format!("{FACTS} is longer than {FACTS_BYTES_MAX} bytes")));
        }
        let Facts { header, ending, figures } = serde_json::from_slice(&fs::read(&path)?)?;
        let entries = history::read(&folder.join(HISTORY))?.collect();
        Ok(Self { header, ending, figures, entries })
    }

    /// What the page shows of it.
    pub fn data(&self) -> Value {
        let mut data = report::data(&self.header, &self.ending, self.figures.clone(), self.entries.iter().cloned());
        data["seconds_left"] = self.seconds_left().into();
        data
    }

    /// The recorded steps.
    pub fn steps(&self) -> impl DoubleEndedIterator<Item = &Step> {
        self.entries.iter().filter_map(|entry| if let Entry::Step(step) = entry { Some(step) } else { None })
    }

    /// Steps that have been done.
    pub fn done(&self) -> u64 {
        self.steps().next_back().map_or(0, |step| step.step)
    }

    /// Seconds that the steps still to be done will take, by the last ones of this session.
    pub fn seconds_left(&self) -> Option<f64> {
        let begun = self.entries.iter().rposition(|entry| matches!(entry, Entry::Session { .. })).unwrap_or(0);
        let session = self.entries[begun..].iter().rev();
        let mut recent = session.filter_map(|entry| if let Entry::Step(step) = entry { Some(step) } else { None });
        let last = recent.next()?;
        let first = recent.take(RECENT).last()?;
        let each = (last.unix_s - first.unix_s) / (last.step - first.step).max(1) as f64;
        Some(each * self.header.steps_total.saturating_sub(last.step) as f64)
    }

    /// The share of the machine's peak that the given tokens a second are.
    pub fn share_of_peak(&self, tokens_per_second: f64) -> Option<f64> {
        let peak = self.entries.iter().rev().find_map(|entry| match entry {
            Entry::Peak { gflops, .. } => Some(*gflops),
            _ => None,
        });
        peak.map(|gflops| tokens_per_second * self.header.flops_per_token / 1e9 / gflops)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::history::History;

    fn step(step: u64, unix_s: f64) -> Entry {
        let (loss, learning_rate, gradient_norm, tokens_per_second) = (3.0, 1e-3, 1.0, 2e3);
        Entry::Step(Step { step, unix_s, loss, learning_rate, gradient_norm, tokens_per_second, memory: None })
    }

    #[test]
    fn a_run_that_goes_on_tells_how_far_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let run = run_dir(&folder.path().join("model"));
        assert_eq!(find(&folder.path().join("model")), None);
        fs::create_dir_all(&run).unwrap();
        let header = Header { steps_total: 100, flops_per_token: 1e6, ..Header::default() };
        note(&run, &header, &Ending::Running, &Value::Null).unwrap();
        let mut history = History::start(&run.join(HISTORY)).unwrap();
        let entries = [
            Entry::Session { step: 0, unix_s: 0.0 },
            step(1, 1.0),
            // An hour passed between the sessions, which does not count.
            Entry::Session { step: 1, unix_s: 3600.0 },
            Entry::Peak { step: 1, gflops: 4.0 },
            step(2, 3602.0),
            step(3, 3604.0),
            step(4, 3606.0),
        ];
        entries.iter().for_each(|entry| history.add(entry).unwrap());
        for place in [folder.path().join("model"), run.clone()] {
            assert_eq!(find(&place).as_deref(), Some(&*run));
        }
        let snapshot = Snapshot::read(&run).unwrap();
        assert_eq!((snapshot.done(), snapshot.seconds_left()), (4, Some(192.0)));
        assert_eq!(snapshot.share_of_peak(2e3), Some(0.5));
        assert_eq!(snapshot.data()["ending"]["how"], "running");
        fs::write(run.join(FACTS), "{}").unwrap();
        assert!(Snapshot::read(&run).unwrap_err().to_string().contains("header"));
    }
}
