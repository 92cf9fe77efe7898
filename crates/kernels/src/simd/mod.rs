//! Sixteen lanes of f32, the same on every instruction set, and the one place where kernels are dispatched.
//!
//! A kernel is a struct of arguments that implements [`Kernel`]; its `run` is generic over the lanes and always
//! inlined into a function compiled for the instruction set. Helpers that kernels call must be `#[inline(always)]`
//! too, and closures must stay away from vectors (they would be compiled without the instruction set).
//!
//! The lane types are private to this module and come into being only below [`dispatch`], after detection. That is
//! why arithmetic on them is safe.

mod kernel;
mod math;
mod prefetch;
mod reduce;
mod scalar;
mod transpose;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::ops::{Add, Div, Mul, Sub};

use crate::matmul::tile::{Tile, TilePairs};

pub(crate) use kernel::{Kernel, dispatch};
pub(crate) use math::{Math, erf, exp_flushed, ln};
pub(crate) use prefetch::{prefetch, prefetch_second};
pub(crate) use reduce::{dot, largest, sum};
pub(crate) use transpose::Transpose;

/// Lanes of a logical vector.
pub(crate) const LANES: usize = 16;

/// A logical vector of 16 f32 lanes. Every operation is exact IEEE arithmetic in round-to-nearest, so that all
/// implementations give the same bits (but for the payload of a NaN).
pub(crate) trait Simd:
    Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self>
{
    /// Logical vectors of sums that the registers hold beside what a matrix kernel loads; at least six.
    const ACCUMULATORS: usize;

    /// All lanes `x`.
    fn splat(x: f32) -> Self;
    /// # Safety
    /// 16 floats at `from` must be readable.
    unsafe fn load(from: *const f32) -> Self;
    /// The first `count` (at most 16) lanes from memory, the others zero.
    ///
    /// # Safety
    /// `count` floats at `from` must be readable.
    unsafe fn load_first(from: *const f32, count: usize) -> Self;
    /// Lanes from `slice[at..]`, zero past its end.
    #[inline(always)]
    fn at(slice: &[f32], at: usize) -> Self {
        let rest = &slice[at..];
        // SAFETY: the slice holds as many floats as are read.
        unsafe {
            if rest.len() >= LANES { Self::load(rest.as_ptr()) } else { Self::load_first(rest.as_ptr(), rest.len()) }
        }
    }

    /// Lanes from `slice[at..]`, `fill` past its end.
    #[inline(always)]
    fn at_or(slice: &[f32], at: usize, fill: f32) -> Self {
        let rest = &slice[at..];
        if rest.len() >= LANES {
            return Self::at(slice, at);
        }
        let mut lanes = [fill; LANES];
        lanes[..rest.len()].copy_from_slice(rest);
        Self::at(&lanes, 0)
    }

    /// Sixteen signed bytes, converted.
    ///
    /// # Safety
    /// 16 bytes at `from` must be readable.
    unsafe fn load_i8(from: *const i8) -> Self;
    /// # Safety
    /// 16 floats at `to` must be writable.
    unsafe fn store(self, to: *mut f32);
    /// Stores the first `count` (at most 16) lanes.
    ///
    /// # Safety
    /// `count` floats at `to` must be writable.
    unsafe fn store_first(self, to: *mut f32, count: usize);
    /// Stores as sixteen signed bytes: to the nearest, ties to even. The lanes must be in their range.
    ///
    /// # Safety
    /// 16 bytes at `to` must be writable.
    unsafe fn store_i8(self, to: *mut i8);
    /// As [`Simd::store_i8`]; gives `sums`, whose lanes are the bits of whole numbers, with what was stored added.
    ///
    /// # Safety
    /// As there.
    unsafe fn store_i8_adding(self, to: *mut i8, sums: Self) -> Self;
    /// The sum of lanes that are the bits of whole numbers.
    fn sum_of_integers(self) -> i32;
    /// `self * factor + addend`, rounded once.
    fn fma(self, factor: Self, addend: Self) -> Self;
    /// `self < other ? self : other`, hence `other` where either is NaN.
    fn min(self, other: Self) -> Self;
    /// `self > other ? self : other`, hence `other` where either is NaN.
    fn max(self, other: Self) -> Self;
    /// The magnitude of `self` or `other`, which is one, whichever is larger; NaN is larger than all numbers.
    fn larger_magnitude(self, other: Self) -> Self;
    /// The largest of lanes that are magnitudes; NaN is larger than all numbers.
    fn largest_magnitude(self) -> f32;
    /// To the nearest integer, ties to even.
    fn round(self) -> Self;
    /// Square root.
    fn sqrt(self) -> Self;
    /// Two to the power of each lane, which holds an integer from -126 to 127 (or NaN: then one).
    fn exp2_of_integer(self) -> Self;
    /// `self < other ? yes : no`, hence `no` where either is NaN.
    fn if_less(self, other: Self, yes: Self, no: Self) -> Self;
    /// The lanes.
    fn to_array(self) -> [f32; LANES];
    /// The sum by the fixed tree: lane i plus lane i + 8, then + 4, + 2, + 1.
    fn sum(self) -> f32;
    /// The maximum by the same tree.
    fn largest(self) -> f32;

    /// Writes lanes to `slice[at..]`, dropping those past its end.
    #[inline(always)]
    fn put(self, slice: &mut [f32], at: usize) {
        let rest = &mut slice[at..];
        // SAFETY: the slice holds as many floats as are written.
        unsafe {
            if rest.len() >= LANES {
                self.store(rest.as_mut_ptr());
            } else {
                self.store_first(rest.as_mut_ptr(), rest.len());
            }
        }
    }

    /// Rows to columns.
    fn transpose(rows: [Self; LANES]) -> [Self; LANES];

    /// Lane i: the numbers 2 i and 2 i + 1 of the 32 in `first` and `second`, rounded to bf16, as a pair (the lower
    /// half first). The lanes are then bits, not numbers.
    fn pairs_along(first: Self, second: Self) -> Self;
    /// Lane i: the lanes i of `even` and `odd`, rounded to bf16, as a pair.
    fn pairs_across(even: Self, odd: Self) -> Self;
    /// Lane i: the numbers i of `even` and `odd`, which are bf16, as a pair.
    fn pairs_of(even: &[u16; LANES], odd: &[u16; LANES]) -> Self;
    /// For lanes of bf16 pairs, `sum + a.odd * b.odd`, then `+ a.even * b.even`, each rounded once: what the instruction
    /// VDPBF16PS computes.
    fn dot_pairs(self, factor: Self, sum: Self) -> Self;

    /// Rounded to bf16, as numbers.
    fn to_bf16(self) -> Self;
    /// Numbers that are bf16.
    fn of_bf16(numbers: &[u16; LANES]) -> Self;
    /// The lanes 2 i and 2 i + 1 exchanged.
    fn swap_neighbours(self) -> Self;

    /// The matrix kernel, compiled once for the instruction set.
    ///
    /// # Safety
    /// See [`Tile`].
    unsafe fn tile(tile: Tile);
    /// The matrix kernel for bf16 pairs, compiled once for the instruction set.
    ///
    /// # Safety
    /// See [`TilePairs`].
    unsafe fn tile_pairs(tile: TilePairs);
}

#[cfg(test)]
mod tests;
