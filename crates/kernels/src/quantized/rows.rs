//! Activations as bytes: one scale for each block of a row.

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
    /// rows × blocks: the sum of a block times -8, and times -128.
    pub(super) starts: [Buffer<i32>; 2],
}

impl Rows {
    /// Takes in `x`, rows × inputs, in blocks of `block` elements.
    ///
    /// # Panics
    /// If the lengths do not agree, or a block is no multiple of 32.
    pub fn quantize(&mut self, x: &[f32], inputs: usize, block: usize) {
        assert!(block > 0 && block.is_multiple_of(BLOCK), "a block of {block} elements");
        let rows = x.len().checked_div(inputs).unwrap_or(0);
        assert_len("quantize: x", x.len(), &[rows, inputs]);
        (self.rows, self.inputs, self.block) = (rows, inputs, block);
        let blocks = self.blocks();
        grow(&mut self.values, rows * blocks * block);
        grow(&mut self.scales, rows * blocks);
        grow(&mut self.sums, rows * blocks * PARTS);
        self.starts.iter_mut().for_each(|starts| grow(starts, rows * blocks));
        let (values, scales) = (SharedMut::new(&mut self.values), SharedMut::new(&mut self.scales));
        let [eight, many] = &mut self.starts;
        let (sums, eight, many) = (SharedMut::new(&mut self.sums), SharedMut::new(eight), SharedMut::new(many));
        parallel_ranges(rows, inputs, |range| {
            for row in range {
                // SAFETY: rows do not overlap, and each belongs to one range.
                let quantize = unsafe {
                    Quantize {
                        x: &x[row * inputs..][..inputs],
                        block,
                        values: values.slice(row * blocks * block, blocks * block),
                        scales: scales.slice(row * blocks, blocks),
                        sums: sums.slice(row * blocks * PARTS, blocks * PARTS),
                        starts: [eight.slice(row * blocks, blocks), many.slice(row * blocks, blocks)],
                    }
                };
                dispatch(quantize);
            }
        });
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

struct Quantize<'a> {
    x: &'a [f32],
    block: usize,
    values: &'a mut [i8],
    scales: &'a mut [f32],
    sums: &'a mut [i32],
    starts: [&'a mut [i32]; 2],
}

impl Kernel for Quantize<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        let Self { x, block, values, scales, sums, starts: [eight, many] } = self;
        let mut poison = S::splat(0.0);
        for (number, values) in values.chunks_exact_mut(block).enumerate() {
            let x = &x[(number * block).min(x.len())..];
            let mut magnitudes = S::splat(0.0);
            for at in (0..block.min(x.len())).step_by(LANES) {
                let numbers = S::at(x, at);
                poison = numbers.fma(S::splat(0.0), poison);
                magnitudes = magnitudes.max(magnitude(numbers));
            }
            let largest = magnitudes.largest();
            let (scale, inverse) = if largest < LEAST { (0.0, 0.0) } else { (largest / 127.0, 127.0 / largest) };
            let mut halves = [0; PARTS];
            for (half, values) in values.chunks_exact_mut(block / PARTS).enumerate() {
                let mut sums = S::splat(0.0);
                for (at, values) in values.chunks_exact_mut(LANES).enumerate() {
                    let at = half * (block / PARTS) + at * LANES;
                    let numbers = if at < x.len() { S::at(x, at) } else { S::splat(0.0) };
                    let rounded = (numbers * S::splat(inverse)).round();
                    sums = sums + rounded;
                    // SAFETY: 16 bytes.
                    unsafe { rounded.store_i8(values.as_mut_ptr()) };
                }
                // Of whole numbers, exact in any order.
                halves[half] = sums.sum() as i32;
            }
            scales[number] = scale;
            sums[PARTS * number..][..PARTS].copy_from_slice(&halves);
            let sum: i32 = halves.iter().sum();
            (eight[number], many[number]) = (-8 * sum, -128 * sum);
        }
        let poison = poison.sum();
        if poison != 0.0 {
            scales.fill(poison);
        }
    }
}

#[inline(always)]
fn magnitude<S: Simd>(x: S) -> S {
    x.max(S::splat(0.0) - x)
}
