//! Attention over whole sequences.

use std::ops::Range;

use super::cached::Format;
use super::queries::{Blocks, Queries, Span, room};
use super::{BLOCK, Inputs, Shape, check_inputs};
use crate::buffer::with_scratch;
use crate::matmul::assert_len;
use crate::pool::{SharedMut, parallel};
use crate::simd::{LANES, Transpose, dispatch, prefetch};

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
        with_scratch(2 * size + room(shape), |scratch| {
            let (keys, rest) = scratch.split_at_mut(size);
            let (values, room) = rest.split_at_mut(size);
            let width = shape.kv_heads * shape.head_width;
            let head = sequence.start * width + kv_head * shape.head_width;
            for start in (0..sequence.len()).step_by(BLOCK) {
                let (rows, at) = (BLOCK.min(sequence.len() - start), start / BLOCK * block);
                let source = Head { start: head + start * width, stride: width, rows, width: shape.head_width };
                source.transpose(inputs.k, &mut keys[at..][..block]);
                source.copy(inputs.v, &mut values[at..][..block]);
            }
            let (format, keys, values) = (Format::F32, keys.as_ptr(), values.as_ptr());
            let blocks = Blocks { format, keys, values, stride: block, table: None };
            let (origin, length) = (sequence.start, sequence.len());
            let queries = Queries { shape, blocks, kv_head, q: inputs.q, out, lse, origin, length };
            for start in (0..length).step_by(BLOCK) {
                dispatch(Span { queries, positions: start..length.min(start + BLOCK), room });
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
    /// As a block of columns: `[width][64]`. What lies beyond the rows and the width stays as it is, or becomes zero.
    pub(super) fn transpose(self, from: &[f32], to: &mut [f32]) {
        let from = &from[self.start..];
        self.prefetch_rows(from, 0..AHEAD.min(self.rows));
        for row in (0..self.rows).step_by(LANES) {
            self.prefetch_rows(from, row + AHEAD..self.rows.min(row + AHEAD + LANES));
            let (from, to) = (&from[row * self.stride..], &mut to[row..]);
            let rows = LANES.min(self.rows - row);
            dispatch(Transpose { from, from_stride: self.stride, rows, cols: self.width, to, to_stride: BLOCK });
        }
    }

    /// As a block of rows: `[64][padded width]`.
    pub(super) fn copy(self, from: &[f32], to: &mut [f32]) {
        let (padded, from) = (self.width.next_multiple_of(LANES), &from[self.start..]);
        self.prefetch_rows(from, 0..AHEAD.min(self.rows));
        for (r, to) in to.chunks_exact_mut(padded).enumerate().take(self.rows) {
            self.prefetch_rows(from, r + AHEAD..self.rows.min(r + AHEAD + 1));
            to[..self.width].copy_from_slice(&from[r * self.stride..][..self.width]);
        }
    }

    /// Rows of a head lie far apart, which the hardware does not foresee.
    fn prefetch_rows(self, from: &[f32], rows: Range<usize>) {
        for row in rows {
            for i in (0..self.width).step_by(LANES) {
                prefetch(&from[row * self.stride + i]);
            }
        }
    }
}

/// Rows that are asked for ahead of their use.
const AHEAD: usize = 16;
