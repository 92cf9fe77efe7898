//! Attention over whole sequences.

use std::ops::Range;

use super::queries::{Blocks, Queries, Span};
use super::{BLOCK, Inputs, Shape, check_inputs};
use crate::buffer::with_scratch;
use crate::matmul::assert_len;
use crate::pool::{SharedMut, parallel};
use crate::simd::{LANES, dispatch};

/// Attention of every sequence (a range of rows; positions count from its start) with itself.
///
/// Writes `out` (rows × heads × width) and, for the backward pass, the log-sum-exp of the scores in `lse` (rows ×
/// heads); rows of no sequence stay as they are.
///
/// # Panics
/// If the lengths do not agree, or sequences overlap or are not in ascending order.
pub fn forward(
    shape: &Shape,
    sequences: &[Range<usize>],
    inputs: Inputs<'_>,
    out: &mut [f32],
    lse: Option<&mut [f32]>,
) {
    let rows = check_inputs(shape, sequences, inputs);
    assert_eq!(out.len(), inputs.q.len(), "attention: length of out");
    if let Some(lse) = &lse {
        assert_len("attention: lse", lse.len(), &[rows, shape.heads]);
    }
    let (out, lse) = (SharedMut::new(out), lse.map(SharedMut::new));
    parallel(sequences.len() * shape.kv_heads, |task| {
        let (sequence, kv_head) = (&sequences[task / shape.kv_heads], task % shape.kv_heads);
        let block = shape.padded() * BLOCK;
        let size = sequence.len().div_ceil(BLOCK) * block;
        with_scratch(2 * size, |scratch| {
            let (keys, values) = scratch.split_at_mut(size);
            let width = shape.kv_heads * shape.head_width;
            let head = sequence.start * width + kv_head * shape.head_width;
            for start in (0..sequence.len()).step_by(BLOCK) {
                let (rows, at) = (BLOCK.min(sequence.len() - start), start / BLOCK * block);
                let source = Head { start: head + start * width, stride: width, rows, width: shape.head_width };
                source.transpose(inputs.k, &mut keys[at..][..block]);
                source.copy(inputs.v, &mut values[at..][..block]);
            }
            let blocks = Blocks { keys: keys.as_ptr(), values: values.as_ptr(), stride: block, table: None };
            let (origin, length) = (sequence.start, sequence.len());
            let queries = Queries { shape, blocks, kv_head, q: inputs.q, out, lse, origin, length };
            for start in (0..length).step_by(BLOCK) {
                dispatch(Span { queries, positions: start..length.min(start + BLOCK) });
            }
        });
    });
}

/// Up to 64 rows of one head in a rows × heads × width array.
#[derive(Clone, Copy)]
pub(super) struct Head {
    /// Element where the first row's head begins, and elements from row to row.
    pub start: usize,
    pub stride: usize,
    pub rows: usize,
    pub width: usize,
}

impl Head {
    /// As a block of columns: `[width][64]`. What lies beyond the rows and the width stays as it is.
    pub(super) fn transpose(self, from: &[f32], to: &mut [f32]) {
        // A cache line of positions at a time.
        for first in (0..self.rows).step_by(LANES) {
            let rows = LANES.min(self.rows - first);
            let from = &from[self.start + first * self.stride..];
            for i in 0..self.width {
                let to = &mut to[i * BLOCK + first..][..rows];
                to.iter_mut().enumerate().for_each(|(r, to)| *to = from[r * self.stride + i]);
            }
        }
    }

    /// As a block of rows: `[64][padded width]`.
    pub(super) fn copy(self, from: &[f32], to: &mut [f32]) {
        let padded = self.width.next_multiple_of(LANES);
        for (r, to) in to.chunks_exact_mut(padded).enumerate().take(self.rows) {
            to[..self.width].copy_from_slice(&from[self.start + r * self.stride..][..self.width]);
        }
    }
}
