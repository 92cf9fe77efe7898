//! Progress as plain lines, now and then.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use luban_base::progress::Event;

use super::meter::{Meter, amount, line};

/// Time between two lines about the same piece of work.
const PAUSE: Duration = Duration::from_secs(5);

/// Writes lines to standard error.
#[derive(Default)]
pub struct Lines(Mutex<State>);

#[derive(Default)]
struct State {
    meter: Meter,
    last: Option<Instant>,
    what: String,
}

impl Lines {
    /// Nothing written yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes a line if the event is worth one now.
    pub fn event(&self, event: &Event<'_>) {
        // A panic elsewhere does not make the figures wrong.
        let mut state = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(text) = state.text(event, Instant::now()) {
            eprintln!("{text}");
        }
    }
}

impl State {
    fn text(&mut self, event: &Event<'_>, now: Instant) -> Option<String> {
        match event {
            Event::Step(step) => {
                let words = self.meter.describe(step);
                let ends = step.step == step.steps_total;
                let due = self.is_due("training", now) || ends;
                due.then(|| format!("step {}/{} · {words}", step.step, step.steps_total))
            }
            Event::Progress { what, done, total, unit } => {
                self.is_due(what, now).then(|| format!("{what}: {}", amount(*done, *total, unit)))
            }
            other => line(other),
        }
    }

    /// Whether enough time passed; the start of a new piece of work waits too, for most are over at once.
    fn is_due(&mut self, what: &str, now: Instant) -> bool {
        if self.what != what {
            self.what = what.to_owned();
            self.last = Some(now);
            return false;
        }
        let due = self.last.is_none_or(|last| now.duration_since(last) >= PAUSE);
        if due {
            self.last = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_every_few_seconds_and_notes_at_once() {
        let mut state = State::default();
        let start = Instant::now();
        let progress = Event::Progress { what: "reading", done: 5, total: 10, unit: "files" };
        assert_eq!(state.text(&progress, start), None);
        assert_eq!(state.text(&progress, start + Duration::from_secs(1)), None);
        assert_eq!(state.text(&progress, start + PAUSE).as_deref(), Some("reading: 5 of 10 files"));
        assert_eq!(state.text(&progress, start + PAUSE), None);
        assert_eq!(state.text(&Event::Note("hello"), start).as_deref(), Some("hello"));
    }
}
