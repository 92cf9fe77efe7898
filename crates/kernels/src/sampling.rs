//! What drawing a token computes over a whole row of logits.

use crate::matmul::assert_len;
use crate::simd::{Kernel, LANES, Math, Simd, dispatch, largest};

/// The first of the largest logits, and its value; nothing where any is NaN or infinite upwards, or where all are
/// minus infinity.
pub fn likeliest(logits: &[f32]) -> Option<(usize, f32)> {
    let top = dispatch(Peak(logits))?;
    let at = logits.iter().position(|&logit| logit == top)?;
    Some((at, top))
}

/// exp((logit - peak) / temperature) for logits up to `peak`; results below 2^-126 are zero.
///
/// # Panics
/// If the lengths do not agree.
pub fn exponentials(logits: &[f32], peak: f32, temperature: f32, weights: &mut [f32]) {
    assert_len("exponentials", weights.len(), &[logits.len()]);
    dispatch(Exponentials { logits, peak, temperature, weights });
}

struct Peak<'a>(&'a [f32]);

impl Kernel for Peak<'_> {
    type Output = Option<f32>;
    #[inline(always)]
    fn run<S: Simd>(self) -> Option<f32> {
        let (zero, one) = (S::splat(0.0), S::splat(1.0));
        let mut broken = zero;
        for i in (0..self.0.len()).step_by(LANES) {
            // A NaN is below nothing.
            let fine = S::at(self.0, i).if_less(S::splat(f32::INFINITY), zero, one);
            broken = broken.max(fine);
        }
        let top = largest::<S>(self.0);
        (broken.largest() == 0.0 && top > f32::NEG_INFINITY).then_some(top)
    }
}

struct Exponentials<'a> {
    logits: &'a [f32],
    peak: f32,
    temperature: f32,
    weights: &'a mut [f32],
}

impl Kernel for Exponentials<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        let (peak, temperature) = (S::splat(self.peak), S::splat(self.temperature));
        for i in (0..self.logits.len()).step_by(LANES) {
            let below = (S::at(self.logits, i) - peak) / temperature;
            below.exp_flushed().put(self.weights, i);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::{Isa, with_isa};
    use crate::testing::{random, same_everywhere};

    #[test]
    fn the_likeliest_is_the_first_of_the_largest() {
        for length in [1, 2, 15, 16, 17, 100, 1000] {
            let mut logits = random(length as u64, length);
            let places = [length / 3, length / 2, length - 1];
            for at in places {
                logits[at] = 9.0;
            }
            for isa in Isa::supported() {
                let found = |logits: &[f32]| with_isa(isa, || likeliest(logits));
                assert_eq!(found(&logits), Some((length / 3, 9.0)), "{length} {isa:?}");
                for (broken, at) in [(f32::NAN, 0), (f32::INFINITY, length - 1), (f32::NAN, length / 2)] {
                    let mut logits = logits.clone();
                    logits[at] = broken;
                    assert_eq!(found(&logits), None, "{length} {isa:?} {at}");
                }
                assert_eq!(found(&vec![f32::NEG_INFINITY; length]), None);
            }
        }
        assert_eq!(likeliest(&[]), None);
    }

    #[test]
    fn exponentials_follow_the_definition_with_the_same_bits_everywhere() {
        for (length, temperature) in [(1, 1.0), (17, 0.7), (300, 1e-3), (1000, 2.5)] {
            let mut logits = random(7, length);
            logits[0] = f32::NEG_INFINITY;
            let weights = same_everywhere(|| {
                let mut weights = vec![1.0; length];
                exponentials(&logits, 1.0, temperature, &mut weights);
                weights
            });
            for (&weight, &logit) in weights.iter().zip(&logits) {
                let expected = ((f64::from(logit) - 1.0) / f64::from(temperature)).exp();
                // The argument is rounded before the exponential, which magnifies that.
                let tolerance = 1e-6 + 1e-7 * (1.0 - f64::from(logit)).min(2.0) / f64::from(temperature);
                assert!((f64::from(weight) - expected).abs() <= tolerance * expected + 2e-38, "{weight} {expected}");
            }
            assert_eq!(weights[0], 0.0);
        }
    }
}
