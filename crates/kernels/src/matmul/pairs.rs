//! Rounding factors to pairs of bf16 while they are packed. An odd number of steps along k ends with a pair whose second
//! half is zero.

use super::pack::{Piece, pieces};
use super::tile::{PANEL, Pair};
use super::{MatRef, packed_len};
use crate::bf16;
use crate::simd::{Kernel, LANES, Simd, dispatch};

/// Packs B in panels of 64 columns, each `[k / 2][64]`, the last one padded with zeros.
pub(super) fn pack_columns(b: MatRef<'_>, packed: &mut [Pair]) {
    let (k, columns) = b.shape();
    let depth = k.div_ceil(2);
    assert_eq!(packed.len(), packed_len(depth, columns), "pairs: length of the packed matrix");
    pieces(depth, columns, packed, |piece, out| dispatch(Columns { b, piece, out: Pair::as_floats(out) }));
}

/// A piece of B: what rows and columns it has is counted in pairs along k.
struct Columns<'a, 'b> {
    b: MatRef<'a>,
    piece: Piece,
    out: &'b mut [f32],
}

impl Kernel for Columns<'_, '_> {
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
            across::<S>(b, out);
        } else if b.row_stride == 1 {
            along::<S>(b, out);
        } else {
            scattered(b, out);
        }
    }
}

/// Of a B stored row after row, two rows at a time.
#[inline(always)]
fn across<S: Simd>(b: MatRef<'_>, out: &mut [f32]) {
    let (k, columns) = b.shape();
    for (pair, out) in out.chunks_exact_mut(PANEL).enumerate() {
        let even = &b.data[2 * pair * b.row_stride..][..columns];
        let odd = if 2 * pair + 1 < k { &b.data[(2 * pair + 1) * b.row_stride..][..columns] } else { &[][..] };
        for at in (0..PANEL).step_by(LANES) {
            let [even, odd] = [from::<S>(even, at), from::<S>(odd, at)];
            S::pairs_across(even, odd).put(out, at);
        }
    }
}

/// Of a B stored column after column: 16 pairs along each of 16 columns, then turned.
#[inline(always)]
fn along<S: Simd>(b: MatRef<'_>, out: &mut [f32]) {
    let (k, columns) = b.shape();
    let depth = out.len() / PANEL;
    for pair in (0..depth).step_by(LANES) {
        let steps = 2 * pair..k.min(2 * (pair + LANES));
        for column in (0..PANEL).step_by(LANES) {
            let mut lanes = [S::splat(0.0); LANES];
            for (c, lanes) in lanes.iter_mut().enumerate() {
                if column + c < columns {
                    let numbers = &b.data[(column + c) * b.col_stride..][steps.clone()];
                    *lanes = S::pairs_along(from::<S>(numbers, 0), from::<S>(numbers, LANES));
                }
            }
            let turned = S::transpose(lanes);
            for (row, turned) in turned.iter().enumerate().take(depth - pair) {
                turned.put(out, (pair + row) * PANEL + column);
            }
        }
    }
}

/// Of a B that lies in memory in neither way.
fn scattered(b: MatRef<'_>, out: &mut [f32]) {
    let (k, columns) = b.shape();
    for (pair, out) in out.chunks_exact_mut(PANEL).enumerate() {
        for (column, out) in out.iter_mut().enumerate() {
            let number = |t: usize| {
                if t < k && column < columns { b.data[t * b.row_stride + column * b.col_stride] } else { 0.0 }
            };
            *out = bf16::pair(number(2 * pair), number(2 * pair + 1));
        }
    }
}

/// Packs rows of A that are stored one after the other: `[row][k / 2]`.
#[inline(always)]
pub(super) fn along_rows<S: Simd>(a: MatRef<'_>, packed: &mut [f32]) {
    let (rows, k) = a.shape();
    let depth = k.div_ceil(2);
    for row in 0..rows {
        let numbers = &a.data[row * a.row_stride..][..k];
        let out = &mut packed[row * depth..][..depth];
        for pair in (0..depth).step_by(LANES) {
            S::pairs_along(from::<S>(numbers, 2 * pair), from::<S>(numbers, 2 * pair + LANES)).put(out, pair);
        }
    }
}

/// Packs rows of A that are stored otherwise: `[k / 2][rows]`, the rows padded to `stride`, a multiple of 16.
#[inline(always)]
pub(super) fn across_rows<S: Simd>(a: MatRef<'_>, stride: usize, packed: &mut [f32]) {
    let k = a.shape().1;
    for (pair, out) in packed.chunks_exact_mut(stride).enumerate() {
        for row in (0..stride).step_by(LANES) {
            let even = sixteen::<S>(a, row, 2 * pair);
            let odd = if 2 * pair + 1 < k { sixteen::<S>(a, row, 2 * pair + 1) } else { S::splat(0.0) };
            S::pairs_across(even, odd).put(out, row);
        }
    }
}

/// Sixteen numbers from `at` on, zeros past the end.
#[inline(always)]
fn from<S: Simd>(numbers: &[f32], at: usize) -> S {
    if at < numbers.len() { S::at(numbers, at) } else { S::splat(0.0) }
}

/// Sixteen rows of A at step `t`. Rows that A has not are left over.
#[inline(always)]
fn sixteen<S: Simd>(a: MatRef<'_>, first: usize, t: usize) -> S {
    let numbers = &a.data[first * a.row_stride + t * a.col_stride..];
    if a.row_stride == 1 {
        return S::at(numbers, 0);
    }
    let mut rows = [0.0; LANES];
    for (r, number) in rows.iter_mut().enumerate().take(a.shape().0 - first) {
        *number = numbers[r * a.row_stride];
    }
    S::at(&rows, 0)
}
