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
}

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
        let falling = self.steps.saturating_sub(self.warmup_steps).max(1);
        let done = ((step + 1 - self.warmup_steps) as f64 / falling as f64).min(1.0);
        let left = match self.decay {
            Decay::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
            Decay::Linear => 1.0 - done,
        };
        self.peak * (self.floor + (1.0 - self.floor) * left)
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
    fn a_run_that_is_all_warm_up_or_has_none_is_defined() {
        let all = Schedule { warmup_steps: 10, steps: 10, ..SCHEDULE };
        assert!((all.at(9) - 0.01).abs() < 1e-12);
        assert!((all.at(10) - 0.001).abs() < 1e-12);
        let none = Schedule { warmup_steps: 0, steps: 1, ..SCHEDULE };
        assert!((none.at(0) - 0.001).abs() < 1e-12);
    }
}
