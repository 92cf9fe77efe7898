//! What the factors of a product may consist of, and how it comes into the lanes.

use crate::bf16;
use crate::simd::{LANES, Simd};

/// A kind of number that the factors of a product may consist of: f32, or bf16 as its bits.
#[allow(private_bounds, reason = "sealed: there are no others")]
pub trait Number: Source {}
impl Number for f32 {}
impl Number for u16 {}

/// How numbers come into the lanes.
pub(super) trait Source: Copy + Send + Sync + 'static {
    /// Whether two neighbours are a pair of bf16 as they lie in memory.
    const PAIRED: bool;

    /// The number, exactly.
    fn to_f32(self) -> f32;
    /// Pairs of the first 32 numbers, of zeros where there are fewer.
    fn pairs_along<S: Simd>(numbers: &[Self]) -> S;
    /// Pairs of the first 16 numbers of each, of zeros where there are fewer.
    fn pairs_across<S: Simd>(even: &[Self], odd: &[Self]) -> S;
    /// The first 16 numbers, rounded to bf16, as f32; zeros where there are fewer.
    fn wide<S: Simd>(numbers: &[Self]) -> S;
}

impl Source for f32 {
    const PAIRED: bool = false;

    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }
    #[inline(always)]
    fn pairs_along<S: Simd>(numbers: &[f32]) -> S {
        let second = if numbers.len() > LANES { S::at(numbers, LANES) } else { S::splat(0.0) };
        S::pairs_along(S::at(numbers, 0), second)
    }
    #[inline(always)]
    fn pairs_across<S: Simd>(even: &[f32], odd: &[f32]) -> S {
        S::pairs_across(S::at(even, 0), S::at(odd, 0))
    }
    #[inline(always)]
    fn wide<S: Simd>(numbers: &[f32]) -> S {
        S::at(numbers, 0).to_bf16()
    }
}

impl Source for u16 {
    const PAIRED: bool = true;

    #[inline(always)]
    fn to_f32(self) -> f32 {
        bf16::to_f32(self)
    }
    #[inline(always)]
    fn pairs_along<S: Simd>(numbers: &[u16]) -> S {
        let mut whole = [0; 2 * LANES];
        let numbers = match numbers.first_chunk() {
            Some(numbers) => numbers,
            None => {
                whole[..numbers.len()].copy_from_slice(numbers);
                &whole
            }
        };
        // SAFETY: 32 numbers of two bytes.
        unsafe { S::load(numbers.as_ptr().cast()) }
    }
    #[inline(always)]
    fn pairs_across<S: Simd>(even: &[u16], odd: &[u16]) -> S {
        let mut whole = [[0; LANES]; 2];
        if let (Some(even), Some(odd)) = (even.first_chunk(), odd.first_chunk()) {
            return S::pairs_of(even, odd);
        }
        for (whole, numbers) in whole.iter_mut().zip([even, odd]) {
            let count = numbers.len().min(LANES);
            whole[..count].copy_from_slice(&numbers[..count]);
        }
        S::pairs_of(&whole[0], &whole[1])
    }
    #[inline(always)]
    fn wide<S: Simd>(numbers: &[u16]) -> S {
        match numbers.first_chunk() {
            Some(numbers) => S::of_bf16(numbers),
            None => {
                let mut whole = [0; LANES];
                whole[..numbers.len()].copy_from_slice(numbers);
                S::of_bf16(&whole)
            }
        }
    }
}
