//! Softmax and cross entropy over the rows of a matrix of logits.

use crate::matmul::assert_len;
use crate::pool::{SharedMut, parallel_ranges};
use crate::simd::{Kernel, LANES, Math, Simd, dispatch, largest, ln};

/// A target that counts for nothing: its loss and gradient are zero.
pub const IGNORED: u32 = u32::MAX;

/// Cross entropy in nats for each row, and its gradient in place of the logits: (softmax - one-hot) × `scale`.
///
/// `logits` is rows × classes, with one target a row; [`IGNORED`] rows get zeros.
///
/// # Panics
/// If the lengths do not agree, or a target is no class.
pub fn cross_entropy(logits: &mut [f32], targets: &[u32], scale: f32, losses: &mut [f32]) {
    let classes = check("cross_entropy", logits.len(), targets, losses.len());
    let (logits, losses) = (SharedMut::new(logits), SharedMut::new(losses));
    parallel_ranges(targets.len(), classes, |rows| {
        // SAFETY: ranges of rows do not overlap.
        let (logits, losses) =
            unsafe { (logits.slice(rows.start * classes, rows.len() * classes), losses.slice(rows.start, rows.len())) };
        for ((row, &target), loss) in logits.chunks_exact_mut(classes).zip(&targets[rows]).zip(losses) {
            if target == IGNORED {
                row.fill(0.0);
                *loss = 0.0;
                continue;
            }
            let logit = row[target as usize];
            let Log { top, sum } = dispatch(Exponentials(row));
            *loss = (top - logit) + ln(sum);
            dispatch(Scale(row, scale / sum));
            row[target as usize] -= scale;
        }
    });
}

/// Cross entropy in nats for each row, without a gradient.
///
/// # Panics
/// As [`cross_entropy`].
pub fn negative_log_likelihood(logits: &[f32], targets: &[u32], losses: &mut [f32]) {
    let classes = check("negative_log_likelihood", logits.len(), targets, losses.len());
    let losses = SharedMut::new(losses);
    parallel_ranges(targets.len(), classes, |rows| {
        // SAFETY: ranges of rows do not overlap.
        let losses = unsafe { losses.slice(rows.start, rows.len()) };
        let logits = &logits[rows.start * classes..rows.end * classes];
        for ((row, &target), loss) in logits.chunks_exact(classes).zip(&targets[rows]).zip(losses) {
            *loss = if target == IGNORED { 0.0 } else { log_sum_exp(row, row[target as usize]) };
        }
    });
}

/// ln Σ exp(logit) of one row, less `offset`, as [`cross_entropy`] computes it.
pub fn log_sum_exp(row: &[f32], offset: f32) -> f32 {
    let Log { top, sum } = dispatch(SumOfExponentials(row));
    (top - offset) + ln(sum)
}

/// Softmax in place over rows of `classes` elements.
///
/// # Panics
/// If `x` is not whole rows.
pub fn softmax(x: &mut [f32], classes: usize) {
    assert!(classes > 0 && x.len().is_multiple_of(classes), "softmax: {} elements in rows of {classes}", x.len());
    let rows = x.len() / classes;
    let x = SharedMut::new(x);
    parallel_ranges(rows, classes, |rows| {
        // SAFETY: ranges of rows do not overlap.
        let x = unsafe { x.slice(rows.start * classes, rows.len() * classes) };
        for row in x.chunks_exact_mut(classes) {
            let Log { sum, .. } = dispatch(Exponentials(row));
            dispatch(Scale(row, 1.0 / sum));
        }
    });
}

/// Gives the number of classes.
fn check(what: &str, logits: usize, targets: &[u32], losses: usize) -> usize {
    assert_eq!(losses, targets.len(), "{what}: lengths of losses and targets");
    if targets.is_empty() {
        assert_eq!(logits, 0, "{what}: logits without targets");
        return 0;
    }
    let classes = logits / targets.len();
    assert_len(what, logits, &[targets.len(), classes]);
    if let Some(beyond) = targets.iter().find(|&&t| t != IGNORED && t as usize >= classes) {
        panic!("{what}: target {beyond} of {classes} classes");
    }
    classes
}

/// The largest logit, and Σ exp(logit - largest).
struct Log {
    top: f32,
    sum: f32,
}

/// Replaces a row by exp(logit - largest).
struct Exponentials<'a>(&'a mut [f32]);

impl Kernel for Exponentials<'_> {
    type Output = Log;
    #[inline(always)]
    fn run<S: Simd>(self) -> Log {
        let top = largest::<S>(self.0);
        let mut sum = S::splat(0.0);
        for i in (0..self.0.len()).step_by(LANES) {
            let e = (S::at_or(self.0, i, f32::NEG_INFINITY) - S::splat(top)).exp_flushed();
            e.put(self.0, i);
            sum = sum + e;
        }
        Log { top, sum: sum.sum() }
    }
}

/// The same sums without writing.
struct SumOfExponentials<'a>(&'a [f32]);

impl Kernel for SumOfExponentials<'_> {
    type Output = Log;
    #[inline(always)]
    fn run<S: Simd>(self) -> Log {
        let top = largest::<S>(self.0);
        let mut sum = S::splat(0.0);
        for i in (0..self.0.len()).step_by(LANES) {
            sum = sum + (S::at_or(self.0, i, f32::NEG_INFINITY) - S::splat(top)).exp_flushed();
        }
        Log { top, sum: sum.sum() }
    }
}

struct Scale<'a>(&'a mut [f32], f32);

impl Kernel for Scale<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        for i in (0..self.0.len()).step_by(LANES) {
            (S::at(self.0, i) * S::splat(self.1)).put(self.0, i);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference;
    use crate::testing::{Guarded, assert_close, assert_same_bits, check_gradient, random, same_everywhere, wide};

    fn case(rows: usize, classes: usize) -> (Vec<f32>, Vec<u32>) {
        let logits = random(1, rows * classes).iter().map(|x| x * 9.0).collect();
        (logits, (0..rows).map(|r| if r % 4 == 3 { IGNORED } else { (r * 7 % classes) as u32 }).collect())
    }

    #[test]
    fn losses_agree_with_the_reference_and_with_scoring() {
        for (rows, classes) in [(0, 5), (1, 1), (5, 3), (4, 16), (9, 333), (3, 5000)] {
            let (logits, targets) = case(rows, classes);
            let losses = same_everywhere(|| {
                let (mut gradient, mut losses) = (Guarded::new(&logits), Guarded::new(&vec![9.0; rows]));
                cross_entropy(&mut gradient, &targets, 0.5, &mut losses);
                losses.to_vec()
            });
            assert_close(&losses, &reference::cross_entropy(&wide(&logits), &targets), 1e-6, "losses");
            let mut scores = vec![9.0; rows];
            negative_log_likelihood(&Guarded::new(&logits), &targets, &mut scores);
            assert_same_bits(&scores, &losses, "scores");
        }
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let (logits, targets) = case(5, 37);
        let got = same_everywhere(|| {
            let mut gradient = logits.clone();
            cross_entropy(&mut gradient, &targets, 0.5, &mut [0.0; 5]);
            gradient
        });
        check_gradient(&got, &wide(&logits), |logits| {
            0.5 * reference::cross_entropy(logits, &targets).iter().sum::<f64>()
        });
    }

    #[test]
    fn softmax_sums_to_one() {
        let mut x = random(1, 7 * 45);
        softmax(&mut x, 45);
        assert!(x.chunks_exact(45).all(|row| (row.iter().sum::<f32>() - 1.0).abs() < 1e-6));
    }

    #[test]
    fn extremes_stay_sane() {
        let mut losses = [0.0; 3];
        negative_log_likelihood(&[1e38, -1e38, f32::NEG_INFINITY, 0.0, f32::NAN, 0.0], &[0, 1, 1], &mut losses);
        assert!(losses[0] == 0.0 && losses[1] == 0.0 && losses[2].is_nan(), "{losses:?}");
    }

    #[test]
    #[should_panic(expected = "target 3 of 3 classes")]
    fn a_target_beyond_the_classes_is_refused() {
        negative_log_likelihood(&[0.0; 3], &[3], &mut [0.0]);
    }
}
