//! Progress as bars on a terminal.

use std::sync::Mutex;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use luban_base::progress::Event;

use super::meter::{Meter, amount, line};

const STYLE: &str = "{prefix:>11} [{wide_bar}] {percent:>3} % {msg}";
const STYLE_OF_UNKNOWN_LENGTH: &str = "{prefix:>11} {spinner} {msg}";

/// Draws one bar at a time on standard error.
#[derive(Default)]
pub struct Bars(Mutex<State>);

#[derive(Default)]
struct State {
    meter: Meter,
    bar: Option<ProgressBar>,
    what: String,
}

impl Bars {
    /// Nothing drawn yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the bar off the screen.
    pub fn clear(&self) {
        self.state().finish();
    }

    /// Moves the bar, or prints a line above it.
    pub fn event(&self, event: &Event<'_>) {
        let mut state = self.state();
        match event {
            Event::Step(step) => {
                let words = state.meter.describe(step);
                let bar = state.bar("training", step.steps_total);
                bar.set_position(step.step);
                bar.set_message(words);
            }
            Event::Progress { what, done, total, unit } => {
                let bar = state.bar(what, *total);
                bar.set_position(*done);
                bar.set_message(amount(*done, *total, unit));
            }
            other => {
                if let Some(text) = line(other) {
                    state.print(&text);
                }
            }
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // A panic elsewhere does not make the bar wrong.
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl State {
    fn bar(&mut self, what: &str, total: u64) -> &ProgressBar {
        if self.what != what {
            self.finish();
            self.what = what.to_owned();
        }
        let bar = self.bar.get_or_insert_with(|| start(what, total));
        if total > 0 && bar.length() != Some(total) {
            bar.set_length(total);
        }
        bar
    }

    fn print(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }

    fn finish(&mut self) {
        self.what.clear();
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

fn start(what: &str, total: u64) -> ProgressBar {
    let (bar, style) = match total {
        0 => (ProgressBar::new_spinner(), STYLE_OF_UNKNOWN_LENGTH),
        total => (ProgressBar::new(total), STYLE),
    };
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_prefix(what.to_owned());
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
