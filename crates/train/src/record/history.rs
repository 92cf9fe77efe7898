//! What happened in a run, as lines of JSON: the source of its charts.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Longest line that is read; a sample or a note is far shorter.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Entry {
    /// The program began to work on the run, or went on with it.
    Session {
        /// Steps done before.
        step: u64,
        /// When, in seconds since 1970.
        unix_s: f64,
    },
    /// A step.
    Step(Step),
    /// The loss on held-out text.
    Validation {
        /// Steps done.
        step: u64,
        /// Mean loss, nats a token.
        loss: f64,
        /// Bits a byte of text.
        bits_per_byte: f64,
        /// To how many tokens, all as likely, the model's doubt comes; records of earlier versions lack it.
        #[serde(default)]
        perplexity: Option<f64>,
        /// Share of the tokens that the model holds for the likeliest; likewise.
        #[serde(default)]
        accuracy: Option<f64>,
    },
    /// One of the losses that the one before it is made of.
    ValidationPart {
        /// Steps done.
        step: u64,
        /// What it is called.
        name: String,
        /// Mean loss, nats a token.
        loss: f64,
    },
    /// A text of the model's own.
    Sample {
        /// Steps done.
        step: u64,
        /// The prompt and what followed.
        text: String,
    },
    /// The most that the machine was measured to do.
    Peak {
        /// Steps done.
        step: u64,
        /// 1e9 operations a second, in the precision of the run's products.
        gflops: f64,
    },
    /// A line that a person should read once.
    Note {
        /// Steps done.
        step: u64,
        /// The line.
        text: String,
    },
    /// A note on what went otherwise than hoped.
    Warning {
        /// Steps done.
        step: u64,
        /// The line.
        text: String,
    },
}

/// The figures of a step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Steps done, this one included.
    pub step: u64,
    /// When it ended, in seconds since 1970.
    pub unix_s: f64,
    /// Mean loss of the batch, nats a token.
    pub loss: f64,
    /// Learning rate that was used.
    pub learning_rate: f64,
    /// Norm of the gradient before clipping.
    pub gradient_norm: f64,
    /// Tokens a second.
    pub tokens_per_second: f64,
    /// Memory that the program has resident, bytes, where the system tells.
    pub memory: Option<u64>,
}

impl Entry {
    /// Steps that were done when it happened.
    pub fn step(&self) -> u64 {
        match self {
            Self::Step(step) => step.step,
            Self::Session { step, .. }
            | Self::Validation { step, .. }
            | Self::ValidationPart { step, .. }
            | Self::Sample { step, .. }
            | Self::Peak { step, .. }
            | Self::Note { step, .. }
            | Self::Warning { step, .. } => *step,
        }
    }
}

/// The file, open at its end.
#[derive(Debug)]
pub(crate) struct History(File);

impl History {
    /// Opens the file to add to it, without what was written after step `step`.
    pub(crate) fn go_on(path: &Path, step: u64) -> io::Result<Self> {
        if path.exists() {
            let mut kept = Vec::new();
            for entry in read(path)?.filter(|entry| entry.step() <= step) {
                serde_json::to_writer(&mut kept, &entry)?;
                kept.push(b'\n');
            }
            luban_base::atomic::write_file(path, &kept).map_err(io::Error::other)?;
        }
        Ok(Self(OpenOptions::new().append(true).create(true).open(path)?))
    }

    /// Starts the file anew.
    pub(crate) fn start(path: &Path) -> io::Result<Self> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Self::go_on(path, 0),
        }
    }

    pub(crate) fn add(&mut self, entry: &Entry) -> io::Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        self.0.write_all(&line)
    }
}

/// The entries of a file, in its order. Lines that are none, as a kill may leave, are passed over.
pub(crate) fn read(path: &Path) -> io::Result<impl Iterator<Item = Entry> + use<>> {
    let mut reader = BufReader::new(File::open(path)?);
    let mut line = Vec::new();
    Ok(std::iter::from_fn(move || {
        loop {
            line.clear();
            match reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
            if let Ok(entry) = serde_json::from_slice(&line) {
                return Some(entry);
            }
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(step: u64, text: &str) -> Entry {
        Entry::Note { step, text: text.to_owned() }
    }

    #[test]
    fn a_resume_forgets_what_will_be_done_again_and_what_a_kill_tore() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.jsonl");
        let mut history = History::start(&path).unwrap();
        (1..=5).for_each(|step| history.add(&note(step, "once")).unwrap());
        history.0.write_all(b"{\"kind\":\"no").unwrap();
        let mut history = History::go_on(&path, 3).unwrap();
        history.add(&note(4, "again")).unwrap();
        let found = read(&path).unwrap().collect::<Vec<_>>();
        assert_eq!(found, [note(1, "once"), note(2, "once"), note(3, "once"), note(4, "again")]);
        History::start(&path).unwrap();
        assert_eq!(read(&path).unwrap().count(), 0);
    }
}
