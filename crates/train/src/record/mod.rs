//! The record of a run: what a person looks at while it runs and after it.
//!
//! Beside the model, in `<target>.run`, lie `history.jsonl` (everything that happened, a line each), `run.json` (what is
//! known besides: settings, plan, how it ended), event files for TensorBoard, and `report.html`, which is written when the run ends, is interrupted or fails; a finished model has it
//! inside too. A resumed run forgets what was recorded after its checkpoint. The record changes nothing of the run, and
//! a disk that refuses it stops no run.

mod history;
mod report;
mod snapshot;
mod tensorboard;

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use luban_base::clock::Clock;
use luban_base::progress::{Event, Observer, StepEvent};
use luban_base::{atomic, memory};
use luban_kernels::{limits, pool};
use serde_json::Value;

use history::History;
use tensorboard::EventFile;

pub use history::{Entry, Step};
pub(crate) use report::style;
pub use report::{DATA_PATH, Ending, Header, data, page};
pub use snapshot::{Snapshot, find};

/// Name of the report, in the model's artifact and in the folder of the record.
pub const REPORT: &str = "report.html";
const HISTORY: &str = "history.jsonl";
/// Steps that are recorded of a run, at most: of longer ones, every second or third and so on.
const STEPS_RECORDED_MAX: u64 = 50_000;
/// How long a session runs before the machine's peak is measured, which takes a third of a second: short runs, as tests
/// are, do without.
const PEAK_AFTER: Duration = Duration::from_secs(5);

/// Where the record of a run to `target` lies: beside it, as `<target>.run`.
pub fn run_dir(target: &Path) -> PathBuf {
    let mut name = target.file_name().map_or_else(|| OsString::from("model"), OsString::from);
    name.push(".run");
    target.with_file_name(name)
}

/// Records a run's events, and hands each on.
pub(crate) struct Recorder<'a> {
    folder: PathBuf,
    next: &'a dyn Observer,
    clock: &'a dyn Clock,
    /// The clock's two readings when the record began.
    began: (u64, Duration),
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    header: Header,
    files: Option<(History, EventFile)>,
    /// What happened before the run's place was known.
    early: Vec<Entry>,
    step: u64,
    every: u64,
    flops_per_token: f64,
    peak_gflops: Option<f64>,
}

impl<'a> Recorder<'a> {
    pub(crate) fn new(target: &Path, next: &'a dyn Observer, clock: &'a dyn Clock) -> Self {
        let began = (clock.unix_s(), clock.elapsed());
        Self { folder: run_dir(target), next, clock, began, state: Mutex::default() }
    }

    /// Begins the record of a session that goes on after step `step` of `steps`.
    pub(crate) fn begin(&self, step: u64, steps: u64, header: Header) {
        let unix_s = self.unix_s();
        let opened = open(&self.folder, step, unix_s).and_then(|files| {
            snapshot::note(&self.folder, &header, &Ending::Running, &Value::Null)?;
            Ok(files)
        });
        let mut state = self.state();
        state.flops_per_token = header.flops_per_token;
        (state.header, state.step) = (header, step);
        state.every = steps.div_ceil(STEPS_RECORDED_MAX).max(1);
        match opened {
            Ok(files) => {
                state.files = Some(files);
                // What follows takes the lock itself.
                drop(state);
            }
            Err(error) => self.give_up(state, &error),
        }
        self.add(Entry::Session { step, unix_s });
        let early = std::mem::take(&mut self.state().early);
        early.into_iter().for_each(|entry| self.add(entry));
    }

    /// Measures what the machine can do at most, once a session has run for a while.
    pub(crate) fn measure_peak(&self, bf16: bool) {
        let (step, due) = {
            let state = self.state();
            (state.step, state.peak_gflops.is_none() && state.files.is_some())
        };
        if !due || self.clock.elapsed() - self.began.1 < PEAK_AFTER {
            return;
        }
        let threads = pool::threads();
        let gflops = if bf16 { limits::peak_bf16_gflops(threads).0 } else { limits::peak_f32_gflops(threads) };
        self.state().peak_gflops = Some(gflops);
        self.add(Entry::Peak { step, gflops });
    }

    /// Writes the report, and gives it; nothing where the disk refused the record.
    pub(crate) fn report(&self, ending: Ending, figures: Value) -> Option<String> {
        let state = self.state();
        state.files.as_ref()?;
        let written = history::read(&self.folder.join(HISTORY)).and_then(|entries| {
            snapshot::note(&self.folder, &state.header, &ending, &figures)?;
            let page = page(&data(&state.header, &ending, figures, entries));
            atomic::write_file(&self.folder.join(REPORT), page.as_bytes()).map_err(io::Error::other)?;
            Ok(page)
        });
        match written {
            Ok(page) => Some(page),
            Err(error) => {
                self.give_up(state, &error);
                None
            }
        }
    }

    fn add(&self, entry: Entry) {
        let mut state = self.state();
        if let Err(error) = state.add(entry, self.unix_s()) {
            self.give_up(state, &error);
        }
    }

    /// Says once that there will be no record any more.
    fn give_up(&self, mut state: MutexGuard<'_, State>, error: &io::Error) {
        state.files = None;
        drop(state);
        let text = format!("the run is no longer recorded in {}: {error}", self.folder.display());
        self.next.event(&Event::Warning(&text));
    }

    fn unix_s(&self) -> f64 {
        self.began.0 as f64 + (self.clock.elapsed() - self.began.1).as_secs_f64()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere does not make the record wrong.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Recorder<'_> {
    fn event(&self, event: &Event<'_>) {
        self.next.event(event);
        let step = self.state().step;
        let entry = match *event {
            Event::Note(text) => Entry::Note { step, text: text.to_owned() },
            Event::Warning(text) => Entry::Warning { step, text: text.to_owned() },
            Event::Step(step) => Entry::Step(figures(&step, self.unix_s())),
            Event::Sample { step, text } => Entry::Sample { step, text: text.to_owned() },
            Event::Validation { step, loss, bits_per_byte, perplexity, accuracy } => {
                let (perplexity, accuracy) = (Some(perplexity), Some(accuracy));
                Entry::Validation { step, loss, bits_per_byte, perplexity, accuracy }
            }
            Event::ValidationPart { step, name, loss } => Entry::ValidationPart { step, name: name.to_owned(), loss },
            _ => return,
        };
        self.add(entry);
    }
}

fn figures(step: &StepEvent, unix_s: f64) -> Step {
    let StepEvent { step, loss, learning_rate, gradient_norm, tokens, seconds, .. } = *step;
    let tokens_per_second = tokens as f64 / seconds.max(1e-9);
    Step { step, unix_s, loss, learning_rate, gradient_norm, tokens_per_second, memory: memory::resident_bytes() }
}

impl State {
    fn add(&mut self, entry: Entry, unix_s: f64) -> io::Result<()> {
        self.step = self.step.max(entry.step());
        let skipped =
            matches!(entry, Entry::Step(step) if step.step > 1 && !step.step.is_multiple_of(self.every.max(1)));
        match &mut self.files {
            _ if skipped => Ok(()),
            Some((history, events)) => {
                history.add(&entry)?;
                show(events, &entry, unix_s, self.peak_gflops.map(|peak| self.flops_per_token / 1e9 / peak))
            }
            None => {
                self.early.push(entry);
                Ok(())
            }
        }
    }
}

/// Writes an entry for TensorBoard; `share` is the share of the machine's peak that a token a second is.
fn show(events: &mut EventFile, entry: &Entry, unix_s: f64, share: Option<f64>) -> io::Result<()> {
    match entry {
        Entry::Step(figures) => {
            let speed = figures.tokens_per_second;
            let mut values = vec![
                ("train/loss", figures.loss),
                ("train/learning_rate", figures.learning_rate),
                ("train/gradient_norm", figures.gradient_norm),
                ("speed/tokens_per_second", speed),
            ];
            values.extend(share.map(|share| ("speed/share_of_peak", share * speed)));
            values.extend(figures.memory.map(|bytes| ("speed/memory_bytes", bytes as f64)));
            events.scalars(unix_s, figures.step, &values)
        }
        Entry::Validation { step, loss, bits_per_byte, perplexity, accuracy } => {
            let mut values = vec![("validation/loss", *loss), ("validation/bits_per_byte", *bits_per_byte)];
            values.extend(perplexity.map(|value| ("validation/perplexity", value)));
            values.extend(accuracy.map(|value| ("validation/accuracy", value)));
            events.scalars(unix_s, *step, &values)
        }
        Entry::ValidationPart { step, name, loss } => {
            events.scalars(unix_s, *step, &[(&format!("validation/{name}_loss"), *loss)])
        }
        Entry::Sample { step, text } => events.text(unix_s, *step, "sample", text),
        _ => Ok(()),
    }
}

/// The folder's files, ready for what comes after step `step`.
fn open(folder: &Path, step: u64, unix_s: f64) -> io::Result<(History, EventFile)> {
    fs::create_dir_all(folder)?;
    let path = folder.join(HISTORY);
    let history = if step == 0 {
        tensorboard::remove(folder)?;
        let _ = fs::remove_file(folder.join(REPORT));
        History::start(&path)?
    } else {
        tensorboard::cut_after(folder, step)?;
        History::go_on(&path, step)?
    };
    Ok((history, EventFile::create(folder, unix_s, step + 1)?))
}
