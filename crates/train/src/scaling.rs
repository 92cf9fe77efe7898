//! Dynamic scaling of the loss (Micikevicius et al. 2018, section 3.2): the gradients of a larger loss are larger, so
//! that fewer of them fall below what fp16 can hold.

use luban_tensor::Precision;
use serde::{Deserialize, Serialize};

/// The scale of the first step.
const FIRST: f64 = 65536.0;
/// Steps without an overflow after which the scale doubles.
const GOOD_STEPS: u64 = 2000;
/// The largest scale; above it, sums of squares of gradients could leave f32.
const LARGEST: f64 = 16_777_216.0;
/// Below this scale, a gradient that overflows is none that scaling can help.
const SMALLEST: f64 = 1.0 / 16384.0;

/// The scale of the loss, and what it depends on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LossScaling {
    /// Whether the scale follows the gradients; otherwise it stays 1.
    pub dynamic: bool,
    /// What the loss is multiplied by: a power of two.
    pub scale: f64,
    /// Steps without an overflow since the scale last changed.
    pub good_steps: u64,
    /// Steps that were skipped.
    pub skipped: u64,
}

impl Default for LossScaling {
    /// None.
    fn default() -> Self {
        Self { dynamic: false, scale: 1.0, good_steps: 0, skipped: 0 }
    }
}

impl LossScaling {
    /// That of a run in the precision, before its first step.
    pub fn of(precision: Precision) -> Self {
        match precision.scales_loss() {
            true => Self { dynamic: true, scale: FIRST, ..Self::default() },
            false => Self::default(),
        }
    }

    /// Whether it is what a run may have come to: a power of two within its bounds.
    pub fn is_possible(&self) -> bool {
        let power = self.scale.is_normal() && self.scale > 0.0 && self.scale.to_bits().trailing_zeros() >= 52;
        power && if self.dynamic { (SMALLEST..=LARGEST).contains(&self.scale) } else { self.scale == 1.0 }
    }

    /// Whether a further overflow would be the run's end: the scale is so small that it cannot be the reason.
    pub fn is_exhausted(&self) -> bool {
        !self.dynamic || self.scale < SMALLEST
    }

    /// Counts a step whose gradient was finite.
    pub(crate) fn succeeded(&mut self) {
        self.good_steps += 1;
        if self.dynamic && self.good_steps >= GOOD_STEPS {
            self.scale = (2.0 * self.scale).min(LARGEST);
            self.good_steps = 0;
        }
    }

    /// Counts a step whose gradient was not, and which is skipped.
    pub(crate) fn overflowed(&mut self) {
        self.skipped += 1;
        self.good_steps = 0;
        if self.dynamic {
            self.scale /= 2.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_doubles_after_many_good_steps_and_halves_after_a_bad_one() {
        let mut scaling = LossScaling::of(Precision::Fp16);
        (0..1999).for_each(|_| scaling.succeeded());
        assert_eq!((scaling.scale, scaling.good_steps), (FIRST, 1999));
        scaling.succeeded();
        assert_eq!((scaling.scale, scaling.good_steps), (2.0 * FIRST, 0));
        scaling.succeeded();
        scaling.overflowed();
        assert_eq!((scaling.scale, scaling.good_steps, scaling.skipped), (FIRST, 0, 1));
        (0..30).for_each(|_| scaling.overflowed());
        assert!(!scaling.is_exhausted() && scaling.is_possible() && scaling.scale == SMALLEST);
        scaling.overflowed();
        assert!(scaling.is_exhausted() && !scaling.is_possible());
        (0..100_000).for_each(|_| scaling.succeeded());
        assert!(scaling.scale == LARGEST);
        let mut none = LossScaling::of(Precision::Fp8);
        (0..5000).for_each(|_| none.succeeded());
        assert!(none.scale == 1.0 && none.is_exhausted() && none.is_possible());
    }
}
