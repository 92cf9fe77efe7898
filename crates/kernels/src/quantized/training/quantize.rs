//! Matrices of f32 to the factors of a product of bytes, sixteen lines times a block at a time.

use super::{BLOCK_MAX, Size};
use crate::blocks::{f16_to_f32, f32_to_f16};
use crate::matmul::MatRef;
use crate::pool::{SharedMut, parallel_ranges};
use crate::quantized::tile::PANEL;
use crate::simd::{Kernel, LANES, Simd, dispatch, prefetch};

/// Blocks whose largest magnitude is below this are zeros.
const LEAST: f32 = 1e-30;
/// Floats of a cache line.
const LINE: usize = 16;

/// Lines of numbers, along which the sums run.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    data: &'a [f32],
    lines: usize,
    depth: usize,
    block: usize,
    line_stride: usize,
    depth_stride: usize,
}

impl<'a> Source<'a> {
    /// The rows of a matrix, in blocks.
    ///
    /// # Panics
    /// If neither rows nor columns lie in one piece.
    pub fn rows_of(matrix: MatRef<'a>, block: usize) -> Self {
        let ((lines, depth), [line_stride, depth_stride]) = (matrix.shape(), matrix.strides());
        assert!(line_stride == 1 || depth_stride == 1, "strides of {line_stride} and {depth_stride}");
        Self { data: matrix.data(), lines, depth, block, line_stride, depth_stride }
    }

    fn size(&self) -> Size {
        Size::new(self.lines, self.depth, self.block)
    }

    /// Calls `put(group of 16 lines, block, what it holds)` for each, in the order in which memory is read.
    fn each(self, put: impl Fn(usize, usize, &Quantized) + Sync, scales: Scales) {
        let size = self.size();
        let (groups, blocks) = (size.lines.div_ceil(PANEL), size.blocks());
        parallel_ranges(groups * blocks, PANEL * size.block, |units| {
            let mut quantized = Quantized::new(size.block);
            for unit in units {
                let (group, block) = match self.depth_stride {
                    1 => (unit / blocks, unit % blocks),
                    _ => (unit % groups, unit / groups),
                };
                dispatch(Quantize { source: &self, group, block, scales, to: &mut quantized });
                put(group, block, &quantized);
            }
        });
    }
}

/// What scales may be.
#[derive(Clone, Copy, PartialEq)]
enum Scales {
    /// Any f32.
    Float,
    /// What fp16 holds.
    Half,
}

/// Sixteen lines times a block; lines that are not there hold anything.
struct Quantized {
    /// Line after line, each [`BLOCK_MAX`] bytes of which `block` count.
    values: [i8; PANEL * BLOCK_MAX],
    scales: [f32; PANEL],
    block: usize,
}

impl Quantized {
    fn new(block: usize) -> Self {
        Self { values: [0; PANEL * BLOCK_MAX], scales: [0.0; PANEL], block }
    }

    fn line(&self, line: usize) -> &[i8] {
        &self.values[line * BLOCK_MAX..][..self.block]
    }
}

/// Into the memory of a left factor: values, scales, sums of a block's values times -128.
pub(super) fn left(source: Source<'_>, memory: &mut [f32]) {
    let (size, blocks) = (source.size(), source.size().blocks());
    let (values, rest) = memory.split_at_mut((size.lines * size.row_bytes()).div_ceil(4));
    let (scales, starts) = rest.split_at_mut(size.lines * blocks);
    let (values, scales, starts) = (SharedMut::new(values), SharedMut::new(scales), SharedMut::new(starts));
    source.each(
        |group, block, quantized| {
            for line in 0..PANEL.min(size.lines - group * PANEL) {
                let row = group * PANEL + line;
                let own = quantized.line(line);
                let sum: i32 = own.iter().map(|&value| i32::from(value)).sum();
                // SAFETY: units do not overlap, and these are inside the memory, whose values are bytes.
                unsafe {
                    let to = values.pointer(0).cast::<i8>().add(row * size.row_bytes() + block * size.block);
                    to.copy_from_nonoverlapping(own.as_ptr(), own.len());
                    scales.pointer(row * blocks + block).write(quantized.scales[line]);
                    starts.pointer(row * blocks + block).cast::<i32>().write(-128 * sum);
                }
            }
        },
        Scales::Float,
    );
}

/// Into the memory of a right factor: values plus 128 by fours, scales.
pub(super) fn right(source: Source<'_>, memory: &mut [f32]) {
    let (size, blocks) = (source.size(), source.size().blocks());
    let bytes = PANEL * size.block;
    let (values, scales) = memory.split_at_mut(size.panels() * blocks * bytes / 4);
    let (values, scales) = (SharedMut::new(values), SharedMut::new(scales));
    source.each(
        |panel, block, quantized| {
            let at = panel * blocks + block;
            // SAFETY: units do not overlap, and these are inside the memory: a block's values, and sixteen halves.
            let (values, scales) =
                unsafe { (values.slice(at * bytes / 4, bytes / 4), scales.slice(at * PANEL / 2, PANEL / 2)) };
            for (lane, line) in (0..PANEL).map(|lane| (lane, quantized.line(lane))) {
                for (quad, four) in line.as_chunks::<4>().0.iter().enumerate() {
                    let bits = u32::from_le_bytes(four.map(|value| value as u8)) ^ 0x8080_8080;
                    values[quad * PANEL + lane] = f32::from_bits(u32::from_le(bits));
                }
            }
            let halves = crate::bf16::of_floats_mut(scales);
            halves.iter_mut().zip(quantized.scales).for_each(|(to, scale)| *to = f32_to_f16(scale));
        },
        Scales::Half,
    );
}

/// One group of lines times one block.
struct Quantize<'a, 'b> {
    source: &'a Source<'a>,
    group: usize,
    block: usize,
    scales: Scales,
    to: &'b mut Quantized,
}

impl Kernel for Quantize<'_, '_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        if self.source.depth_stride == 1 { self.along::<S>() } else { self.across::<S>() }
    }
}

impl Quantize<'_, '_> {
    /// Lines that lie in one piece.
    #[inline(always)]
    fn along<S: Simd>(self) {
        let Self { source, group, block, scales, to } = self;
        let (first, start) = (group * PANEL, block * to.block);
        let depth = to.block.min(source.depth - start);
        for line in 0..PANEL.min(source.lines - first) {
            let numbers = &source.data[(first + line) * source.line_stride + start..][..depth];
            let mut magnitudes = S::splat(0.0);
            for at in (0..depth).step_by(LANES) {
                magnitudes = S::at(numbers, at).larger_magnitude(magnitudes);
                prefetch(numbers.as_ptr().wrapping_add(at + to.block));
            }
            let (scale, inverse) = scale_of(magnitudes.largest_magnitude(), scales);
            to.scales[line] = scale;
            let values = &mut to.values[line * BLOCK_MAX..][..to.block];
            for (at, values) in values.chunks_exact_mut(LANES).enumerate() {
                let at = at * LANES;
                let lanes = if at < depth { S::at(numbers, at) } else { S::splat(0.0) };
                // SAFETY: 16 bytes.
                unsafe { (lanes * S::splat(inverse)).store_i8(values.as_mut_ptr()) };
            }
        }
    }

    /// Lines side by side.
    #[inline(always)]
    fn across<S: Simd>(self) {
        let Self { source, group, block, scales, to } = self;
        let (first, start) = (group * PANEL, block * to.block);
        let (lines, depth) = (PANEL.min(source.lines - first), to.block.min(source.depth - start));
        let at = |step: usize| (start + step) * source.depth_stride + first;
        let mut magnitudes = S::splat(0.0);
        for step in 0..depth {
            let lanes = S::at(&source.data[at(step)..][..lines], 0);
            // The group that comes next lies behind this one.
            prefetch(source.data.as_ptr().wrapping_add(at(step) + LINE));
            magnitudes = lanes.larger_magnitude(magnitudes);
        }
        let (magnitudes, mut inverses) = (magnitudes.to_array(), [0.0; LANES]);
        for line in 0..LANES {
            (to.scales[line], inverses[line]) = scale_of(magnitudes[line], scales);
        }
        let inverses = S::at(&inverses, 0);
        for step in (0..to.block).step_by(LANES) {
            let mut numbers = [S::splat(0.0); LANES];
            for (i, numbers) in numbers.iter_mut().enumerate() {
                if step + i < depth {
                    *numbers = S::at(&source.data[at(step + i)..][..lines], 0) * inverses;
                }
            }
            for (line, lanes) in S::transpose(numbers).iter().enumerate() {
                // SAFETY: 16 bytes of a line's 128.
                unsafe { lanes.store_i8(to.values[line * BLOCK_MAX + step..][..LANES].as_mut_ptr()) };
            }
        }
    }
}

/// The scale of a block, and what its numbers are multiplied by, given its largest magnitude, which is not finite where
/// one of them is not.
#[inline(always)]
fn scale_of(largest: f32, scales: Scales) -> (f32, f32) {
    if !largest.is_finite() {
        return (f32::NAN, 0.0);
    }
    if largest < LEAST {
        return (0.0, 0.0);
    }
    match scales {
        Scales::Float => (largest / 127.0, 127.0 / largest),
        Scales::Half => {
            let scale = half_from(largest / 127.0);
            (scale, if scale.is_nan() { 0.0 } else { 1.0 / scale })
        }
    }
}

/// The least number of fp16 that is not below `x`, which is positive; NaN where there is none.
fn half_from(x: f32) -> f32 {
    let half = f32_to_f16(x);
    let near = f16_to_f32(half);
    if near >= x {
        return near;
    }
    let above = f16_to_f32(half + 1);
    if above.is_finite() { above } else { f32::NAN }
}
