//! The optimizers' arithmetic: AdamW here, [`muon`] beside it.

pub mod muon;

use crate::pool::{SharedMut, parallel, parallel_elements};
use crate::simd::{Kernel, LANES, Simd, dispatch, dot};

/// One step of AdamW (Loshchilov and Hutter, 2019).
#[derive(Clone, Copy, Debug)]
pub struct AdamW {
    /// Learning rate of this step.
    pub learning_rate: f32,
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub epsilon: f32,
    /// Decoupled: weights shrink by learning rate × this.
    pub weight_decay: f32,
    /// Number of this step, from 1, for the bias correction.
    pub step: u64,
    /// Factor on the gradient, for clipping and averaging.
    pub gradient_scale: f32,
}

/// Updates parameters and moments by one step.
///
/// # Panics
/// If the lengths differ or the step is zero.
pub fn adamw(options: &AdamW, parameters: &mut [f32], gradients: &[f32], m: &mut [f32], v: &mut [f32]) {
    let len = parameters.len();
    assert!(gradients.len() == len && m.len() == len && v.len() == len, "adamw: lengths");
    assert!(options.step > 0, "adamw: steps are counted from one");
    let constants = Constants::new(options);
    let (parameters, m, v) = (SharedMut::new(parameters), SharedMut::new(m), SharedMut::new(v));
    parallel_elements(len, |range| {
        // SAFETY: ranges do not overlap.
        let part = |all: &SharedMut<f32>| unsafe { all.slice(range.start, range.len()) };
        let (parameters, m, v) = (part(&parameters), part(&m), part(&v));
        dispatch(Update { constants, parameters, gradients: &gradients[range], m, v });
    });
}

/// Σ x², in blocks of 4096 summed by a fixed tree in f32, then in f64 block after block.
pub fn sum_of_squares(x: &[f32]) -> f64 {
    const BLOCK: usize = 4096;
    let mut sums = vec![0.0; x.len().div_ceil(BLOCK)];
    let out = SharedMut::new(&mut sums);
    const BLOCKS: usize = 16;
    parallel(x.len().div_ceil(BLOCK * BLOCKS), |task| {
        for (i, block) in x[task * BLOCK * BLOCKS..].chunks(BLOCK).take(BLOCKS).enumerate() {
            // SAFETY: each block belongs to one task.
            let sum = unsafe { out.slice(task * BLOCKS + i, 1) };
            sum[0] = f64::from(dispatch(SquaresOfBlock(block)));
        }
    });
    sums.iter().sum()
}

struct SquaresOfBlock<'a>(&'a [f32]);

impl Kernel for SquaresOfBlock<'_> {
    type Output = f32;
    #[inline(always)]
    fn run<S: Simd>(self) -> f32 {
        dot::<S>(self.0, self.0)
    }
}

#[derive(Clone, Copy)]
struct Constants {
    gradient_scale: f32,
    beta1: f32,
    beta2: f32,
    epsilon: f32,
    /// What is left of a weight after its decay.
    kept: f32,
    /// Learning rate over the first moment's bias correction.
    rate: f32,
    /// One over the root of the second moment's bias correction.
    root: f32,
}

impl Constants {
    fn new(options: &AdamW) -> Self {
        let correction = |beta: f32| 1.0 - f64::from(beta).powf(options.step as f64);
        let learning_rate = f64::from(options.learning_rate);
        Self {
            gradient_scale: options.gradient_scale,
            beta1: options.beta1,
            beta2: options.beta2,
            epsilon: options.epsilon,
            kept: (1.0 - learning_rate * f64::from(options.weight_decay)) as f32,
            rate: (learning_rate / correction(options.beta1)) as f32,
            root: correction(options.beta2).sqrt().recip() as f32,
        }
    }
}

struct Update<'a> {
    constants: Constants,
    parameters: &'a mut [f32],
    gradients: &'a [f32],
    m: &'a mut [f32],
    v: &'a mut [f32],
}

impl Kernel for Update<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        let c = self.constants;
        let (beta1, beta2) = (S::splat(c.beta1), S::splat(c.beta2));
        let (rest1, rest2) = (S::splat(1.0 - c.beta1), S::splat(1.0 - c.beta2));
        for i in (0..self.parameters.len()).step_by(LANES) {
            let g = S::at(self.gradients, i) * S::splat(c.gradient_scale);
            let m = beta1.fma(S::at(self.m, i), rest1 * g);
            let v = beta2.fma(S::at(self.v, i), rest2 * g * g);
            let size = v.sqrt().fma(S::splat(c.root), S::splat(c.epsilon));
            let step = S::splat(-c.rate) * m / size;
            S::at(self.parameters, i).fma(S::splat(c.kept), step).put(self.parameters, i);
            m.put(self.m, i);
            v.put(self.v, i);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference;
    use crate::testing::{Guarded, assert_close, random, same_everywhere, wide};

    #[test]
    fn adamw_agrees_with_the_reference_over_steps() {
        for len in [0, 1, 15, 100, 9001] {
            let (start, gradients) = (random(1, len), Guarded::new(&random(2, len)));
            let step = |step| AdamW {
                learning_rate: 0.01,
                beta1: 0.9,
                beta2: 0.95,
                epsilon: 1e-8,
                weight_decay: 0.1,
                step,
                gradient_scale: 0.7,
            };
            let got = same_everywhere(|| {
                let zeros = vec![0.0; len];
                let (mut p, mut m, mut v) = (Guarded::new(&start), Guarded::new(&zeros), Guarded::new(&zeros));
                (1..=5).for_each(|i| adamw(&step(i), &mut p, &gradients, &mut m, &mut v));
                [&p[..], &m[..], &v[..]].concat()
            });
            let (mut p, mut m, mut v) = (wide(&start), vec![0.0; len], vec![0.0; len]);
            (1..=5).for_each(|i| reference::adamw(&step(i), &mut p, &wide(&gradients), &mut m, &mut v));
            assert_close(&got, &[p, m, v].concat(), 1e-6, "adamw");
        }
    }

    #[test]
    fn sums_of_squares_do_not_depend_on_threads() {
        for len in [0, 1, 4096, 4097, 200_003] {
            let x = Guarded::new(&random(1, len));
            let got = same_everywhere(|| vec![sum_of_squares(&x) as f32]);
            let expected: f64 = wide(&x).iter().map(|x| x * x).sum();
            assert_close(&got, &[expected], 1e-6, "squares");
        }
    }
}
