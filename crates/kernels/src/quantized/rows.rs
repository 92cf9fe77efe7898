//! Activations as bytes: one scale for each block of a row.

use std::ops::Range;

use super::{BLOCK, PARTS};
use crate::buffer::{Buffer, Element};
use crate::matmul::assert_len;
use crate::pool::{SharedMut, parallel_ranges};
use crate::simd::{Kernel, LANES, Simd, dispatch};

/// Blocks whose largest magnitude is below this are zeros.
const LEAST: f32 = 1e-30;

/// Rows of activations, quantized block by block of the length that the weights' layout has: scale = largest magnitude / 127, values to the nearest, ties to even.
/// Blocks with a number that is not finite have a scale that is NaN.
///
/// Its memory is used again by the next [`Rows::quantize`].
#[derive(Clone, Debug, Default)]
pub struct Rows {
    rows: usize,
    inputs: usize,
    /// Elements of a block.
    block: usize,
    /// rows × blocks × elements of a block.
    pub(super) values: Buffer<i8>,
    /// rows × blocks.
    pub(super) scales: Buffer<f32>,
    /// rows × blocks × 2: the sum of each half of a block.
    pub(super) sums: Buffer<i32>,
    /// rows × blocks: the sum of a block times minus each of [`Self::ZEROS`].
    pub(super) starts: [Buffer<i32>; 2],
}

impl Rows {
    /// The zeros of the commonest weights.
    pub(super) const ZEROS: [i32; 2] = [8, 128];

    /// Takes in `x`, rows × inputs, in blocks of `block` elements.
    ///
    /// # Panics
    /// If the lengths do not agree, or a block is no multiple of 32.
    pub fn quantize(&mut self, x: &[f32], inputs: usize, block: usize) {
        let rows = x.len().checked_div(inputs).unwrap_or(0);
        assert_len("quantize: x", x.len(), &[rows, inputs]);
        let room = self.room(rows, inputs, block);
        parallel_ranges(rows, inputs, |rows| dispatch(Quantize { room, rows, x, inputs }));
    }

    /// Becomes so many rows of any content, for several tasks to fill.
    ///
    /// # Panics
    /// If a block is no multiple of 32.
    pub(crate) fn room(&mut self, rows: usize, inputs: usize, block: usize) -> Room {
        assert!(block > 0 && block.is_multiple_of(BLOCK), "a block of {block} elements");
        (self.rows, self.inputs, self.block) = (rows, inputs, block);
        let blocks = self.blocks();
        grow(&mut self.values, rows * blocks * block);
        grow(&mut self.scales, rows * blocks);
        grow(&mut self.sums, rows * blocks * PARTS);
        self.starts.iter_mut().for_each(|starts| grow(starts, rows * blocks));
        Room {
            block,
            blocks,
            values: SharedMut::new(&mut self.values),
            scales: SharedMut::new(&mut self.scales),
            sums: SharedMut::new(&mut self.sums),
            starts: self.starts.each_mut().map(|starts| SharedMut::new(starts)),
        }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Elements of a row.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Elements of a block.
    pub fn block(&self) -> usize {
        self.block
    }

    pub(super) fn blocks(&self) -> usize {
        self.inputs.div_ceil(self.block.max(1))
    }

    /// A row as f32.
    pub fn dequantized(&self, row: usize) -> Vec<f32> {
        let blocks = self.blocks();
        let values = &self.values[row * blocks * self.block..][..self.inputs];
        let scale = |at: usize| self.scales[row * blocks + at / self.block];
        values.iter().enumerate().map(|(at, &value)| f32::from(value) * scale(at)).collect()
    }
}

/// Makes room, in steps, so that rows of slightly different number share it.
fn grow<T: Element>(buffer: &mut Buffer<T>, len: usize) {
    if buffer.len() < len {
        *buffer = Buffer::zeroed(len.next_multiple_of(4096));
    }
}

/// Rows that several tasks quantize.
#[derive(Clone, Copy)]
pub(crate) struct Room {
    block: usize,
    blocks: usize,
    values: SharedMut<i8>,
    scales: SharedMut<f32>,
    sums: SharedMut<i32>,
    starts: [SharedMut<i32>; 2],
}

impl Room {
    /// Quantizes a part of a row: from one of its blocks on, up to its end or to that of a block. Where a number of it is
    /// not finite, the scales of the whole part say so.
    ///
    /// # Safety
    /// The rows must still live, and this task alone may write these blocks of this row.
    #[inline(always)]
    pub(crate) unsafe fn put<S: Simd>(&self, row: usize, first: usize, x: &[f32]) {
        debug_assert!(first + x.len().div_ceil(self.block) <= self.blocks, "a row of {} blocks", self.blocks);
        let (start, mut finite) = (row * self.blocks + first, true);
        let (mut at, mut rest) = (start, x);
        while rest.len() >= self.block {
            let (block, others) = rest.split_at(self.block);
            // SAFETY: the caller's promise.
            finite &= unsafe { self.put_block::<S, true>(at, block) };
            (at, rest) = (at + 1, others);
        }
        if !rest.is_empty() {
            // SAFETY: as above.
            finite &= unsafe { self.put_block::<S, false>(at, rest) };
            at += 1;
        }
        if !finite {
            // SAFETY: as above.
            unsafe { self.scales.slice(start, at - start) }.fill(f32::NAN);
        }
    }

    /// Quantizes one block, which is `WHOLE` or the shorter end of a row; gives whether all its numbers are finite.
    ///
    /// # Safety
    /// As [`Self::put`].
    #[inline(always)]
    unsafe fn put_block<S: Simd, const WHOLE: bool>(&self, at: usize, x: &[f32]) -> bool {
        let block = self.block;
        // SAFETY: the caller's promise.
        let values = unsafe { self.values.slice(at * block, block) };
        let mut magnitudes = S::splat(0.0);
        for start in (0..x.len()).step_by(LANES) {
            // SAFETY: whole blocks are multiples of the lanes.
            let numbers = if WHOLE { unsafe { S::load(x.as_ptr().add(start)) } } else { S::at(x, start) };
            magnitudes = numbers.larger_magnitude(magnitudes);
        }
        let largest = magnitudes.largest_magnitude();
        let (scale, inverse) = if largest < LEAST { (0.0, 0.0) } else { (largest / 127.0, 127.0 / largest) };
        let mut halves = [0; PARTS];
        for (half, sum) in halves.iter_mut().enumerate() {
            let mut sums = S::splat(0.0);
            let from = half * (block / PARTS);
            for start in (from..from + block / PARTS).step_by(LANES) {
                // SAFETY: as above; of values, 16 bytes.
                unsafe {
                    let numbers = match WHOLE {
                        true => S::load(x.as_ptr().add(start)),
                        false => S::at(&x[start.min(x.len())..], 0),
                    };
                    sums = (numbers * S::splat(inverse)).store_i8_adding(values.as_mut_ptr().add(start), sums);
                }
            }
            *sum = sums.sum_of_integers();
        }
        // Of what is not finite come any bytes, whose scale says so.
        let sum = halves[0].wrapping_add(halves[1]);
        // SAFETY: the caller's promise.
        unsafe {
            self.scales.slice(at, 1)[0] = scale;
            self.sums.slice(at * PARTS, PARTS).copy_from_slice(&halves);
            self.starts[0].slice(at, 1)[0] = sum.wrapping_mul(-8);
            self.starts[1].slice(at, 1)[0] = sum.wrapping_mul(-128);
        }
        largest.is_finite()
    }
}

/// Some rows to quantize.
struct Quantize<'a> {
    room: Room,
    rows: Range<usize>,
    /// All rows.
    x: &'a [f32],
    inputs: usize,
}

impl Kernel for Quantize<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        for row in self.rows {
            // SAFETY: rows do not overlap, and each belongs to one range.
            unsafe { self.room.put::<S>(row, 0, &self.x[row * self.inputs..][..self.inputs]) };
        }
    }
}
