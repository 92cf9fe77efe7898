//! Products of bytes for training: both factors are f32 and become bytes on the way, in blocks along the sum, each with a
//! scale of its own (as in Xi et al. 2024, "Jetfire", with blocks of one row instead of squares).
//!
//! `c = a b` takes a as a [`Left`] factor and b as a [`Right`] one, each made from a matrix in either order of memory, so
//! the three products of a linear map are three pairs of views. An output is, block by block in order,
//! `fma(sum of products · scale of a's block, scale of b's block, what stands so far)`; the sums are whole numbers and
//! exact. So it depends on its row and its column alone, and every instruction set gives the same bits: those of
//! [`crate::reference::bytes`].

mod quantize;

use std::ops::Range;

use super::tile::{Activations, Ahead, Functions, Kind, PANEL, Tile, Weights, functions};
use super::{BLOCK, INPUTS_MAX, PANELS, TASKS};
use crate::buffer::Scratch;
use crate::matmul::{Accumulate, MatRef, assert_len};
use crate::pool::{self, SharedMut, parallel};
use quantize::Source;

/// Numbers of a block at most.
pub const BLOCK_MAX: usize = 128;
/// Bytes of the left factor that stay in the second cache while all columns of a task pass.
const LEFT_BYTES: usize = 384 << 10;
/// Rows of a task at least, and at most.
const ROWS: Range<usize> = 24..384;

/// Numbers of a block that suit sums over `depth` numbers: of those lengths that fill whole blocks the longest, from 64
/// on; else the longest of all.
pub fn block_of(depth: usize) -> usize {
    let mut lengths = (2..=BLOCK_MAX / BLOCK).rev().map(|blocks| blocks * BLOCK);
    lengths.find(|&block| depth.is_multiple_of(block)).unwrap_or(BLOCK_MAX)
}

/// A factor's lines (rows of the left one, columns of the right), and the numbers of each, along which sums run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Size {
    lines: usize,
    depth: usize,
    /// Numbers of a block.
    block: usize,
}

impl Size {
    /// # Panics
    /// If a block is no multiple of 32, or longer than [`BLOCK_MAX`].
    fn new(lines: usize, depth: usize, block: usize) -> Self {
        assert!((1..=BLOCK_MAX).contains(&block) && block.is_multiple_of(BLOCK), "a block of {block} numbers");
        Self { lines, depth, block }
    }

    fn blocks(self) -> usize {
        self.depth.div_ceil(self.block)
    }

    /// Bytes from one row of the left factor to the next: never a multiple of 1 KiB, lest the rows of a tile share few
    /// lines of the first cache.
    fn row_bytes(self) -> usize {
        let bytes = self.blocks() * self.block;
        if bytes.is_multiple_of(1024) { bytes + 64 } else { bytes }
    }

    fn panels(self) -> usize {
        self.lines.div_ceil(PANEL)
    }
}

/// The left factor of a product, as bytes: rows × depth, a scale for each block of a row.
#[derive(Clone, Copy, Debug)]
pub struct Left<'a> {
    size: Size,
    memory: &'a [f32],
}

impl<'a> Left<'a> {
    /// Floats of memory for a factor of `rows` × `depth`.
    ///
    /// # Panics
    /// If a block is no multiple of 32, or longer than [`BLOCK_MAX`].
    pub fn floats([rows, depth]: [usize; 2], block: usize) -> usize {
        let size = Size::new(rows, depth, block);
        (rows * size.row_bytes()).div_ceil(4) + 2 * rows * size.blocks()
    }

    /// Quantizes a matrix (rows × depth) into `memory`, in blocks of `block` numbers along its rows: scale = largest
    /// magnitude of a block / 127, values to the nearest, ties to even. Blocks with a number that is not finite have a
    /// scale that is NaN.
    ///
    /// # Panics
    /// If the memory has not the length that [`Left::floats`] gives, or no stride of the matrix is one.
    pub fn quantize(matrix: MatRef<'_>, block: usize, memory: &'a mut [f32]) -> Self {
        let (rows, depth) = matrix.shape();
        assert_eq!(memory.len(), Self::floats([rows, depth], block), "left factor: floats of memory");
        quantize::left(Source::rows_of(matrix, block), memory);
        Self::of(memory, [rows, depth], block)
    }

    /// What [`Left::quantize`] left in the memory.
    ///
    /// # Panics
    /// If the memory has not the length that [`Left::floats`] gives.
    pub fn of(memory: &'a [f32], [rows, depth]: [usize; 2], block: usize) -> Self {
        assert_eq!(memory.len(), Self::floats([rows, depth], block), "left factor: floats of memory");
        Self { size: Size::new(rows, depth, block), memory }
    }

    /// The tile's view from a row and a block on.
    fn activations(&self, row: usize, block: usize) -> Activations {
        let (size, blocks) = (self.size, self.size.blocks());
        let values = (size.lines * size.row_bytes()).div_ceil(4);
        let at = row * blocks + block;
        Activations {
            // Inside the values, which are bytes.
            values: self.memory.as_ptr().cast::<i8>().wrapping_add(row * size.row_bytes() + block * size.block),
            values_row: size.row_bytes(),
            scales: self.memory[values + at..].as_ptr(),
            scales_row: blocks,
            starts: self.memory[values + size.lines * blocks + at..].as_ptr().cast(),
            sums: std::ptr::null(),
            parts_row: blocks,
        }
    }
}

/// The right factor of a product, as bytes: depth × columns, a scale in fp16 for each block of a column. Columns lie in
/// panels of 16, four numbers along the sum of each side by side.
#[derive(Clone, Copy, Debug)]
pub struct Right<'a> {
    size: Size,
    memory: &'a [f32],
}

impl<'a> Right<'a> {
    /// Floats of memory for a factor of `depth` × `columns`.
    ///
    /// # Panics
    /// If a block is no multiple of 32, or longer than [`BLOCK_MAX`].
    pub fn floats([depth, columns]: [usize; 2], block: usize) -> usize {
        let size = Size::new(columns, depth, block);
        size.panels() * size.blocks() * (PANEL * size.block / 4 + PANEL / 2)
    }

    /// Quantizes a matrix (depth × columns) into `memory`, in blocks of `block` numbers along its columns: scale = largest
    /// magnitude of a block / 127, rounded up to what fp16 holds, values to the nearest, ties to even. Blocks with a number
    /// that is not finite, or beyond 8.3 million, have a scale that is NaN.
    ///
    /// # Panics
    /// If the memory has not the length that [`Right::floats`] gives, or no stride of the matrix is one.
    pub fn quantize(matrix: MatRef<'_>, block: usize, memory: &'a mut [f32]) -> Self {
        let (depth, columns) = matrix.shape();
        assert_eq!(memory.len(), Self::floats([depth, columns], block), "right factor: floats of memory");
        quantize::right(Source::rows_of(matrix.transposed(), block), memory);
        Self::of(memory, [depth, columns], block)
    }

    /// What [`Right::quantize`] left in the memory.
    ///
    /// # Panics
    /// If the memory has not the length that [`Right::floats`] gives.
    pub fn of(memory: &'a [f32], [depth, columns]: [usize; 2], block: usize) -> Self {
        assert_eq!(memory.len(), Self::floats([depth, columns], block), "right factor: floats of memory");
        Self { size: Size::new(columns, depth, block), memory }
    }

    /// The tile's view from a panel and a block on.
    fn weights(&self, panel: usize, block: usize) -> Weights {
        let (blocks, bytes) = (self.size.blocks(), PANEL * self.size.block);
        let values = self.size.panels() * blocks * bytes;
        let at = panel * blocks + block;
        // Both may be the end: what follows on the last panel is asked for ahead, but never read.
        let start = self.memory.as_ptr();
        Weights {
            values: start.cast::<u8>().wrapping_add(at * bytes),
            values_panel: blocks * bytes,
            scales: start.wrapping_add(values / 4).cast::<u16>().wrapping_add(at * PANEL),
            mins: std::ptr::null(),
            parts_panel: blocks * PANEL,
            factors: std::ptr::null(),
            bias: std::ptr::null(),
        }
    }
}

/// `c = a b`, or `c += a b`, and a bias added to every row: a is rows × depth, b depth × columns, c row after row.
///
/// # Panics
/// If the sizes do not agree.
pub fn product(a: Left<'_>, b: Right<'_>, c: &mut [f32], accumulate: Accumulate, bias: Option<&[f32]>) {
    let (rows, columns) = (a.size.lines, b.size.lines);
    assert_eq!(a.size.depth, b.size.depth, "product of bytes: columns of a and rows of b");
    assert_eq!(a.size.block, b.size.block, "product of bytes: blocks of a and of b");
    assert_len("product of bytes: c", c.len(), &[rows, columns]);
    assert!(bias.is_none_or(|bias| bias.len() == columns), "product of bytes: length of the bias");
    if rows == 0 || columns == 0 {
        return;
    }
    if accumulate == Accumulate::Overwrite && a.size.depth == 0 {
        c.fill(0.0);
    }
    let product = Product { a, b, c: SharedMut::new(c), accumulate, bias, functions: functions() };
    let rows_step = (LEFT_BYTES / a.size.row_bytes().max(1)).clamp(ROWS.start, ROWS.end) / 12 * 12;
    let (pieces, units) = (rows.div_ceil(rows_step), columns.div_ceil(PANELS * PANEL));
    let wanted = if pool::threads() == 1 { 1 } else { pool::threads() * TASKS };
    let groups = wanted.div_ceil(pieces).min(units);
    parallel(pieces * groups, |task| {
        let (piece, group) = (task / groups, task % groups);
        // Pieces of about the same size.
        let own = rows * piece / pieces..rows * (piece + 1) / pieces;
        for unit in units * group / groups..units * (group + 1) / groups {
            product.unit(own.clone(), unit);
        }
    });
}

struct Product<'a> {
    a: Left<'a>,
    b: Right<'a>,
    c: SharedMut<f32>,
    accumulate: Accumulate,
    bias: Option<&'a [f32]>,
    functions: Functions,
}

impl Product<'_> {
    /// Some rows times four panels.
    fn unit(&self, rows: Range<usize>, unit: usize) {
        let all = self.b.size.lines;
        let first = unit * PANELS;
        let panels = PANELS.min(self.b.size.panels() - first);
        let columns = first * PANEL..all.min((first + panels) * PANEL);
        // SAFETY: these columns of these rows belong to this task alone.
        let piece = |row: usize| unsafe { self.c.slice(row * all + columns.start, columns.len()) };
        // Rows whose last panel is not whole cannot be written past their end.
        let is_whole = columns.len() == panels * PANEL;
        let mut spare = Scratch::new(if is_whole { 0 } else { rows.len() * panels * PANEL });
        let spare_row =
            |row: usize| (row - rows.start) * panels * PANEL..(row - rows.start) * panels * PANEL + columns.len();
        if is_whole {
            // SAFETY: as above.
            let c = unsafe { self.c.pointer(rows.start * all + columns.start) };
            self.blocks(&rows, first, panels, (c, all));
        } else {
            if self.accumulate == Accumulate::Add {
                rows.clone().for_each(|row| spare[spare_row(row)].copy_from_slice(piece(row)));
            }
            self.blocks(&rows, first, panels, (spare.as_mut_ptr(), panels * PANEL));
            rows.clone().for_each(|row| piece(row).copy_from_slice(&spare[spare_row(row)]));
        }
        if let Some(bias) = self.bias {
            for row in rows {
                piece(row).iter_mut().zip(&bias[columns.clone()]).for_each(|(y, b)| *y += b);
            }
        }
    }

    /// Piece by piece of the sums, and each piece, which stays in the first cache, for all rows.
    fn blocks(&self, rows: &Range<usize>, first: usize, panels: usize, (c, c_row): (*mut f32, usize)) {
        let (block, blocks) = (self.a.size.block, self.a.size.blocks());
        let tiles = rows.len().div_ceil(self.functions.rows);
        let step = blocks.div_ceil(blocks.div_ceil((INPUTS_MAX / block).max(1)).max(1)).max(1);
        for start in (0..blocks).step_by(step) {
            let count = step.min(blocks - start);
            let next = if start + count < blocks { (first, start + count) } else { (first + PANELS, 0) };
            for tile in 0..tiles {
                let (from, to) = (rows.len() * tile / tiles, rows.len() * (tile + 1) / tiles);
                let tile = Tile {
                    rows: to - from,
                    panels,
                    blocks: count,
                    block,
                    parts: 1,
                    x: self.a.activations(rows.start + from, start),
                    w: self.b.weights(first, start),
                    ahead: Ahead { w: self.b.weights(next.0, next.1), bits: 8, turn: tile, turns: tiles },
                    c: c.wrapping_add(from * c_row),
                    c_row,
                    from_c: self.accumulate == Accumulate::Add || start > 0,
                };
                // SAFETY: the factors have this many blocks, panels and rows; the columns of these rows are this task's.
                unsafe { (self.functions.tile)(Kind::Eight, &tile) };
            }
        }
    }
}

#[cfg(test)]
mod tests;
