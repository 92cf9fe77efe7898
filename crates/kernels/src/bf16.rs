//! bf16: the upper half of an f32 (8 bits of exponent, 7 of mantissa).

use crate::pool::{SharedMut, parallel_columns, parallel_elements};
use crate::simd::{Kernel, LANES, Simd, dispatch, prefetch};

/// Rows that are asked for ahead of their use.
const ROWS_AHEAD: usize = 8;

/// Rounded to the nearest bf16, ties to even; numbers below 2⁻¹²⁶ to zero; NaN stays NaN.
#[inline(always)]
pub fn from_f32(x: f32) -> u16 {
    let bits = x.to_bits();
    if x.is_nan() {
        return (bits >> 16) as u16 | 0x40;
    }
    if bits & 0x7F80_0000 == 0 {
        return (bits >> 16) as u16 & 0x8000;
    }
    ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16) as u16
}

/// The number, exactly.
#[inline(always)]
pub fn to_f32(x: u16) -> f32 {
    f32::from_bits(u32::from(x) << 16)
}

/// Two numbers as bf16 in the bits of an f32, the first in the lower half.
#[inline(always)]
pub(crate) fn pair(even: f32, odd: f32) -> f32 {
    f32::from_bits(u32::from(from_f32(odd)) << 16 | u32::from(from_f32(even)))
}

/// `sum + a.odd * b.odd`, then `+ a.even * b.even`, each rounded once.
#[inline(always)]
pub(crate) fn dot_pair(a: f32, b: f32, sum: f32) -> f32 {
    let odd = |x: f32| f32::from_bits(x.to_bits() & 0xFFFF_0000);
    let even = |x: f32| f32::from_bits(x.to_bits() << 16);
    even(a).mul_add(even(b), odd(a).mul_add(odd(b), sum))
}

/// The memory of floats, as twice as many bf16.
pub fn of_floats(floats: &[f32]) -> &[u16] {
    // SAFETY: twice as many of half the size; every bit pattern is a value.
    unsafe { std::slice::from_raw_parts(floats.as_ptr().cast(), 2 * floats.len()) }
}

/// As [`of_floats`], to write.
pub fn of_floats_mut(floats: &mut [f32]) -> &mut [u16] {
    // SAFETY: as above.
    unsafe { std::slice::from_raw_parts_mut(floats.as_mut_ptr().cast(), 2 * floats.len()) }
}

/// Rounds every number.
///
/// # Panics
/// If the lengths differ.
pub fn round(x: &[f32], out: &mut [u16]) {
    assert_eq!(x.len(), out.len(), "bf16::round: lengths");
    let out = SharedMut::new(out);
    parallel_elements(x.len(), |range| {
        // SAFETY: ranges do not overlap.
        let out = unsafe { out.slice(range.start, range.len()) };
        dispatch(Round { x: &x[range], out });
    });
}

struct Round<'a> {
    x: &'a [f32],
    out: &'a mut [u16],
}

impl Kernel for Round<'_> {
    type Output = ();
    const BF16: bool = true;
    #[inline(always)]
    fn run<S: Simd>(self) {
        let (x, x_rest) = self.x.as_chunks::<{ 2 * LANES }>();
        let (out, out_rest) = self.out.as_chunks_mut::<{ 2 * LANES }>();
        for (x, out) in x.iter().zip(out) {
            let pairs = S::pairs_along(S::at(x, 0), S::at(x, LANES));
            // SAFETY: 32 numbers of two bytes.
            unsafe { pairs.store(out.as_mut_ptr().cast()) };
        }
        for (x, out) in x_rest.iter().zip(out_rest) {
            *out = from_f32(*x);
        }
    }
}

/// Rounds every number of rows of the length of `sums`, and adds the rows, not rounded, to `sums`, one after the other:
/// the gradient of a bias.
///
/// # Panics
/// If the lengths do not agree.
pub fn round_and_sum(x: &[f32], out: &mut [u16], sums: &mut [f32]) {
    let width = sums.len();
    assert!(width > 0 && x.len().is_multiple_of(width), "round_and_sum: {} elements in rows of {width}", x.len());
    assert_eq!(x.len(), out.len(), "round_and_sum: lengths");
    let (out, sums) = (SharedMut::new(out), SharedMut::new(sums));
    parallel_columns(x.len() / width, width, |columns| {
        // SAFETY: ranges of columns do not overlap.
        let sums = unsafe { sums.slice(columns.start, columns.len()) };
        for (row, x) in x.chunks_exact(width).enumerate() {
            for line in columns.clone().step_by(LANES) {
                // Pieces of far rows are a stream that the hardware does not foresee.
                prefetch(x.as_ptr().wrapping_add(ROWS_AHEAD * width + line));
            }
            // SAFETY: as above.
            let out = unsafe { out.slice(row * width + columns.start, columns.len()) };
            dispatch(RoundAndSum { x: &x[columns.clone()], out, sums });
        }
    });
}

struct RoundAndSum<'a> {
    x: &'a [f32],
    out: &'a mut [u16],
    sums: &'a mut [f32],
}

impl Kernel for RoundAndSum<'_> {
    type Output = ();
    const BF16: bool = true;
    #[inline(always)]
    fn run<S: Simd>(self) {
        let Self { x, out, sums } = self;
        for at in (0..x.len()).step_by(LANES) {
            (S::at(sums, at) + S::at(x, at)).put(sums, at);
        }
        Round { x, out }.run::<S>();
    }
}
