//! The packed layout of B: panels of 64 columns, each `[inputs][64]`, the last one padded with zeros.

use super::MatRef;
use super::tile::PANEL;
use crate::pool::{SharedMut, parallel_ranges};
use crate::simd::{Transpose, dispatch};

/// Rows of B in one unit of packing work.
const SLAB: usize = 128;

/// Floats of a packed `inputs` × `outputs` weight.
pub fn packed_len(inputs: usize, outputs: usize) -> usize {
    inputs * outputs.next_multiple_of(PANEL)
}

/// Packs a weight of inputs × outputs (the transposed view of a Hugging Face weight) for [`super::matmul_packed`].
///
/// # Panics
/// If `packed` has not the length that [`packed_len`] gives.
pub fn pack(weight: MatRef<'_>, packed: &mut [f32]) {
    let (inputs, outputs) = weight.shape();
    assert_eq!(packed.len(), packed_len(inputs, outputs), "pack: length of the packed weight");
    pieces(inputs, outputs, packed, |piece, out| {
        let (row_stride, col_stride) = (weight.row_stride, weight.col_stride);
        let from = &weight.data[piece.row * row_stride + piece.column * col_stride..];
        if col_stride == 1 {
            copy_rows(from, row_stride, piece.columns, out);
        } else if row_stride == 1 {
            if piece.columns < PANEL {
                out.fill(0.0);
            }
            let (rows, cols) = (piece.columns, piece.rows);
            dispatch(Transpose { from, from_stride: col_stride, rows, cols, to: out, to_stride: PANEL });
        } else {
            copy_elements(from, [row_stride, col_stride], piece.columns, out);
        }
    });
}

/// A part of a panel: `rows` rows from `row` on, `columns` columns from `column` on.
pub(crate) struct Piece {
    pub row: usize,
    pub rows: usize,
    pub column: usize,
    pub columns: usize,
}

/// Cuts the packing into tasks; `fill(piece, out)` packs one.
pub(crate) fn pieces<T: Send>(inputs: usize, outputs: usize, packed: &mut [T], fill: impl Fn(Piece, &mut [T]) + Sync) {
    let slabs = inputs.div_ceil(SLAB);
    let packed = SharedMut::new(packed);
    parallel_ranges(slabs * outputs.div_ceil(PANEL), SLAB * PANEL, |units| {
        for unit in units {
            let (column, row) = (unit / slabs * PANEL, unit % slabs * SLAB);
            let piece = Piece { row, rows: SLAB.min(inputs - row), column, columns: PANEL.min(outputs - column) };
            // SAFETY: units do not overlap.
            let out = unsafe { packed.slice(column * inputs + row * PANEL, piece.rows * PANEL) };
            fill(piece, out);
        }
    });
}

fn copy_rows(from: &[f32], stride: usize, columns: usize, out: &mut [f32]) {
    for (i, row) in out.as_chunks_mut::<PANEL>().0.iter_mut().enumerate() {
        let from = &from[i * stride..];
        match from.first_chunk::<PANEL>() {
            Some(whole) if columns == PANEL => *row = *whole,
            _ => {
                row[..columns].copy_from_slice(&from[..columns]);
                row[columns..].fill(0.0);
            }
        }
    }
}

/// Sixteen rows at a time, so that what is written stays in the first cache while each column is read in its order.
fn copy_elements<T: Copy + Default>(from: &[T], [row_stride, col_stride]: [usize; 2], columns: usize, out: &mut [T]) {
    const ROWS: usize = 16;
    for (block, out) in out.chunks_mut(ROWS * PANEL).enumerate() {
        let rows = out.len() / PANEL;
        if columns < PANEL {
            out.fill(T::default());
        }
        for column in 0..columns {
            let from = &from[block * ROWS * row_stride + column * col_stride..];
            for row in 0..rows {
                out[row * PANEL + column] = from[row * row_stride];
            }
        }
    }
}
