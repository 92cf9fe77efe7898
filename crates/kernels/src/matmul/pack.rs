//! The packed layout of B: panels of 64 columns, each `[inputs][64]`, the last one padded with zeros.

use super::tile::PANEL;
use super::{MatRef, assert_len};
use crate::pool::{SharedMut, parallel_ranges};

/// Rows of B in one unit of packing work.
const SLAB: usize = 128;

/// Floats of a packed `inputs` × `outputs` weight.
pub fn packed_len(inputs: usize, outputs: usize) -> usize {
    inputs * outputs.next_multiple_of(PANEL)
}

/// Bytes of a packed int8 weight.
pub fn packed_i8_len(inputs: usize, outputs: usize) -> usize {
    packed_len(inputs, outputs)
}

/// Packs a weight of inputs × outputs (the transposed view of a Hugging Face weight) for [`super::matmul_packed`].
///
/// # Panics
/// If `packed` has not the length that [`packed_len`] gives.
pub fn pack(weight: MatRef<'_>, packed: &mut [f32]) {
    let (inputs, outputs) = weight.shape();
    assert_eq!(packed.len(), packed_len(inputs, outputs), "pack: length of the packed weight");
    let source = Source { data: weight.data, row_stride: weight.row_stride, col_stride: weight.col_stride };
    pack_panels(source, inputs, outputs, packed);
}

/// Packs an int8 weight of outputs × inputs, row after row, for [`super::matmul_packed_i8`].
///
/// # Panics
/// If a length is wrong; `packed` has that of [`packed_i8_len`].
pub fn pack_i8(weight: &[i8], inputs: usize, outputs: usize, packed: &mut [i8]) {
    assert_len("pack_i8: weight", weight.len(), &[outputs, inputs]);
    assert_eq!(packed.len(), packed_i8_len(inputs, outputs), "pack_i8: length of the packed weight");
    pack_panels(Source { data: weight, row_stride: 1, col_stride: inputs }, inputs, outputs, packed);
}

#[derive(Clone, Copy)]
struct Source<'a, T> {
    data: &'a [T],
    row_stride: usize,
    col_stride: usize,
}

fn pack_panels<T: Copy + Default + Send + Sync>(
    source: Source<'_, T>,
    inputs: usize,
    outputs: usize,
    packed: &mut [T],
) {
    let slabs = inputs.div_ceil(SLAB);
    let packed = SharedMut::new(packed);
    parallel_ranges(slabs * outputs.div_ceil(PANEL), SLAB * PANEL, |units| {
        for unit in units {
            let (panel, start) = (unit / slabs, unit % slabs * SLAB);
            let rows = SLAB.min(inputs - start);
            // SAFETY: units do not overlap.
            let out = unsafe { packed.slice((panel * inputs + start) * PANEL, rows * PANEL) };
            let columns = PANEL.min(outputs - panel * PANEL);
            let origin = start * source.row_stride + panel * PANEL * source.col_stride;
            let source = Source { data: &source.data[origin..], ..source };
            if source.col_stride == 1 {
                copy_rows(source, columns, out);
            } else {
                transpose(source, columns, out);
            }
        }
    });
}

fn copy_rows<T: Copy + Default>(source: Source<'_, T>, columns: usize, out: &mut [T]) {
    for (i, row) in out.as_chunks_mut::<PANEL>().0.iter_mut().enumerate() {
        let from = &source.data[i * source.row_stride..];
        match from.first_chunk::<PANEL>() {
            Some(whole) if columns == PANEL => *row = *whole,
            _ => {
                row[..columns].copy_from_slice(&from[..columns]);
                row[columns..].fill(T::default());
            }
        }
    }
}

/// Sixteen rows at a time, so that what is written stays in the first cache while each column is read in its order.
fn transpose<T: Copy + Default>(source: Source<'_, T>, columns: usize, out: &mut [T]) {
    const ROWS: usize = 16;
    for (block, out) in out.chunks_mut(ROWS * PANEL).enumerate() {
        let rows = out.len() / PANEL;
        if columns < PANEL {
            out.fill(T::default());
        }
        for column in 0..columns {
            let from = &source.data[block * ROWS * source.row_stride + column * source.col_stride..];
            for row in 0..rows {
                out[row * PANEL + column] = from[row * source.row_stride];
            }
        }
    }
}
