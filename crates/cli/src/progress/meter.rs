//! Smoothed figures of a run, as words.

use luban_base::progress::{Event, StepEvent};

use crate::format;

/// Weight of a new step in the smoothed figures once there are many.
const SMOOTHING: f64 = 0.05;

/// Means over the last steps, more recent ones counting more.
#[derive(Debug, Default)]
pub struct Meter {
    steps: u64,
    loss: f64,
    seconds: f64,
    tokens_per_second: f64,
}

impl Meter {
    /// Takes a step in; gives `loss 2.31 · 24.1 k tokens/s · 1 min 05 s left`.
    pub fn describe(&mut self, step: &StepEvent) -> String {
        self.steps += 1;
        // The first steps are averaged evenly, so that the first one does not linger.
        let weight = SMOOTHING.max(1.0 / self.steps as f64);
        let blend = |mean: &mut f64, value: f64| *mean += weight * (value - *mean);
        blend(&mut self.loss, step.loss);
        blend(&mut self.seconds, step.seconds);
        blend(&mut self.tokens_per_second, step.tokens as f64 / step.seconds.max(1e-9));
        let left = step.steps_total.saturating_sub(step.step) as f64 * self.seconds;
        format!(
            "loss {:.3} · {} tokens/s · {} left",
            self.loss,
            format::count(self.tokens_per_second),
            format::duration(left)
        )
    }
}

/// Lines for events that a person reads once; none for those that are drawn as bars or not at all.
pub fn line(event: &Event<'_>) -> Option<String> {
    match event {
        Event::Note(text) => Some((*text).to_owned()),
        Event::Warning(text) => Some(format!("warning: {text}")),
        Event::Validation { step, loss, bits_per_byte, perplexity, accuracy } => Some(format!(
            "step {step}: validation loss {loss:.3}, {bits_per_byte:.3} bits a byte, perplexity {perplexity:.1}, \
             {:.1} % told right",
            100.0 * accuracy
        )),
        Event::ValidationPart { step, name, loss } => Some(format!("step {step}: {name} validation loss {loss:.3}")),
        Event::Sample { step, text } => {
            let text = text.trim_end().lines().map(|line| format!("  | {line}\n")).collect::<String>();
            Some(format!("step {step}: a sample\n{}", text.trim_end_matches('\n')))
        }
        _ => None,
    }
}

/// `3.1 MB of 12.0 MB`, `1,200 files`.
pub fn amount(done: u64, total: u64, unit: &str) -> String {
    let show = |value: u64| match unit {
        "bytes" => format::bytes(value as f64),
        _ => format::grouped(value),
    };
    let unit = if unit == "bytes" { String::new() } else { format!(" {unit}") };
    match total {
        0 => format!("{}{unit}", show(done)),
        total => format!("{} of {}{unit}", show(done), show(total)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(number: u64, loss: f64) -> StepEvent {
        StepEvent {
            step: number,
            steps_total: 100,
            loss,
            learning_rate: 1e-3,
            gradient_norm: 1.0,
            tokens: 4096,
            seconds: 0.5,
        }
    }

    #[test]
    fn a_step_is_described_with_what_is_left() {
        let mut meter = Meter::default();
        assert_eq!(meter.describe(&step(1, 4.0)), "loss 4.000 · 8.19 k tokens/s · 50 s left");
        assert_eq!(meter.describe(&step(2, 2.0)), "loss 3.000 · 8.19 k tokens/s · 49 s left");
    }

    #[test]
    fn lines_and_amounts_read_well() {
        assert_eq!(amount(1200, 0, "files"), "1,200 files");
        assert_eq!(amount(3_100_000, 12_000_000, "bytes"), "3.10 MB of 12.0 MB");
        assert_eq!(
            line(&Event::Sample { step: 7, text: "fn a() {\n}\n" }).unwrap(),
            "step 7: a sample\n  | fn a() {\n  | }"
        );
        assert_eq!(line(&Event::Checkpoint { step: 3 }), None);
    }
}
