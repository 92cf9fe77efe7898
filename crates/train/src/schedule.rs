//! The learning rate as a pure function of the step.

use serde::{Deserialize, Serialize};

/// How the learning rate falls after the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decay {
    /// Half a cosine (Loshchilov and Hutter 2017).
    #[default]
    Cosine,
    /// A straight line.
    Linear,
    /// None at first: the peak stays until the last [`COOLDOWN_SHARE`] of the steps, which fall as one minus a root
    /// (warm-up, stable, decay: Hu et al. 2024; Hägele et al. 2024). Runs of different lengths are the same run up to
    /// the shorter one's cooldown.
    Wsd,
}

/// Share of a run's steps that the cooldown of [`Decay::Wsd`] takes: with a fifth, Hägele et al. find such runs as good
/// as those with a cosine of their length.
pub const COOLDOWN_SHARE: f64 = 0.2;

/// A linear warm-up, then a decay to a floor.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Schedule {
    /// The learning rate at the end of the warm-up.
    pub peak: f64,
    /// The last step's learning rate, as a share of the peak.
    pub floor: f64,
    /// Steps of the warm-up.
    pub warmup_steps: u64,
    /// Steps of the whole run.
    pub steps: u64,
    /// The way down.
    pub decay: Decay,
}

impl Schedule {
    /// The learning rate of a step, counted from 0.
    ///
    /// It rises from `peak / warmup_steps` at step 0 to the peak at step `warmup_steps - 1`, and falls to
    /// `peak · floor` at the last step; beyond that it stays.
    pub fn at(&self, step: u64) -> f64 {
        if step < self.warmup_steps {
            return self.peak * (step + 1) as f64 / self.warmup_steps as f64;
        }
        let start = self.cooldown_start();
        let falling = self.steps.saturating_sub(start).max(1);
        let done = ((step + 1).saturating_sub(start) as f64 / falling as f64).min(1.0);
        let left = match self.decay {
            Decay::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
            Decay::Linear => 1.0 - done,
            Decay::Wsd => 1.0 - done.sqrt(),
        };
        self.peak * (self.floor + (1.0 - self.floor) * left)
    }

    /// Steps that are done when the learning rate begins to fall. Up to there, schedules of [`Decay::Wsd`] that differ
    /// in their steps alone are the same.
    pub fn cooldown_start(&self) -> u64 {
        match self.decay {
            Decay::Cosine | Decay::Linear => self.warmup_steps,
            Decay::Wsd => {
                let cooldown = (self.steps as f64 * COOLDOWN_SHARE).round() as u64;
                self.steps.saturating_sub(cooldown).max(self.warmup_steps)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEDULE: Schedule = Schedule { peak: 0.01, floor: 0.1, warmup_steps: 10, steps: 110, decay: Decay::Cosine };

    #[test]
    fn it_rises_to_the_peak_and_falls_to_the_floor() {
        for decay in [Decay::Cosine, Decay::Linear] {
            let schedule = Schedule { decay, ..SCHEDULE };
            assert!((schedule.at(0) - 0.001).abs() < 1e-12);
            assert!((schedule.at(9) - 0.01).abs() < 1e-12);
            assert!((schedule.at(59) - 0.0055).abs() < 1e-12, "half way it is half way: {}", schedule.at(59));
            assert!((schedule.at(109) - 0.001).abs() < 1e-12);
            assert!((schedule.at(500) - 0.001).abs() < 1e-12);
            let falls = (10..110).all(|step| schedule.at(step) < schedule.at(step - 1));
            assert!(falls, "{decay:?} falls at every step");
        }
    }

    #[test]
    fn runs_of_different_lengths_are_the_same_until_the_shorter_one_cools_down() {
        let of = |steps| Schedule { decay: Decay::Wsd, steps, ..SCHEDULE };
        let (short, long) = (of(100), of(200));
        assert_eq!((short.cooldown_start(), long.cooldown_start()), (80, 160));
        assert!((0..80).all(|step| short.at(step) == long.at(step)));
        assert_eq!((short.at(79), long.at(159)), (0.01, 0.01));
        assert!((80..100).all(|step| short.at(step) < short.at(step - 1)));
        assert!((short.at(84) - 0.01 * (0.1 + 0.9 * 0.5)).abs() < 1e-12, "a quarter of the way it is half way down");
        assert!((short.at(99) - 0.001).abs() < 1e-12 && (short.at(500) - 0.001).abs() < 1e-12);
        assert_eq!(of(11).cooldown_start(), 10, "the warm-up is whole");
        assert_eq!(serde_json::to_string(&Decay::Wsd).unwrap(), "\"wsd\"");
    }

    #[test]
    fn a_run_that_is_all_warm_up_or_has_none_is_defined() {
        let all = Schedule { warmup_steps: 10, steps: 10, ..SCHEDULE };
        assert!((all.at(9) - 0.01).abs() < 1e-12);
        assert!((all.at(10) - 0.001).abs() < 1e-12);
        let none = Schedule { warmup_steps: 0, steps: 1, ..SCHEDULE };
        assert!((none.at(0) - 0.001).abs() < 1e-12);
    }
}
