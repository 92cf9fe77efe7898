//! The register kernel of every matrix product: a few rows times a few vectors of columns, sequential over k.

use crate::simd::{LANES, Simd, prefetch, prefetch_second};

/// Rows of a full tile.
pub(crate) const TILE_ROWS: usize = 6;
/// Columns of a packed panel.
pub(crate) const PANEL: usize = 64;

/// Bytes that come from memory together.
pub(super) const CACHE_LINE: usize = 64;
/// Rows of B that are asked for ahead of their use.
const ROWS_AHEAD: usize = 16;

/// Arguments of the register kernel: `c[r][j] = fma over t in order (a[r][t], b[t][j])`, from zero or from `c`.
///
/// Element (r, t) of A is at `a + r * a_row + t * a_k`; row t of B at `b + t * b_k`; row r of C at `c + r * c_row`.
///
/// Safety: `rows` is 1 to 6; A, and `vectors * 16` columns of B and C, must be readable, and C writable by this
/// thread alone.
#[derive(Clone, Copy)]
pub(crate) struct Tile<B = f32> {
    pub rows: usize,
    pub vectors: usize,
    pub k: usize,
    pub a: *const f32,
    pub a_row: usize,
    pub a_k: usize,
    pub b: *const B,
    pub b_k: usize,
    pub c: *mut f32,
    pub c_row: usize,
    pub from_c: bool,
    pub ahead: Ahead,
}

/// What a tile asks for beside its own numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ahead {
    /// Memory of later tiles, which may be anywhere, to come into the second cache.
    pub start: *const u8,
    /// Lines of it for each 16 steps along k.
    pub lines: usize,
    /// How many rows below the tile's own those rows of C are that it asks for.
    pub rows_of_c: usize,
}

impl Ahead {
    /// Nothing.
    pub const NONE: Self = Self { start: std::ptr::null(), lines: 0, rows_of_c: 0 };
}

/// The same with bf16 pairs in A and in B: k counts pairs.
pub(crate) type TilePairs = Tile<Pair>;

/// Two neighbours along k as bf16, the first in the lower half.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Pair(u32);

/// A number of a pair as f32, for machines whose dot products of pairs are slow: along k, the second of a pair comes
/// before the first, so that multiply-adds, one after the other, compute what those of pairs do.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(transparent)]
pub(crate) struct Wide(f32);

/// Elements that scratch memory, which is of floats, can hold.
pub(super) trait Bits: Sized {
    /// The same memory as elements.
    fn of_floats(floats: &mut [f32]) -> &mut [Self];
}

impl Bits for f32 {
    fn of_floats(floats: &mut [f32]) -> &mut [Self] {
        floats
    }
}

impl Bits for Pair {
    fn of_floats(floats: &mut [f32]) -> &mut [Self] {
        // SAFETY: of the same size and alignment, and every bit pattern is a value of both.
        unsafe { std::slice::from_raw_parts_mut(floats.as_mut_ptr().cast(), floats.len()) }
    }
}

impl Bits for Wide {
    fn of_floats(floats: &mut [f32]) -> &mut [Self] {
        // SAFETY: of the same size, alignment and values.
        unsafe { std::slice::from_raw_parts_mut(floats.as_mut_ptr().cast(), floats.len()) }
    }
}

impl Wide {
    /// The numbers.
    pub(crate) fn as_floats(wide: &mut [Self]) -> &mut [f32] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(wide.as_mut_ptr().cast(), wide.len()) }
    }
}

impl Pair {
    /// The bits of pairs, as floats.
    pub(super) fn as_floats(pairs: &mut [Self]) -> &mut [f32] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(pairs.as_mut_ptr().cast(), pairs.len()) }
    }
}

/// What the register kernel takes A's elements for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Factor {
    /// f32 as they are.
    Float,
    /// [`Wide`].
    Wide,
    /// [`Pair`].
    Pair,
}

/// What a packed B consists of.
pub(crate) trait Weight: Copy + Send + Sync + 'static {
    /// Steps along k in one element.
    const INPUTS: usize = 1;
    /// What the elements are of which A consists.
    const FACTOR: Factor = Factor::Float;
    /// Elements along k of so many steps.
    fn depth(k: usize) -> usize {
        k
    }
    /// Adds the products of an element of A with a vector of B to the sums.
    #[inline(always)]
    fn add_products<S: Simd>(x: S, columns: S, sums: S) -> S {
        x.fma(columns, sums)
    }
    /// # Safety
    /// 16 elements at `from` must be readable.
    unsafe fn load<S: Simd>(from: *const Self) -> S;
    /// # Safety
    /// See [`Tile`].
    unsafe fn tile<S: Simd>(tile: Tile<Self>);
}

impl Weight for f32 {
    #[inline(always)]
    unsafe fn load<S: Simd>(from: *const f32) -> S {
        // SAFETY: the caller's promise.
        unsafe { S::load(from) }
    }
    #[inline(always)]
    unsafe fn tile<S: Simd>(tile: Tile) {
        // SAFETY: the caller's promise.
        unsafe { S::tile(tile) }
    }
}

impl Weight for Wide {
    const FACTOR: Factor = Factor::Wide;
    fn depth(k: usize) -> usize {
        k.next_multiple_of(2)
    }
    #[inline(always)]
    unsafe fn load<S: Simd>(from: *const Wide) -> S {
        // SAFETY: the caller's promise.
        unsafe { S::load(from.cast()) }
    }
    #[inline(always)]
    unsafe fn tile<S: Simd>(tile: Tile<Wide>) {
        let Tile { rows, vectors, k, a, a_row, a_k, b, b_k, c, c_row, from_c, ahead } = tile;
        // SAFETY: the caller's promise, of numbers that are f32.
        unsafe { S::tile(Tile { rows, vectors, k, a, a_row, a_k, b: b.cast(), b_k, c, c_row, from_c, ahead }) }
    }
}

impl Weight for Pair {
    const INPUTS: usize = 2;
    const FACTOR: Factor = Factor::Pair;
    fn depth(k: usize) -> usize {
        k.div_ceil(2)
    }
    #[inline(always)]
    fn add_products<S: Simd>(x: S, columns: S, sums: S) -> S {
        x.dot_pairs(columns, sums)
    }
    #[inline(always)]
    unsafe fn load<S: Simd>(from: *const Pair) -> S {
        // SAFETY: the caller's promise.
        unsafe { S::load(from.cast()) }
    }
    #[inline(always)]
    unsafe fn tile<S: Simd>(tile: Tile<Pair>) {
        // SAFETY: the caller's promise.
        unsafe { S::tile_pairs(tile) }
    }
}

/// # Safety
/// See [`Tile`].
#[inline(always)]
pub(crate) unsafe fn run_tile<S: Simd>(tile: Tile) {
    // SAFETY: the caller's promise.
    unsafe { by_rows::<S, f32>(tile) }
}

/// # Safety
/// See [`Tile`].
#[inline(always)]
pub(crate) unsafe fn run_tile_pairs<S: Simd>(tile: TilePairs) {
    // SAFETY: the caller's promise.
    unsafe { by_rows::<S, Pair>(tile) }
}

/// Vectors of columns that the registers hold beside this many rows of sums.
#[inline(always)]
pub(super) const fn vectors_beside<S: Simd>(rows: usize) -> usize {
    let most = S::ACCUMULATORS / rows;
    if most < PANEL / LANES { most } else { PANEL / LANES }
}

#[inline(always)]
unsafe fn by_rows<S: Simd, B: Weight>(tile: Tile<B>) {
    // SAFETY: the caller's promise.
    unsafe {
        match tile.rows {
            1 => slices::<S, B, 1>(tile),
            2 => slices::<S, B, 2>(tile),
            3 => slices::<S, B, 3>(tile),
            4 => slices::<S, B, 4>(tile),
            5 => slices::<S, B, 5>(tile),
            _ => slices::<S, B, 6>(tile),
        }
    }
}

/// Cuts the columns into as many vectors as the registers hold.
#[inline(always)]
unsafe fn slices<S: Simd, B: Weight, const R: usize>(tile: Tile<B>) {
    let most = const { vectors_beside::<S>(R) };
    let mut done = 0;
    while done < tile.vectors {
        let step = most.min(tile.vectors - done);
        // SAFETY: within the columns that the caller promised.
        unsafe {
            let part = Tile { b: tile.b.add(done * LANES), c: tile.c.add(done * LANES), ..tile };
            // The guards are known to the compiler, and leave out what no register holds.
            match step {
                4 if most >= 4 => by_strides::<S, B, R, 4>(part),
                3 if most >= 3 => by_strides::<S, B, R, 3>(part),
                2 if most >= 2 => by_strides::<S, B, R, 2>(part),
                _ => by_strides::<S, B, R, 1>(part),
            }
        }
        done += step;
    }
}

/// Asks for what comes after the 16 steps from `start`: the same columns of the next six rows of A, a share of what
/// later tiles need and, in the first rounds, a row of C. Their streams are too short for the hardware to foresee; it is worth a tenth of the speed.
#[inline(always)]
fn prefetch_ahead<B, const R: usize, const L: usize>(tile: &Tile<B>, start: usize) {
    if tile.a_row == 1 && tile.a_k > TILE_ROWS {
        // Rows of A side by side, a line or two a step: later steps of these same rows.
        for step in start..start + LANES {
            prefetch(tile.a.wrapping_add((step + LANES) * tile.a_k));
        }
    } else {
        // Six packed rows lie side by side, six floats a step.
        let packed = tile.a_row == 1;
        let next = if packed { TILE_ROWS * tile.k } else { TILE_ROWS * tile.a_row };
        let a = tile.a.wrapping_add(next + start * tile.a_k);
        for r in 0..R {
            prefetch(a.wrapping_add(r * if packed { LANES } else { tile.a_row }));
        }
    }
    let row = start / LANES;
    for line in row * tile.ahead.lines..(row + 1) * tile.ahead.lines {
        prefetch_second(tile.ahead.start.wrapping_add(line * CACHE_LINE).cast());
    }
    if row < R {
        for l in 0..L {
            prefetch(tile.c.wrapping_add((row + tile.ahead.rows_of_c) * tile.c_row + l * LANES));
        }
    }
}

/// Steps along k in one turn of a full tile's loop.
const UNROLLED: usize = 4;

/// A full tile whose B is packed has a loop of its own for each way in which its rows of A lie: strides that the compiler
/// knows are parts of instructions, several steps to a turn, where others take an addition for each row and step.
#[inline(always)]
unsafe fn by_strides<S: Simd, B: Weight, const R: usize, const L: usize>(tile: Tile<B>) {
    let is_full = const { R == TILE_ROWS && L == vectors_beside::<S>(R) };
    // SAFETY: the caller's promise, of the same tile.
    unsafe {
        match (tile.a_row, tile.a_k, tile.b_k) {
            (1, TILE_ROWS, PANEL) if is_full => {
                fixed::<S, B, R, L, UNROLLED>(Tile { a_row: 1, a_k: TILE_ROWS, b_k: PANEL, ..tile });
            }
            (1, _, PANEL) if is_full => fixed::<S, B, R, L, UNROLLED>(Tile { a_row: 1, b_k: PANEL, ..tile }),
            (_, 1, PANEL) if is_full => fixed::<S, B, R, L, UNROLLED>(Tile { a_k: 1, b_k: PANEL, ..tile }),
            _ => fixed::<S, B, R, L, 1>(tile),
        }
    }
}

/// `R` rows times `L` vectors, all in registers; `U` steps along k at a time.
#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "indices keep the unrolled loops over registers plain")]
unsafe fn fixed<S: Simd, B: Weight, const R: usize, const L: usize, const U: usize>(tile: Tile<B>) {
    let mut sums = [[S::splat(0.0); L]; R];
    // SAFETY: the caller promised the memory of A, B and C; wrapping steps past their ends are never followed.
    unsafe {
        if tile.from_c {
            for r in 0..R {
                for l in 0..L {
                    sums[r][l] = S::load(tile.c.add(r * tile.c_row + l * LANES));
                }
            }
        }
        let (mut a, mut b) = (tile.a, tile.b);
        for start in (0..tile.k).step_by(LANES) {
            prefetch_ahead::<B, R, L>(&tile, start);
            let steps = LANES.min(tile.k - start);
            for _ in 0..steps / U {
                for t in 0..U {
                    step(&tile, a.wrapping_add(t * tile.a_k), b.wrapping_add(t * tile.b_k), &mut sums);
                }
                (a, b) = (a.wrapping_add(U * tile.a_k), b.wrapping_add(U * tile.b_k));
            }
            for _ in 0..steps % U {
                step(&tile, a, b, &mut sums);
                (a, b) = (a.wrapping_add(tile.a_k), b.wrapping_add(tile.b_k));
            }
        }
        for r in 0..R {
            for l in 0..L {
                sums[r][l].store(tile.c.add(r * tile.c_row + l * LANES));
            }
        }
    }
}

/// One step along k: a number of each row of A, at `a` and below it, times a row of B.
///
/// # Safety
/// See [`Tile`]; `a` and `b` are those of the step.
#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "indices keep the unrolled loops over registers plain")]
unsafe fn step<S: Simd, B: Weight, const R: usize, const L: usize>(
    tile: &Tile<B>,
    a: *const f32,
    b: *const B,
    sums: &mut [[S; L]; R],
) {
    if L < PANEL / LANES {
        // Part of a panel is a stream with gaps, which the hardware follows badly.
        prefetch(b.wrapping_add(ROWS_AHEAD * tile.b_k).cast());
    } else if tile.b_k != PANEL {
        for l in 0..L {
            prefetch(b.wrapping_add(ROWS_AHEAD * tile.b_k + l * LANES).cast());
        }
    }
    let mut columns = [S::splat(0.0); L];
    // SAFETY: the caller's promise.
    unsafe {
        for l in 0..L {
            columns[l] = B::load::<S>(b.add(l * LANES));
        }
        for r in 0..R {
            let x = S::splat(*a.add(r * tile.a_row));
            for l in 0..L {
                sums[r][l] = B::add_products(x, columns[l], sums[r][l]);
            }
        }
    }
}
