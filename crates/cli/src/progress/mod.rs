//! Draws what a job reports: bars on a terminal, a plain line every few seconds elsewhere. Always on standard error.

mod bars;
mod lines;
mod meter;

use std::io::IsTerminal;

use luban_base::progress::{Event, Observer};

use bars::Bars;
use lines::Lines;

/// Shows events to a person.
pub enum Progress {
    /// On a terminal.
    Bars(Bars),
    /// In a file or a pipe.
    Lines(Lines),
}

impl Progress {
    /// The one that fits where standard error goes.
    pub fn new() -> Self {
        if std::io::stderr().is_terminal() { Self::Bars(Bars::new()) } else { Self::Lines(Lines::new()) }
    }

    /// Takes bars off the screen, before something else is printed there.
    pub fn clear(&self) {
        if let Self::Bars(bars) = self {
            bars.clear();
        }
    }
}

impl Observer for Progress {
    fn event(&self, event: &Event<'_>) {
        log(event);
        match self {
            Self::Bars(bars) => bars.event(event),
            Self::Lines(lines) => lines.event(event),
        }
    }
}

/// The same events for `--log`.
fn log(event: &Event<'_>) {
    match event {
        Event::Note(text) => tracing::info!("{text}"),
        Event::Warning(text) => tracing::debug!("warning: {text}"),
        Event::Step(step) => tracing::debug!(
            step = step.step,
            loss = step.loss,
            learning_rate = step.learning_rate,
            gradient_norm = step.gradient_norm,
            tokens = step.tokens,
            seconds = step.seconds,
            "step"
        ),
        Event::Checkpoint { step } => tracing::info!(step, "checkpoint"),
        Event::Validation { step, loss, bits_per_byte, perplexity, accuracy } => {
            tracing::info!(step, loss, bits_per_byte, perplexity, accuracy, "validation");
        }
        Event::ValidationPart { step, name, loss } => tracing::info!(step, name, loss, "validation"),
        Event::Progress { what, done, total, unit } => tracing::trace!(what, done, total, unit, "progress"),
        _ => {}
    }
}
