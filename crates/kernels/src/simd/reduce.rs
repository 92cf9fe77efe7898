//! Reductions over a slice in a fixed order: vector i goes to accumulator i mod 4, then (0 + 1) + (2 + 3), then the
//! tree over the lanes.

use super::{LANES, Simd};

const ACCUMULATORS: usize = 4;

/// Σ a b, fused.
#[inline(always)]
pub(crate) fn dot<S: Simd>(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [S::splat(0.0); ACCUMULATORS];
    let mut i = 0;
    while i < a.len() {
        for (l, sum) in sums.iter_mut().enumerate() {
            let at = i + l * LANES;
            if at < a.len() {
                *sum = S::at(a, at).fma(S::at(b, at), *sum);
            }
        }
        i += ACCUMULATORS * LANES;
    }
    ((sums[0] + sums[1]) + (sums[2] + sums[3])).sum()
}

/// Σ a.
#[inline(always)]
pub(crate) fn sum<S: Simd>(a: &[f32]) -> f32 {
    let mut sums = [S::splat(0.0); ACCUMULATORS];
    let mut i = 0;
    while i < a.len() {
        for (l, sum) in sums.iter_mut().enumerate() {
            let at = i + l * LANES;
            if at < a.len() {
                *sum = *sum + S::at(a, at);
            }
        }
        i += ACCUMULATORS * LANES;
    }
    ((sums[0] + sums[1]) + (sums[2] + sums[3])).sum()
}

/// The largest element; minus infinity of none.
#[inline(always)]
pub(crate) fn largest<S: Simd>(a: &[f32]) -> f32 {
    let mut tops = [S::splat(f32::NEG_INFINITY); ACCUMULATORS];
    let mut i = 0;
    while i < a.len() {
        for (l, top) in tops.iter_mut().enumerate() {
            let at = i + l * LANES;
            if at < a.len() {
                *top = top.max(S::at_or(a, at, f32::NEG_INFINITY));
            }
        }
        i += ACCUMULATORS * LANES;
    }
    tops[0].max(tops[1]).max(tops[2].max(tops[3])).largest()
}
