//! Sixteen numbers to sixteen bytes, and back.

use super::{ROOT_STEPS, ROOT_ZERO, SIGNED_STEPS};
use crate::simd::{LANES, Simd};

/// Without the sign.
#[inline(always)]
pub(super) fn magnitude<S: Simd>(x: S) -> S {
    x.max(S::splat(0.0) - x)
}

/// The whole steps in `squares`' roots.
#[inline(always)]
fn whole_steps<S: Simd>(squares: S) -> S {
    (squares.sqrt() - S::splat(0.5)).round()
}

/// The byte of [`super::Code::Signed`] for a number over the scale: up with the share of the way from one square to
/// the next.
#[inline(always)]
pub(super) fn signed_byte<S: Simd>(number: S, inverse: S, chance: S) -> S {
    let (zero, one) = (S::splat(0.0), S::splat(1.0));
    let square = magnitude(number) * inverse * S::splat(SIGNED_STEPS * SIGNED_STEPS);
    let steps = whole_steps(square);
    let way = steps + steps + one;
    let steps = steps + (chance * way).if_less(square - steps * steps, one, zero);
    let steps = steps.min(S::splat(SIGNED_STEPS));
    number.if_less(zero, zero - steps, steps)
}

/// The byte of [`super::Code::Root`] for a root over the scale: up with the share of the way from one fourth power to
/// the next, so that the mean of the roots' squares is right.
#[inline(always)]
pub(super) fn root_byte<S: Simd>(root: S, inverse: S, chance: S) -> S {
    let (zero, one) = (S::splat(0.0), S::splat(1.0));
    let square = root * inverse * S::splat(ROOT_STEPS * ROOT_STEPS);
    let steps = whole_steps(square);
    let (low, high) = (steps * steps, (steps + one) * (steps + one));
    let (gone, way) = ((square - low) * (square + low), (high - low) * (high + low));
    let steps = steps + (chance * way).if_less(gone, one, zero);
    steps.max(one).min(S::splat(ROOT_STEPS)) - S::splat(ROOT_ZERO)
}

/// The number of sixteen bytes of [`super::Code::Signed`].
#[inline(always)]
pub(super) fn signed<S: Simd>(codes: &[i8], at: usize, unit: S) -> S {
    let byte = bytes::<S>(codes, at);
    byte * magnitude(byte) * unit
}

/// The root that sixteen bytes of [`super::Code::Root`] stand for.
#[inline(always)]
pub(super) fn root<S: Simd>(codes: &[i8], at: usize, unit: S) -> S {
    let steps = bytes::<S>(codes, at) + S::splat(ROOT_ZERO);
    steps * steps * unit
}

#[inline(always)]
fn bytes<S: Simd>(codes: &[i8], at: usize) -> S {
    let codes = &codes[at..at + LANES];
    // SAFETY: sixteen bytes.
    unsafe { S::load_i8(codes.as_ptr()) }
}

/// What one step squared stands for, of [`super::Code::Signed`] and of [`super::Code::Root`].
#[inline(always)]
pub(super) fn units<S: Simd>(scale: f32) -> [S; 2] {
    [SIGNED_STEPS, ROOT_STEPS].map(|steps| S::splat(scale / (steps * steps)))
}
