//! Keys and values of a block that are not f32, to what the products read.

use std::ops::Range;

use super::BLOCK;
use super::cached::Format;
use crate::simd::{LANES, Simd};

/// Keys (`[width][64]`) at some positions, and those that share a vector with them.
///
/// # Safety
/// From `from` on a head's keys of this format must be readable, of the padded width.
#[inline(always)]
pub(super) unsafe fn widen_keys<S: Simd>(
    format: Format,
    from: *const f32,
    [width, padded]: [usize; 2],
    positions: Range<usize>,
    to: &mut [f32],
) {
    for at in (positions.start / LANES * LANES..positions.end).step_by(LANES) {
        // SAFETY: the caller's promise; rows of 64.
        unsafe {
            let scales = match format {
                Format::Int8 => S::load(scales(from, padded).add(at)),
                _ => S::splat(1.0),
            };
            for row in 0..width {
                vector::<S>(format, from, row * BLOCK + at, scales).put(to, row * BLOCK + at);
            }
        }
    }
}

/// Values (`[64][padded width]`) at some positions.
///
/// # Safety
/// As [`widen_keys`], of a head's values.
#[inline(always)]
pub(super) unsafe fn widen_values<S: Simd>(
    format: Format,
    from: *const f32,
    padded: usize,
    positions: Range<usize>,
    to: &mut [f32],
) {
    for position in positions {
        // SAFETY: the caller's promise.
        unsafe {
            let scale = match format {
                Format::Int8 => S::splat(*scales(from, padded).add(position)),
                _ => S::splat(1.0),
            };
            for at in (0..padded).step_by(LANES) {
                vector::<S>(format, from, position * padded + at, scale).put(to, position * padded + at);
            }
        }
    }
}

/// Where the scales of a head's positions begin, which lie behind its bytes.
fn scales(from: *const f32, padded: usize) -> *const f32 {
    from.wrapping_add(padded * BLOCK / 4)
}

/// Sixteen numbers from the one of this index on, times their scales.
///
/// # Safety
/// They must be readable.
#[inline(always)]
unsafe fn vector<S: Simd>(format: Format, from: *const f32, at: usize, scales: S) -> S {
    // SAFETY: the caller's promise.
    unsafe {
        match format {
            Format::F32 => S::load(from.add(at)),
            Format::Bf16 => S::of_bf16(&*from.cast::<u16>().add(at).cast::<[u16; LANES]>()),
            Format::Int8 => S::load_i8(from.cast::<i8>().add(at)) * scales,
        }
    }
}
