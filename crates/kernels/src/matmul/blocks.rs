//! How a product with a packed B is cut into tasks and blocks.

use std::ops::Range;
use std::sync::OnceLock;

use super::tile::{Ahead, CACHE_LINE, Factor, PANEL, TILE_ROWS, Tile, Weight, vectors_beside};
use super::{MatRef, Number, pairs, wide};
use crate::buffer::Scratch;
use crate::cpu;
use crate::pool::{self, SharedMut};
use crate::simd::{Kernel, LANES, Simd, dispatch, prefetch};

/// Rows of C in one task, where there are enough of them, at least; a multiple of the tile.
const ROWS_MIN: usize = 24;
/// Rows that would take as long as what a task costs beside its rows.
const TASK_ROWS: usize = 2;
/// Tasks that each thread gets at least: more even out what else the machine does.
const TASKS: usize = 4;
/// Where A is transposed, and so packed: narrow bands of it cost more than they even out.
const TASKS_TURNED: usize = 1;
/// Multiply-adds that make a task worth its while.
const TASK_WORK_MIN: usize = 1 << 15;

/// Sizes that follow from the second cache.
struct Blocking {
    /// Rows of B in one block: this much of a panel stays in the second cache while all rows of a task pass.
    depth: usize,
    /// Rows of C in one task at most; a multiple of the tile.
    rows_max: usize,
    /// Floats of A in one task, which stay in the second cache while all panels pass.
    a_floats: usize,
    /// Fewest panels that a task is cut down to while it has rows that it could give away instead.
    panels_min: usize,
    /// Whether there is room for the next block of B beside the one in use.
    ahead: bool,
}

/// For a mebibyte: 96 KiB of a panel, half a mebibyte of A.
const SMALL: Blocking = Blocking { depth: 384, rows_max: 192, a_floats: 1 << 17, panels_min: 4, ahead: false };
/// For two: 256 KiB of a panel, as much of the next, a mebibyte of A.
const LARGE: Blocking = Blocking { depth: 1024, rows_max: 384, a_floats: 1 << 18, panels_min: 8, ahead: true };

/// The sizes for this machine.
fn blocking() -> &'static Blocking {
    static LARGE_CACHE: OnceLock<bool> = OnceLock::new();
    let large = *LARGE_CACHE.get_or_init(|| cpu::second_cache_bytes() >= 2 << 20);
    if large { &LARGE } else { &SMALL }
}

/// A product with a packed B. C is row after row with the row length of the whole result, whose columns from
/// `c_start` on this product computes.
pub(super) struct Product<'a, B, A = f32> {
    pub a: MatRef<'a, A>,
    pub b: Columns<'a, B>,
    pub outputs: usize,
    pub c: SharedMut<f32>,
    pub c_row: usize,
    pub c_start: usize,
    pub from_c: bool,
}

/// The columns of B, 64 at a time, as tiles read them.
#[derive(Clone, Copy)]
pub(super) struct Columns<'a, B> {
    numbers: &'a [B],
    /// Elements from a panel to the next.
    panel: usize,
    /// Elements from a row to the next.
    row: usize,
}

impl<'a, B> Columns<'a, B> {
    /// Panels, packed one after the other, of so many rows.
    pub fn packed(numbers: &'a [B], rows: usize) -> Self {
        Self { numbers, panel: rows * PANEL, row: PANEL }
    }
}

impl<'a> Columns<'a, f32> {
    /// A matrix as it is, whose rows are whole vectors.
    pub fn of_rows(matrix: MatRef<'a>) -> Self {
        Self { numbers: matrix.data, panel: PANEL, row: matrix.row_stride }
    }
}

impl<A: Number, B: Weight> Product<'_, B, A> {
    /// Elements along k.
    fn depth(&self) -> usize {
        B::depth(self.a.shape().1)
    }
}

/// Computes the product; `finish(row, columns, piece)` is called once for each finished piece of a row.
pub(super) fn multiply<A: Number, B: Weight>(
    product: &Product<'_, B, A>,
    finish: impl Fn(usize, Range<usize>, &mut [f32]) + Sync,
) {
    let (m, k) = (product.a.shape().0, product.depth());
    let panels = product.outputs.div_ceil(PANEL);
    if m == 0 || panels == 0 {
        return;
    }
    let (rows, group) = grid(m, panels, k, if product.a.col_stride == 1 { TASKS } else { TASKS_TURNED });
    let groups = panels.div_ceil(group);
    pool::parallel(m.div_ceil(rows) * groups, |task| {
        let (row, panel) = (task / groups * rows, task % groups * group);
        let rows = row..m.min(row + rows);
        let panels = panel..panels.min(panel + group);
        let columns = panels.start * PANEL..product.outputs.min(panels.end * PANEL);
        dispatch(Block { product, rows: rows.clone(), panels });
        for row in rows {
            // SAFETY: this task alone writes this piece of C.
            let piece =
                unsafe { product.c.slice(row * product.c_row + product.c_start + columns.start, columns.len()) };
            finish(row, columns.clone(), piece);
        }
    });
}

/// Rows and panels of a task: as large as still gives every thread `tasks_each`, and about the same to each.
fn grid(m: usize, panels: usize, k: usize, tasks_each: usize) -> (usize, usize) {
    let blocking = blocking();
    let rows_max = (blocking.a_floats / k.max(1) / TILE_ROWS * TILE_ROWS).clamp(ROWS_MIN, blocking.rows_max);
    let (mut rows, mut group) = (m.min(rows_max).next_multiple_of(TILE_ROWS), panels);
    let threads = pool::threads();
    let work = m.saturating_mul(panels * PANEL).saturating_mul(k);
    let wanted = if threads == 1 { 1 } else { (threads * tasks_each).min(work / TASK_WORK_MIN) };
    let tasks = |rows: usize, group: usize| m.div_ceil(rows) * panels.div_ceil(group);
    // Panels first, down to a few (a packed block of A serves them all), then rows, then panels again.
    while tasks(rows, group) < wanted && group > blocking.panels_min {
        group = group.div_ceil(2);
    }
    while tasks(rows, group) < wanted && rows > ROWS_MIN {
        rows = (rows / 2).next_multiple_of(TILE_ROWS);
    }
    while tasks(rows, group) < wanted && group > 1 {
        group = group.div_ceil(2);
    }
    if wanted > 1 {
        // What the thread with most to do has: its rows, and what each task costs beside them.
        let longest = |rows: usize| tasks(rows, group).div_ceil(threads) * (rows + TASK_ROWS);
        rows = (ROWS_MIN.min(rows)..=rows).rev().step_by(TILE_ROWS).min_by_key(|&rows| longest(rows)).unwrap_or(rows);
    }
    (rows, group)
}

struct Block<'a, B, A> {
    product: &'a Product<'a, B, A>,
    rows: Range<usize>,
    panels: Range<usize>,
}

impl<A: Number, B: Weight> Kernel for Block<'_, B, A> {
    type Output = ();
    const BF16: bool = !matches!(B::FACTOR, Factor::Float);
    #[inline(always)]
    fn run<S: Simd>(self) {
        let a = self.product.a.rows(self.rows.clone());
        match B::FACTOR {
            Factor::Float => self.floats::<S>(a),
            Factor::Wide => self.wide::<S>(a),
            Factor::Pair => self.pairs::<S>(a),
        }
    }
}

impl<A: Number, B: Weight> Block<'_, B, A> {
    #[inline(always)]
    fn floats<S: Simd>(&self, a: MatRef<'_, A>) {
        if a.col_stride == 1 && !A::PAIRED {
            return self.panels::<S>(Rows::along(a.data.as_ptr().cast(), a.row_stride));
        }
        let k = self.product.depth();
        let mut packed = Scratch::new(self.rows.len().next_multiple_of(TILE_ROWS) * k);
        pack_rows(a, &mut packed);
        self.panels::<S>(Rows { start: packed.as_ptr(), tile: TILE_ROWS * k, row: 1, k: TILE_ROWS });
    }

    #[inline(always)]
    fn wide<S: Simd>(&self, a: MatRef<'_, A>) {
        let (rows, k) = (self.rows.len(), self.product.depth());
        if a.col_stride == 1 {
            let row = wide::row_len(k);
            let mut packed = Scratch::new(rows * row);
            wide::along_rows::<S, A>(a, row, &mut packed);
            self.panels::<S>(Rows::along(packed.as_ptr(), row));
        } else {
            let stride = rows.next_multiple_of(LANES);
            let mut packed = Scratch::new(stride * k);
            wide::across_rows::<S, A>(a, stride, &mut packed);
            self.panels::<S>(Rows { start: packed.as_ptr(), tile: TILE_ROWS, row: 1, k: stride });
        }
    }

    #[inline(always)]
    fn pairs<S: Simd>(&self, a: MatRef<'_, A>) {
        let (k, along) = (self.product.depth(), a.col_stride == 1);
        if along && A::PAIRED && a.shape().1.is_multiple_of(2) && a.row_stride.is_multiple_of(2) {
            return self.panels::<S>(Rows::along(a.data.as_ptr().cast(), a.row_stride / 2));
        }
        let stride = self.rows.len().next_multiple_of(LANES);
        let mut packed = Scratch::new(stride * k);
        if along {
            pairs::along_rows::<S, A>(a, &mut packed);
            self.panels::<S>(Rows::along(packed.as_ptr(), k));
        } else {
            pairs::across_rows::<S, A>(a, stride, &mut packed);
            self.panels::<S>(Rows { start: packed.as_ptr(), tile: TILE_ROWS, row: 1, k: stride });
        }
    }
}

/// Where a task finds its rows of A: element (r, t) of tile i is at `start + i * tile + r * row + t * k`.
#[derive(Clone, Copy)]
struct Rows {
    start: *const f32,
    tile: usize,
    row: usize,
    k: usize,
}

impl Rows {
    /// Rows one after the other.
    fn along(start: *const f32, row: usize) -> Self {
        Self { start, tile: TILE_ROWS * row, row, k: 1 }
    }
}

impl<A: Number, B: Weight> Block<'_, B, A> {
    /// Each block of each panel of B against all rows of the task, as many columns at a time as the registers hold.
    #[inline(always)]
    fn panels<S: Simd>(&self, a: Rows) {
        let k = self.product.depth();
        let blocking = blocking();
        let strip = vectors_beside::<S>(self.rows.len().min(TILE_ROWS)) * LANES;
        for panel in self.panels.clone() {
            let Columns { numbers, panel: apart, row } = self.product.b;
            let b = &numbers[panel * apart..];
            let columns = PANEL.min(self.product.outputs - panel * PANEL);
            for depth in (0..k).step_by(blocking.depth) {
                for first in (0..columns).step_by(strip) {
                    let columns = panel * PANEL + first..panel * PANEL + columns.min(first + strip);
                    let b = b[depth * row + first..].as_ptr();
                    self.strip::<S>(a, b, depth..k.min(depth + blocking.depth), columns);
                }
            }
        }
    }

    /// A block of a few columns of B against all rows of the task.
    #[inline(always)]
    fn strip<S: Simd>(&self, a: Rows, b: *const B, depth: Range<usize>, columns: Range<usize>) {
        let ahead = self.ahead(b, &depth, &columns);
        for (i, row) in self.rows.clone().step_by(TILE_ROWS).enumerate() {
            let start = ahead.start.wrapping_add(i * depth.len().div_ceil(LANES) * ahead.lines * CACHE_LINE);
            let tile = Tile {
                rows: TILE_ROWS.min(self.rows.end - row),
                vectors: columns.len().div_ceil(LANES),
                k: depth.len(),
                // SAFETY: inside the rows of A.
                a: unsafe { a.start.add(i * a.tile + depth.start * a.k) },
                a_row: a.row,
                a_k: a.k,
                b,
                b_k: self.product.b.row,
                c: std::ptr::null_mut(),
                c_row: 0,
                from_c: self.product.from_c || depth.start > 0,
                ahead: Ahead { start, ..ahead },
            };
            self.tile::<S>(tile, row, &columns);
        }
    }

    /// What the tiles of a strip ask for, each a share: the block of B after this one, which lies behind it.
    #[inline(always)]
    fn ahead(&self, b: *const B, depth: &Range<usize>, columns: &Range<usize>) -> Ahead {
        /// What a tile can ask for beside its own numbers.
        const LINES_MAX: usize = 2;
        if !blocking().ahead || self.product.b.row != PANEL {
            return Ahead::NONE;
        }
        let is_last = depth.end == self.product.depth() && columns.end.div_ceil(PANEL) == self.panels.end;
        let is_most_of_panel = columns.len() > PANEL / 2;
        let block = depth.len() * PANEL;
        let rounds = self.rows.len().div_ceil(TILE_ROWS) * depth.len().div_ceil(LANES);
        let lines = (block * size_of::<B>() / CACHE_LINE).div_ceil(rounds.max(1));
        let lines = if is_last || !is_most_of_panel || lines > LINES_MAX { 0 } else { lines };
        Ahead { start: b.wrapping_add(block).cast(), lines, rows_of_c: TILE_ROWS }
    }

    /// Runs a tile on C itself or, where its columns do not fill the vectors, on a copy.
    #[inline(always)]
    fn tile<S: Simd>(&self, mut tile: Tile<B>, row: usize, columns: &Range<usize>) {
        let (product, width) = (self.product, columns.len());
        let start = |r: usize| (row + r) * product.c_row + product.c_start + columns.start;
        if width.is_multiple_of(LANES) {
            tile.c_row = product.c_row;
            // SAFETY: the task owns these rows and columns of C; A and B were cut by `panels`.
            unsafe {
                tile.c = product.c.pointer(start(0));
                B::tile::<S>(tile);
            }
            return;
        }
        let mut copy = [0.0; TILE_ROWS * PANEL];
        (tile.c, tile.c_row) = (copy.as_mut_ptr(), PANEL);
        // SAFETY: as above; the copy holds six rows of a whole panel.
        unsafe {
            let row_of_c = |r| product.c.slice(start(r), width);
            if tile.from_c {
                (0..tile.rows).for_each(|r| copy[r * PANEL..][..width].copy_from_slice(row_of_c(r)));
            }
            B::tile::<S>(tile);
            (0..tile.rows).for_each(|r| row_of_c(r).copy_from_slice(&copy[r * PANEL..][..width]));
        }
    }
}

/// Packs rows of A in tiles of six: `[tile][k][6]`. The last tile's missing rows stay as they are: none reads them.
fn pack_rows<A: Number>(a: MatRef<'_, A>, packed: &mut [f32]) {
    /// Columns of A at a time: what the tiles share of them, and of the next as many, stays in the first cache.
    const COLUMNS: usize = 16;
    let (rows, k) = a.shape();
    for start in (0..k).step_by(COLUMNS) {
        let columns = start..k.min(start + COLUMNS);
        if a.row_stride == 1 {
            // Pieces of far rows are a stream that the hardware does not foresee.
            for t in columns.end..k.min(columns.end + COLUMNS) {
                for row in (0..rows).step_by(CACHE_LINE / size_of::<A>()) {
                    prefetch(a.data.as_ptr().wrapping_add(t * a.col_stride + row).cast());
                }
            }
        }
        for (tile, out) in packed.chunks_exact_mut(TILE_ROWS * k).enumerate() {
            let first = tile * TILE_ROWS;
            let rows = TILE_ROWS.min(rows - first);
            let (out, _) = out[columns.start * TILE_ROWS..columns.end * TILE_ROWS].as_chunks_mut::<TILE_ROWS>();
            for (t, out) in columns.clone().zip(out) {
                let from = &a.data[first * a.row_stride + t * a.col_stride..];
                match from.first_chunk::<TILE_ROWS>() {
                    Some(six) if a.row_stride == 1 => *out = six.map(A::to_f32),
                    _ => (0..rows).for_each(|r| out[r] = from[r * a.row_stride].to_f32()),
                }
            }
        }
    }
}
