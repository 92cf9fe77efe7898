//! Rounding factors to pairs of bf16 while they are packed. An odd number of steps along k ends with a pair whose second
//! half is zero.

use super::pack::{Piece, pieces};
use super::source::Source;
use super::tile::{PANEL, Pair};
use super::{MatRef, packed_len};
use crate::simd::{Kernel, LANES, Simd, dispatch, prefetch};

/// Packs B in panels of 64 columns, each `[k / 2][64]`, the last one padded with zeros.
pub(super) fn pack_columns<T: Source>(b: MatRef<'_, T>, packed: &mut [Pair]) {
    let (k, columns) = b.shape();
    let depth = k.div_ceil(2);
    assert_eq!(packed.len(), packed_len(depth, columns), "pairs: length of the packed matrix");
    pieces(depth, columns, packed, |piece, out| dispatch(Columns { b, piece, out: Pair::as_floats(out) }));
}

/// A piece of B: what rows and columns it has is counted in pairs along k.
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
        let b = b
            .rows(2 * piece.row..k.min(2 * (piece.row + piece.rows)))
            .columns(piece.column..piece.column + piece.columns);
        if b.col_stride == 1 {
            across::<S, T>(b, out);
        } else {
            along::<S, T>(b, out);
        }
    }
}

/// Of a B stored row after row, two rows at a time.
#[inline(always)]
fn across<S: Simd, T: Source>(b: MatRef<'_, T>, out: &mut [f32]) {
    let (k, columns) = b.shape();
    for (pair, out) in out.chunks_exact_mut(PANEL).enumerate() {
        let even = &b.data[2 * pair * b.row_stride..][..columns];
        ask_for(b.data, 2 * (pair + PAIRS_AHEAD) * b.row_stride, b.row_stride, PANEL);
        let odd = if 2 * pair + 1 < k { &b.data[(2 * pair + 1) * b.row_stride..][..columns] } else { &[][..] };
        for at in (0..PANEL).step_by(LANES) {
            T::pairs_across::<S>(from(even, at), from(odd, at)).put(out, at);
        }
    }
}

/// Of a B stored column after column: 16 pairs along each of 16 columns, then turned.
#[inline(always)]
fn along<S: Simd, T: Source>(b: MatRef<'_, T>, out: &mut [f32]) {
    let (k, columns) = b.shape();
    let depth = out.len() / PANEL;
    for pair in (0..depth).step_by(LANES) {
        let steps = 2 * pair..k.min(2 * (pair + LANES));
        for column in (0..PANEL).step_by(LANES) {
            let mut lanes = [S::splat(0.0); LANES];
            for (c, lanes) in lanes.iter_mut().enumerate() {
                if column + c < columns {
                    let column = &b.data[(column + c) * b.col_stride..];
                    ask_along(column, steps.start);
                    let numbers = &column[steps.clone()];
                    *lanes = T::pairs_along::<S>(numbers);
                }
            }
            let turned = S::transpose(lanes);
            for (row, turned) in turned.iter().enumerate().take(depth - pair) {
                turned.put(out, (pair + row) * PANEL + column);
            }
        }
    }
}

/// Packs rows of A that are stored one after the other: `[row][k / 2]`.
#[inline(always)]
pub(super) fn along_rows<S: Simd, T: Source>(a: MatRef<'_, T>, packed: &mut [f32]) {
    let (rows, k) = a.shape();
    let depth = k.div_ceil(2);
    for row in 0..rows {
        let numbers = &a.data[row * a.row_stride..][..k];
        let out = &mut packed[row * depth..][..depth];
        for pair in (0..depth).step_by(LANES) {
            T::pairs_along::<S>(&numbers[2 * pair..]).put(out, pair);
        }
    }
}

/// Packs rows of A that are stored otherwise: `[k / 2][rows]`, the rows padded to `stride`, a multiple of 16.
#[inline(always)]
pub(super) fn across_rows<S: Simd, T: Source>(a: MatRef<'_, T>, stride: usize, packed: &mut [f32]) {
    let k = a.shape().1;
    for (pair, out) in packed.chunks_exact_mut(stride).enumerate() {
        ask_for(a.data, 2 * (pair + PAIRS_AHEAD) * a.col_stride, a.col_stride, stride);
        for row in (0..stride).step_by(LANES) {
            let (even, odd) =
                (sixteen(a, row, 2 * pair), if 2 * pair + 1 < k { sixteen(a, row, 2 * pair + 1) } else { &[] });
            T::pairs_across::<S>(even, odd).put(out, row);
        }
    }
}

/// Pairs of rows that are asked for ahead of their use: pieces of far rows are a stream that the hardware does not foresee.
const PAIRS_AHEAD: usize = 8;

/// Asks for `count` numbers from `start` on and for those one row further.
#[inline(always)]
fn ask_for<T>(numbers: &[T], start: usize, row: usize, count: usize) {
    let line = 64 / size_of::<T>();
    for at in (0..count).step_by(line) {
        prefetch(numbers.as_ptr().wrapping_add(start + at).cast());
        prefetch(numbers.as_ptr().wrapping_add(start + row + at).cast());
    }
}

/// Asks for what follows along k two blocks after the given step.
#[inline(always)]
fn ask_along<T>(numbers: &[T], step: usize) {
    let block = 2 * LANES;
    for at in (0..block).step_by(64 / size_of::<T>()) {
        prefetch(numbers.as_ptr().wrapping_add(step + 2 * block + at).cast());
    }
}

/// The numbers from `at` on; none past the end.
#[inline(always)]
fn from<T>(numbers: &[T], at: usize) -> &[T] {
    &numbers[at.min(numbers.len())..]
}

/// The rows of A from `first` on at step `t`. What follows them is left over.
#[inline(always)]
fn sixteen<T: Source>(a: MatRef<'_, T>, first: usize, t: usize) -> &[T] {
    &a.data[first * a.row_stride + t * a.col_stride..]
}
