//! What guards a run: which validation was the best, when there is nothing more to learn, and when the loss has left
//! the place where it belongs.
//!
//! Every verdict is a function of the losses so far, and what it needs of them is part of a checkpoint, so that a
//! resumed run comes to the same ones.

use std::collections::VecDeque;

use luban_data::loader::Positions;
use serde::{Deserialize, Serialize};

/// Losses that the usual one is the median of.
const WINDOW: usize = 128;
/// Losses before anything is judged.
const WINDOW_MIN: usize = 32;
/// How many times the usual distance from the median is far from it; the distance is 1.4826 times the median one, which
/// is the standard deviation where losses are normal.
const FAR: f32 = 8.0;
const DEVIATION: f32 = 1.4826;
/// No loss is far that is nearer than this, in nats.
const FAR_NATS_MIN: f32 = 0.5;

/// Which weights a run leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keep {
    /// Those of the last step.
    #[default]
    Last,
    /// Those of the step with the least loss on held-out text.
    Best,
}

/// What is remembered of the losses so far. They are f32, which JSON gives back to the bit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Guards {
    /// The best validation.
    pub best: Option<Best>,
    /// Validations since then.
    pub validations_since_best: u64,
    /// Whether there was nothing more to learn.
    pub stopped: bool,
    /// The last losses that were as usual.
    usual: VecDeque<f32>,
    /// Their median and how far above it is too far, at the time when the median was least: a loss that climbs slowly
    /// takes the median of late with it.
    least: Option<(f32, f32)>,
    /// The steps in succession, up to now, whose loss was not.
    pub spike: Option<Spike>,
}

/// The best validation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Steps done.
    pub step: u64,
    /// The loss.
    pub loss: f32,
}

/// A loss far above what it was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spike {
    /// The first step that was, counted from 1.
    pub step: u64,
    /// Where the loader stood before that step.
    pub position: Positions,
    /// Steps, that one included.
    pub steps: u64,
    /// The median loss before.
    pub usual: f32,
}

impl Guards {
    /// Takes in the loss of a step, counted from 1, and where the loader stood before it. Gives the spike once it has
    /// lasted for `steps_max` steps; 0 stands for ever. A loss that is no number is not judged here: where a step is
    /// skipped for it, it says nothing about the weights.
    pub fn watch_step(&mut self, step: u64, loss: f64, before: Positions, steps_max: u64) -> Option<Spike> {
        let loss = loss as f32;
        if !loss.is_finite() {
            return None;
        }
        match self.least {
            Some((usual, far)) if loss > usual + far => {
                let new = Spike { step, position: before, steps: 0, usual };
                let spike = self.spike.get_or_insert(new);
                spike.steps += 1;
                (steps_max > 0 && spike.steps >= steps_max).then(|| spike.clone())
            }
            _ => {
                self.spike = None;
                if self.usual.len() == WINDOW {
                    self.usual.pop_front();
                }
                self.usual.push_back(loss);
                if let Some(now) = self.far()
                    && self.least.is_none_or(|least| now.0 <= least.0)
                {
                    self.least = Some(now);
                }
                None
            }
        }
    }

    /// The usual loss of late, and how far above it is too far; nothing as long as too few were seen.
    fn far(&self) -> Option<(f32, f32)> {
        if self.usual.len() < WINDOW_MIN {
            return None;
        }
        let usual = median(self.usual.iter().copied().collect());
        let distance = median(self.usual.iter().map(|loss| (loss - usual).abs()).collect());
        Some((usual, (FAR * DEVIATION * distance).max(FAR_NATS_MIN)))
    }

    /// Takes in a validation; says whether it is the best so far. After `patience` of them in succession that are not,
    /// the run is stopped.
    pub fn watch_validation(&mut self, step: u64, loss: f64, patience: Option<u64>) -> bool {
        let loss = loss as f32;
        let better = loss.is_finite() && self.best.is_none_or(|best| loss < best.loss);
        if better {
            self.best = Some(Best { step, loss });
            self.validations_since_best = 0;
        } else {
            self.validations_since_best += 1;
            self.stopped = patience.is_some_and(|patience| self.validations_since_best >= patience);
        }
        better
    }
}

fn median(mut values: Vec<f32>) -> f32 {
    let middle = values.len() / 2;
    *values.select_nth_unstable_by(middle, f32::total_cmp).1
}

#[cfg(test)]
mod tests {
    use super::*;
    use luban_base::random::Stream;

    /// Losses of a run that learns, with noise.
    fn usual(step: u64) -> f64 {
        let noise = f64::from(Stream::new(1, &[2]).uniform_at(step)) - 0.5;
        1.5 + 6.0 * (-(step as f64) / 60.0).exp() + 0.4 * noise
    }

    fn position(step: u64) -> Positions {
        let cursor = serde_json::json!({ "epoch": 0, "pass": 0, "chunk": 0, "piece": 0, "token": 0 });
        serde_json::from_value(serde_json::json!({ "stream": cursor, "block": 0, "taken": step })).unwrap()
    }

    fn watch(guards: &mut Guards, step: u64, loss: f64) -> Option<Spike> {
        guards.watch_step(step, loss, position(step), 20)
    }

    #[test]
    fn a_run_that_learns_is_left_alone_and_so_are_short_spikes() {
        let mut guards = Guards::default();
        for step in 1..=2000 {
            let spiky = step % 100 > 85 && step > 200;
            let loss = usual(step) + if spiky { 5.0 } else { 0.0 };
            assert_eq!(watch(&mut guards, step, loss), None, "step {step}");
        }
    }

    #[test]
    fn a_loss_that_rises_and_stays_is_found_where_it_began_across_a_resume_too() {
        let mut guards = Guards::default();
        (1..=300).for_each(|step| assert_eq!(watch(&mut guards, step, usual(step)), None));
        for step in 301..320 {
            assert_eq!(watch(&mut guards, step, 4.0), None);
            guards = serde_json::from_str(&serde_json::to_string(&guards).unwrap()).unwrap();
        }
        let spike = watch(&mut guards, 320, 4.0).unwrap();
        assert_eq!((spike.step, spike.steps, &spike.position), (301, 20, &position(301)));
        assert!((spike.usual - 1.5).abs() < 0.2, "{spike:?}");
        assert_eq!(guards.watch_step(321, 4.0, position(321), 0), None, "0 stands for ever");
    }

    #[test]
    fn a_loss_that_climbs_slowly_is_found_too() {
        let mut guards = Guards::default();
        (1..=600).for_each(|step| assert_eq!(watch(&mut guards, step, usual(step)), None));
        let found = (601..=1600).find_map(|step| watch(&mut guards, step, usual(step) + (step - 600) as f64 / 200.0));
        assert!((780..950).contains(&found.as_ref().unwrap().step), "{found:?}");
    }

    #[test]
    fn patience_ends_after_as_many_validations_without_a_better_one() {
        let mut guards = Guards::default();
        let losses = [3.0, 2.0, 2.1, 2.0, 1.9, f64::NAN, 2.5, 1.9];
        let better = losses.map(|loss| guards.watch_validation(0, loss, Some(3)));
        assert_eq!(better, [true, true, false, false, true, false, false, false]);
        assert!(guards.stopped);
        let mut patient = Guards::default();
        let better = losses.map(|loss| patient.watch_validation(0, loss, None));
        assert_eq!(better.iter().filter(|&&better| better).count(), 3);
        assert!(!patient.stopped);
    }
}
