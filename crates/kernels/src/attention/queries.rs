//! A few rows of queries against the blocks of one key and value head: what training and serving share.

use std::ops::Range;

use super::cached::Format;
use super::widen::{widen_keys, widen_values};
use super::{BLOCK, Shape};
use crate::buffer::Scratch;
use crate::matmul::tile::{Ahead, TILE_ROWS, Tile};
use crate::pool::SharedMut;
use crate::simd::{Kernel, LANES, Simd, exp_flushed, ln, prefetch};

/// Keys and values of one head: block b holds keys as `[width][64]` and values as `[64][padded width]` at
/// `number(b) * stride` floats of memory; where they are bytes, with 64 scales behind.
#[derive(Clone, Copy)]
pub(super) struct Blocks<'a> {
    pub format: Format,
    pub keys: *const f32,
    pub values: *const f32,
    pub stride: usize,
    /// The numbers of the blocks; without it they are numbered as they come.
    pub table: Option<&'a [u32]>,
}

impl Blocks<'_> {
    #[inline(always)]
    fn offset(&self, block: usize) -> usize {
        self.table.map_or(block, |table| table[block] as usize) * self.stride
    }
}

/// Rows of one sequence and one key and value head. `q` and `out` are rows × heads × width.
///
/// Safety of running it: the blocks that the positions see must be readable, and this task alone may write the rows'
/// results for this head's group.
#[derive(Clone, Copy)]
pub(super) struct Queries<'a> {
    pub shape: &'a Shape,
    pub blocks: Blocks<'a>,
    pub kv_head: usize,
    pub q: &'a [f32],
    pub out: SharedMut<f32>,
    pub lse: Option<SharedMut<f32>>,
    /// Row of position zero, which may lie before the first row (then it wraps).
    pub origin: usize,
    /// Positions in the sequence, for those that see all of it.
    pub length: usize,
}

/// Positions within one block of [`BLOCK`] (if causal), for [`crate::simd::dispatch`].
pub(super) struct Span<'a> {
    pub queries: Queries<'a>,
    pub positions: Range<usize>,
    /// So many floats as [`room`] says, of any content.
    pub room: &'a mut [f32],
}

/// Tiles of a span for which keys and values that are not f32 are made so again and again, at most.
const TILES_FEW: usize = 3;

/// Floats that a [`Span`] needs beside its results.
pub(super) fn room(shape: &Shape) -> usize {
    TILE_ROWS * (BLOCK + 2 * shape.padded())
}

/// The online softmax of a tile: running maximum, sum and unnormalised result of each row.
struct State<'a> {
    /// Rows × padded width.
    q: &'a mut [f32],
    /// Rows × positions of a block.
    scores: &'a mut [f32],
    /// Rows × padded width.
    out: &'a mut [f32],
    top: [f32; LANES],
    sum: [f32; LANES],
    /// Each row's number of row × head.
    heads: [usize; TILE_ROWS],
    /// Positions that each row sees: from the first, up to the end.
    first: [usize; TILE_ROWS],
    end: [usize; TILE_ROWS],
}

impl Kernel for Span<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        let Self { queries, positions, room } = self;
        let mut span = Positions { queries, positions };
        let group = queries.shape.group();
        // One unit is one position and one head of the group.
        let units = span.positions.len() * group;
        let (scores, rest) = room.split_at_mut(TILE_ROWS * BLOCK);
        let (q, out) = rest.split_at_mut(TILE_ROWS * queries.shape.padded());
        let (top, sum) = ([0.0; LANES], [0.0; LANES]);
        let (heads, first, end) = ([0; TILE_ROWS], [0; TILE_ROWS], [0; TILE_ROWS]);
        let mut state = State { q, scores, out, top, sum, heads, first, end };
        // Keys and values that are not f32 become so: once for many tiles, else block by block.
        let (is_wide, many) = (queries.blocks.format == Format::F32, units > TILES_FEW * TILE_ROWS);
        let block = 2 * queries.shape.padded() * BLOCK;
        let blocks = if many { span.blocks_seen().len() } else { 1 };
        let mut wide = (!is_wide).then(|| Scratch::new(blocks * block));
        let wide = wide.as_deref_mut().unwrap_or_default();
        if !is_wide && many {
            span.queries.blocks = span.widened::<S>(wide);
        }
        for start in (0..units).step_by(TILE_ROWS) {
            let rows = TILE_ROWS.min(units - start);
            let seen = span.begin::<S>(start, rows, &mut state);
            for block in seen.start / BLOCK..seen.end.div_ceil(BLOCK) {
                span.block::<S>(block, rows, &mut state, wide);
            }
            span.finish::<S>(rows, &mut state);
        }
    }
}

/// The positions of a span.
struct Positions<'a> {
    queries: Queries<'a>,
    positions: Range<usize>,
}

impl Positions<'_> {
    /// Fetches the scaled queries of the rows from a unit on; gives the positions that any of them sees.
    #[inline(always)]
    fn begin<S: Simd>(&self, start: usize, rows: usize, state: &mut State<'_>) -> Range<usize> {
        let (shape, padded) = (self.queries.shape, self.queries.shape.padded());
        let group = shape.group();
        // The rows of a head lie far apart, so the hardware foresees neither what is read next nor what is written.
        let next = (TILE_ROWS / group).max(1) * shape.heads;
        let (mut position, mut member) = (self.positions.start + start / group, start % group);
        let (mut first, mut end) = (usize::MAX, 0);
        for r in 0..rows {
            let row = self.queries.origin.wrapping_add(position);
            let head = row * shape.heads + self.queries.kv_head * group + member;
            let from = &self.queries.q[head * shape.head_width..][..shape.head_width];
            let to = &mut state.q[r * padded..][..padded];
            for i in (0..padded).step_by(LANES) {
                (S::at(from, i) * S::splat(shape.scale)).put(to, i);
            }
            for i in (0..shape.head_width).step_by(LANES) {
                prefetch(self.queries.q.as_ptr().wrapping_add((head + next) * shape.head_width + i));
                prefetch(self.queries.out.address(head * shape.head_width + i));
            }
            let seen = shape.seen(position, self.queries.length);
            (first, end) = (seen.start.min(first), seen.end.max(end));
            (state.heads[r], state.first[r], state.end[r]) = (head, seen.start, seen.end);
            member += 1;
            if member == group {
                (position, member) = (position + 1, 0);
            }
        }
        state.out[..rows * padded].fill(0.0);
        // Finite, so that a block of which a row sees nothing leaves its empty sums as they are.
        state.top = [f32::MIN; LANES];
        state.sum = [0.0; LANES];
        first..end
    }

    #[inline(always)]
    fn block<S: Simd>(&self, block: usize, rows: usize, state: &mut State<'_>, wide: &mut [f32]) {
        let (shape, padded) = (self.queries.shape, self.queries.shape.padded());
        let within = |position: usize| BLOCK.min(position.saturating_sub(block * BLOCK));
        let seen: [Range<usize>; TILE_ROWS] = std::array::from_fn(|r| within(state.first[r])..within(state.end[r]));
        let end = seen[..rows].iter().fold(0, |most, seen| most.max(seen.end));
        let start = seen[..rows].iter().fold(BLOCK, |least, seen| least.min(seen.start));
        // SAFETY: the block is readable at the positions that are seen.
        let (keys, values) = unsafe { self.floats::<S>(block, start..end, wide) };
        // SAFETY: the block is readable; the scores hold six rows.
        unsafe {
            S::tile(Tile {
                rows,
                vectors: end.div_ceil(LANES),
                k: shape.head_width,
                a: state.q.as_ptr(),
                a_row: padded,
                a_k: 1,
                b: keys,
                b_k: BLOCK,
                c: state.scores.as_mut_ptr(),
                c_row: BLOCK,
                from_c: false,
                ahead: Ahead::NONE,
            });
        }
        softmax::<S>(&seen[..rows], padded, state);
        // SAFETY: the block is readable at the positions that each row sees.
        unsafe { add_values::<S>(&seen[..rows], padded, values, state) }
    }

    /// A block's keys and values in f32: where they lie, or in `wide` those of some positions (keys of whole vectors).
    ///
    /// # Safety
    /// The block must be readable.
    #[inline(always)]
    unsafe fn floats<S: Simd>(
        &self,
        block: usize,
        positions: Range<usize>,
        wide: &mut [f32],
    ) -> (*const f32, *const f32) {
        let (shape, blocks) = (self.queries.shape, self.queries.blocks);
        let offset = blocks.offset(block);
        // SAFETY: inside the arenas.
        let from = unsafe { [blocks.keys.add(offset), blocks.values.add(offset)] };
        if blocks.format == Format::F32 {
            return (from[0], from[1]);
        }
        let (keys, values) = wide.split_at_mut(shape.padded() * BLOCK);
        // SAFETY: the caller's promise.
        unsafe {
            widen_keys::<S>(blocks.format, from[0], [shape.head_width, shape.padded()], positions.clone(), keys);
            widen_values::<S>(blocks.format, from[1], shape.padded(), positions, values);
        }
        (keys.as_ptr(), values.as_ptr())
    }

    /// The blocks that any of the positions sees.
    fn blocks_seen(&self) -> Range<usize> {
        let Queries { shape, length, .. } = self.queries;
        let (first, last) = (self.positions.start, self.positions.end - 1);
        shape.seen(first, length).start / BLOCK..shape.seen(last, length).end.div_ceil(BLOCK)
    }

    /// Those blocks in f32, one after the other in `wide`, the keys of each before its values.
    #[inline(always)]
    fn widened<S: Simd>(&self, wide: &mut [f32]) -> Blocks<'static> {
        let Queries { shape, length, .. } = self.queries;
        let (half, seen) = (shape.padded() * BLOCK, self.blocks_seen());
        let end = shape.seen(self.positions.end - 1, length).end;
        for (block, wide) in seen.clone().zip(wide.chunks_exact_mut(2 * half)) {
            // SAFETY: the block is readable at the positions that are seen.
            unsafe { self.floats::<S>(block, 0..BLOCK.min(end - block * BLOCK), wide) };
        }
        let keys = wide.as_ptr().wrapping_sub(seen.start * 2 * half);
        let values = keys.wrapping_add(half);
        Blocks { format: Format::F32, keys, values, stride: 2 * half, table: None }
    }

    #[inline(always)]
    fn finish<S: Simd>(&self, rows: usize, state: &mut State<'_>) {
        let (shape, padded) = (self.queries.shape, self.queries.shape.padded());
        for r in 0..rows {
            let head = state.heads[r];
            let from = &state.out[r * padded..][..padded];
            // SAFETY: this task alone writes this row and head.
            let to = unsafe { self.queries.out.slice(head * shape.head_width, shape.head_width) };
            let share = S::splat(1.0 / state.sum[r]);
            for i in (0..shape.head_width).step_by(LANES) {
                (S::at(from, i) * share).put(to, i);
            }
            if let Some(lse) = self.queries.lse {
                // SAFETY: as above.
                let lse = unsafe { lse.slice(head, 1) };
                lse[0] = state.top[r] + ln(state.sum[r]);
            }
        }
    }
}

/// Vectors in a row of scores.
const VECTORS: usize = BLOCK / LANES;

/// Turns the scores of a block into weights against the new maximum, and what stands so far to the same.
#[inline(always)]
fn softmax<S: Simd>(seen: &[Range<usize>], padded: usize, state: &mut State<'_>) {
    let before = state.top;
    for (r, seen) in seen.iter().enumerate() {
        state.scores[r * BLOCK..][..seen.start].fill(f32::NEG_INFINITY);
        let s = scores::<S>(&state.scores[r * BLOCK..][..seen.end]);
        let top = s[0].max(s[1]).max(s[2].max(s[3])).largest();
        // The new one second, so that a NaN stays.
        state.top[r] = if before[r] > top { before[r] } else { top };
    }
    let [decay] = exp_flushed([S::at(&before, 0) - S::at(&state.top, 0)]);
    let decay = decay.to_array();
    // The exponentials of several rows side by side, as far as there are so many.
    let mut sums = [0.0; TILE_ROWS];
    let mut done = 0;
    while done < seen.len() {
        let rows = &seen[done..];
        let (to, first) = (&mut sums[done..], done);
        done += match rows.len() {
            TILE_ROWS => weights::<S, TILE_ROWS>(rows, first, state, to),
            4.. => weights::<S, 4>(rows, first, state, to),
            2.. => weights::<S, 2>(rows, first, state, to),
            _ => weights::<S, 1>(rows, first, state, to),
        };
    }
    for r in 0..seen.len() {
        state.sum[r] = state.sum[r].mul_add(decay[r], sums[r]);
        let out = &mut state.out[r * padded..][..padded];
        for i in (0..padded).step_by(LANES) {
            (S::at(out, i) * S::splat(decay[r])).put(out, i);
        }
    }
}

/// Turns the scores of `N` rows, from the given one on, into weights against the maximum; writes the sum of each row's.
/// Gives the number of rows.
#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "indices keep the unrolled loops over registers plain")]
fn weights<S: Simd, const N: usize>(
    seen: &[Range<usize>],
    first: usize,
    state: &mut State<'_>,
    sums: &mut [f32],
) -> usize {
    let mut end = 0;
    for r in 0..N {
        end = seen[r].end.max(end);
    }
    // Of the first two vectors of a row and of the others.
    let mut halves = [[S::splat(0.0); 2]; N];
    for i in 0..VECTORS {
        if i * LANES >= end {
            break;
        }
        let mut s = [S::splat(f32::NEG_INFINITY); N];
        for r in 0..N {
            let row = &state.scores[(first + r) * BLOCK..][..seen[r].end];
            if i * LANES < row.len() {
                s[r] = S::at_or(row, i * LANES, f32::NEG_INFINITY);
            }
            s[r] = s[r] - S::splat(state.top[first + r]);
        }
        let s = exp_flushed(s);
        for r in 0..N {
            s[r].put(state.scores, (first + r) * BLOCK + i * LANES);
            halves[r][2 * i / VECTORS] = halves[r][2 * i / VECTORS] + s[r];
        }
    }
    for r in 0..N {
        sums[r] = (halves[r][0] + halves[r][1]).sum();
    }
    N
}

/// A row of scores, minus infinity for the positions that it does not see.
#[inline(always)]
fn scores<S: Simd>(seen: &[f32]) -> [S; VECTORS] {
    let mut s = [S::splat(f32::NEG_INFINITY); VECTORS];
    for (i, s) in s.iter_mut().enumerate() {
        if i * LANES < seen.len() {
            *s = S::at_or(seen, i * LANES, f32::NEG_INFINITY);
        }
    }
    s
}

/// Adds the weighted values in the order of the positions: those that all rows see for all at once, what comes before
/// and after them row by row, so that no row touches a position that it does not see.
///
/// # Safety
/// The block's values must be readable at the positions that the rows see.
#[inline(always)]
unsafe fn add_values<S: Simd>(seen: &[Range<usize>], padded: usize, values: *const f32, state: &mut State<'_>) {
    let first = seen.iter().fold(0, |most, seen| most.max(seen.start));
    // Rows that have no position in common each go alone up to there, and from there on.
    let end = seen.iter().fold(BLOCK, |least, seen| least.min(seen.end)).max(first);
    let tile = Tile {
        rows: seen.len(),
        vectors: padded / LANES,
        k: end - first,
        a: state.scores.as_ptr(),
        a_row: BLOCK,
        a_k: 1,
        b: values,
        b_k: padded,
        c: state.out.as_mut_ptr(),
        c_row: padded,
        from_c: true,
        ahead: Ahead::NONE,
    };
    // SAFETY: the caller's promise; the state holds six rows.
    unsafe {
        for (r, seen) in seen.iter().enumerate() {
            add_alone::<S>(tile, r, seen.start..first.min(seen.end));
        }
        if first < end {
            S::tile(Tile { a: tile.a.add(first), b: tile.b.add(first * padded), ..tile });
        }
        for (r, seen) in seen.iter().enumerate() {
            add_alone::<S>(tile, r, end..seen.end);
        }
    }
}

/// Some positions of one row of a tile whose columns are the positions of a block; nothing if the range is empty.
///
/// # Safety
/// As [`add_values`].
#[inline(always)]
unsafe fn add_alone<S: Simd>(tile: Tile, row: usize, positions: Range<usize>) {
    if positions.start < positions.end {
        // SAFETY: the caller's promise.
        unsafe {
            let (a, b) = (tile.a.add(row * tile.a_row + positions.start), tile.b.add(positions.start * tile.b_k));
            S::tile(Tile {
                rows: 1,
                k: positions.end - positions.start,
                a,
                b,
                c: tile.c.add(row * tile.c_row),
                ..tile
            });
        }
    }
}
