//! Rounding factors to bf16 while they are packed, as f32 and with the two of each pair along k exchanged, so that
//! multiply-adds of f32 compute what dot products of pairs do. An odd number of steps along k ends with a pair whose
//! second number is zero.

use super::pack::{Piece, pieces};
use super::source::Source;
use super::tile::{PANEL, Wide};
use super::{MatRef, packed_len};
use crate::simd::{Kernel, LANES, Simd, dispatch, prefetch};

/// Packs B in panels of 64 columns, each `[k][64]`, the last one padded with zeros.
pub(super) fn pack_columns<T: Source>(b: MatRef<'_, T>, packed: &mut [Wide]) {
    let (k, columns) = b.shape();
    let depth = k.next_multiple_of(2);
    assert_eq!(packed.len(), packed_len(depth, columns), "wide: length of the packed matrix");
    pieces(depth, columns, packed, |piece, out| dispatch(Columns { b, piece, out: Wide::as_floats(out) }));
}

/// A piece of B, with an even number of rows.
struct Columns<'a, 'b, T> {
    b: MatRef<'a, T>,
    piece: Piece,
    out: &'b mut [f32],
}

impl<T: Source> Kernel for Columns<'_, '_, T> {
    type Output = ();
    const BF16: bool = true;
    #[inline(always)]
    fn run<S: Simd>(self) {
        let Self { b, piece, out } = self;
        let k = b.shape().0;
        let b = b.rows(piece.row..k.min(piece.row + piece.rows)).columns(piece.column..piece.column + piece.columns);
        if b.col_stride == 1 {
            across::<S, T>(b, out);
        } else {
            along::<S, T>(b, out);
        }
    }
}

/// Of a B stored row after row.
#[inline(always)]
fn across<S: Simd, T: Source>(b: MatRef<'_, T>, out: &mut [f32]) {
    let (k, columns) = b.shape();
    for (row, out) in out.chunks_exact_mut(PANEL).enumerate() {
        let row = row ^ 1;
        ask_for(b.data, (row + ROWS_AHEAD) * b.row_stride, PANEL);
        let numbers = if row < k { &b.data[row * b.row_stride..][..columns] } else { &[][..] };
        for at in (0..PANEL).step_by(LANES) {
            T::wide::<S>(from(numbers, at)).put(out, at);
        }
    }
}

/// Of a B stored column after column: 16 rows of each of 16 columns, then turned.
#[inline(always)]
fn along<S: Simd, T: Source>(b: MatRef<'_, T>, out: &mut [f32]) {
    let (k, columns) = b.shape();
    let depth = out.len() / PANEL;
    for row in (0..depth).step_by(LANES) {
        let steps = row..k.min(row + LANES);
        for column in (0..PANEL).step_by(LANES) {
            let mut lanes = [S::splat(0.0); LANES];
            for (c, lanes) in lanes.iter_mut().enumerate() {
                if column + c < columns {
                    let column = &b.data[(column + c) * b.col_stride..];
                    ask_for(column, row + STEPS_AHEAD, LANES);
                    *lanes = T::wide::<S>(&column[steps.clone()]);
                }
            }
            let turned = S::transpose(lanes);
            // The depth is even, so a row and its neighbour are both there.
            for (r, turned) in turned.iter().enumerate().take(depth - row) {
                turned.put(out, (row + (r ^ 1)) * PANEL + column);
            }
        }
    }
}

/// Floats from one packed row of A to the next, for a depth along k. Never a multiple of 1 KiB, lest the rows of a tile
/// share few lines of the first cache.
pub(super) fn row_len(depth: usize) -> usize {
    let len = depth.next_multiple_of(LANES);
    if len.is_multiple_of(256) { len + LANES } else { len }
}

/// Packs rows of A that are stored one after the other: `[row][k]`, each row padded to `row_len`.
#[inline(always)]
pub(super) fn along_rows<S: Simd, T: Source>(a: MatRef<'_, T>, row_len: usize, packed: &mut [f32]) {
    let (rows, k) = a.shape();
    for row in 0..rows {
        let numbers = &a.data[row * a.row_stride..][..k];
        let out = &mut packed[row * row_len..][..row_len];
        for at in (0..k).step_by(LANES) {
            T::wide::<S>(&numbers[at..]).swap_neighbours().put(out, at);
        }
    }
}

/// Packs rows of A that are stored otherwise: `[k][rows]`, the rows padded to `stride`, a multiple of 16.
#[inline(always)]
pub(super) fn across_rows<S: Simd, T: Source>(a: MatRef<'_, T>, stride: usize, packed: &mut [f32]) {
    let k = a.shape().1;
    for (step, out) in packed.chunks_exact_mut(stride).enumerate() {
        let step = step ^ 1;
        ask_for(a.data, (step + ROWS_AHEAD) * a.col_stride, stride);
        for row in (0..stride).step_by(LANES) {
            let numbers = if step < k { &a.data[row * a.row_stride + step * a.col_stride..] } else { &[][..] };
            T::wide::<S>(numbers).put(out, row);
        }
    }
}

/// Rows that are asked for ahead of their use: pieces of far rows are a stream that the hardware does not foresee.
const ROWS_AHEAD: usize = 16;
/// Steps along k that are asked for ahead of their use.
const STEPS_AHEAD: usize = 4 * LANES;

/// Asks for `count` numbers from `start` on.
#[inline(always)]
fn ask_for<T>(numbers: &[T], start: usize, count: usize) {
    for at in (0..count).step_by(64 / size_of::<T>()) {
        prefetch(numbers.as_ptr().wrapping_add(start + at).cast());
    }
}

/// The numbers from `at` on; none past the end.
#[inline(always)]
fn from<T>(numbers: &[T], at: usize) -> &[T] {
    &numbers[at.min(numbers.len())..]
}
