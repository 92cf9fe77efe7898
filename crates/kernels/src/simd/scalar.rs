//! The portable lanes: an array, for machines without the x86 instruction sets and as the yardstick for them.

use std::ops::{Add, Div, Mul, Sub};

use super::{LANES, Simd};
use crate::bf16;
use crate::matmul::tile::{Tile, TilePairs, run_tile, run_tile_pairs};

#[derive(Clone, Copy)]
#[repr(align(64))]
pub(crate) struct Scalar([f32; LANES]);

impl Scalar {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        Self(std::array::from_fn(|i| f(self.0[i], other.0[i])))
    }

    #[inline(always)]
    fn fold(self, f: impl Fn(f32, f32) -> f32) -> f32 {
        let mut lanes = self.0;
        let mut half = LANES / 2;
        while half > 0 {
            for i in 0..half {
                lanes[i] = f(lanes[i], lanes[i + half]);
            }
            half /= 2;
        }
        lanes[0]
    }
}

macro_rules! operator {
    ($trait:ident, $method:ident, $operator:tt) => {
        impl $trait for Scalar {
            type Output = Self;
            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                self.zip(other, |a, b| a $operator b)
            }
        }
    };
}
operator!(Add, add, +);
operator!(Sub, sub, -);
operator!(Mul, mul, *);
operator!(Div, div, /);

impl Simd for Scalar {
    const ACCUMULATORS: usize = 6;

    #[inline(always)]
    fn splat(x: f32) -> Self {
        Self([x; LANES])
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { from.cast::<[f32; LANES]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize) -> Self {
        // SAFETY: the caller's promise.
        Self(std::array::from_fn(|i| if i < count { unsafe { *from.add(i) } } else { 0.0 }))
    }
    #[inline(always)]
    unsafe fn load_i8(from: *const i8) -> Self {
        // SAFETY: the caller's promise.
        let bytes = unsafe { from.cast::<[i8; LANES]>().read_unaligned() };
        Self(bytes.map(f32::from))
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { to.cast::<[f32; LANES]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, count: usize) {
        for (i, &lane) in self.0.iter().enumerate().take(count) {
            // SAFETY: the caller's promise.
            unsafe { *to.add(i) = lane }
        }
    }
    #[inline(always)]
    unsafe fn store_i8(self, to: *mut i8) {
        let bytes = self.0.map(|lane| lane.round_ties_even() as i8);
        // SAFETY: the caller's promise.
        unsafe { to.cast::<[i8; LANES]>().write_unaligned(bytes) }
    }
    #[inline(always)]
    unsafe fn store_i8_adding(self, to: *mut i8, sums: Self) -> Self {
        // SAFETY: the caller's promise.
        unsafe { self.store_i8(to) };
        let stored = self.0.map(|lane| lane.round_ties_even() as i8);
        let add = |i: usize| (sums.0[i].to_bits() as i32).wrapping_add(i32::from(stored[i]));
        Self(std::array::from_fn(|i| f32::from_bits(add(i) as u32)))
    }
    #[inline(always)]
    fn sum_of_integers(self) -> i32 {
        self.0.iter().fold(0, |sum: i32, lane| sum.wrapping_add(lane.to_bits() as i32))
    }
    #[inline(always)]
    fn fma(self, factor: Self, addend: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i].mul_add(factor.0[i], addend.0[i])))
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        self.zip(other, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        self.zip(other, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    fn larger_magnitude(self, other: Self) -> Self {
        self.zip(other, |a, b| f32::from_bits(a.abs().to_bits().max(b.to_bits())))
    }
    #[inline(always)]
    fn largest_magnitude(self) -> f32 {
        self.fold(|a, b| f32::from_bits(a.to_bits().max(b.to_bits())))
    }
    #[inline(always)]
    fn round(self) -> Self {
        Self(self.0.map(f32::round_ties_even))
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        Self(self.0.map(f32::sqrt))
    }
    #[inline(always)]
    fn exp2_of_integer(self) -> Self {
        Self(self.0.map(|x| f32::from_bits(((x as i32).wrapping_add(127) as u32) << 23)))
    }
    #[inline(always)]
    fn if_less(self, other: Self, yes: Self, no: Self) -> Self {
        Self(std::array::from_fn(|i| if self.0[i] < other.0[i] { yes.0[i] } else { no.0[i] }))
    }
    #[inline(always)]
    fn to_array(self) -> [f32; LANES] {
        self.0
    }
    #[inline(always)]
    fn sum(self) -> f32 {
        self.fold(|a, b| a + b)
    }
    #[inline(always)]
    fn largest(self) -> f32 {
        self.fold(|a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    fn transpose(rows: [Self; LANES]) -> [Self; LANES] {
        std::array::from_fn(|column| Self(std::array::from_fn(|row| rows[row].0[column])))
    }
    #[inline(always)]
    fn pairs_along(first: Self, second: Self) -> Self {
        let number = |i: usize| if i < LANES { first.0[i] } else { second.0[i - LANES] };
        Self(std::array::from_fn(|i| bf16::pair(number(2 * i), number(2 * i + 1))))
    }
    #[inline(always)]
    fn pairs_across(even: Self, odd: Self) -> Self {
        even.zip(odd, bf16::pair)
    }
    #[inline(always)]
    fn pairs_of(even: &[u16; LANES], odd: &[u16; LANES]) -> Self {
        Self(std::array::from_fn(|i| f32::from_bits(u32::from(odd[i]) << 16 | u32::from(even[i]))))
    }
    #[inline(always)]
    fn dot_pairs(self, factor: Self, sum: Self) -> Self {
        Self(std::array::from_fn(|i| bf16::dot_pair(self.0[i], factor.0[i], sum.0[i])))
    }
    #[inline(always)]
    fn to_bf16(self) -> Self {
        Self(self.0.map(|x| bf16::to_f32(bf16::from_f32(x))))
    }
    #[inline(always)]
    fn of_bf16(numbers: &[u16; LANES]) -> Self {
        Self(numbers.map(bf16::to_f32))
    }
    #[inline(always)]
    fn swap_neighbours(self) -> Self {
        Self(std::array::from_fn(|i| self.0[i ^ 1]))
    }
    unsafe fn tile(tile: Tile) {
        // SAFETY: the caller's promise.
        unsafe { run_tile::<Self>(tile) }
    }
    unsafe fn tile_pairs(tile: TilePairs) {
        // SAFETY: the caller's promise.
        unsafe { run_tile_pairs::<Self>(tile) }
    }
}
