//! Gradients of attention. The weights are computed again from the log-sum-exp (Dao et al., 2022).
//!
//! With P = exp(S - lse), D = Σ dO O by rows: dV = Pᵀ dO, dS = P (dO Vᵀ - D), dQ = scale dS K, dK = dSᵀ (scale Q).
//! One task does one sequence and one key and value head: the heads of its group in order, for each the blocks of
//! queries in order, for each the blocks of keys in order.

use std::ops::Range;

use super::forward::Head;
use super::{BLOCK, Gradients, Inputs, Saved, Shape, check_inputs};
use crate::buffer::with_scratch;
use crate::matmul::assert_len;
use crate::matmul::tile::{Ahead, TILE_ROWS, Tile};
use crate::pool::{SharedMut, parallel};
use crate::simd::{Kernel, LANES, Math, Simd, dispatch, dot};

/// The gradients of q, k and v from that of the result, `dout`. Rows of no sequence stay as they are.
///
/// # Panics
/// If the lengths do not agree, or sequences overlap or are not in ascending order.
pub fn backward(shape: &Shape, sequences: &[Range<usize>], saved: Saved<'_>, dout: &[f32], gradients: Gradients<'_>) {
    let Inputs { q, k, .. } = saved.inputs;
    let rows = check_inputs(shape, sequences, saved.inputs);
    assert!(saved.out.len() == q.len() && dout.len() == q.len(), "attention: lengths of out and dout");
    assert_len("attention: lse", saved.lse.len(), &[rows, shape.heads]);
    let lengths = [gradients.q.len(), gradients.k.len(), gradients.v.len()];
    assert_eq!(lengths, [q.len(), k.len(), k.len()], "attention: lengths of the gradients");
    let (dq, dk, dv) = (SharedMut::new(gradients.q), SharedMut::new(gradients.k), SharedMut::new(gradients.v));
    parallel(sequences.len() * shape.kv_heads, |task| {
        let (sequence, kv_head) = (&sequences[task / shape.kv_heads], task % shape.kv_heads);
        let block = BLOCK * shape.padded();
        let size = sequence.len().div_ceil(BLOCK) * block;
        with_scratch(5 * size + 3 * block + 2 * BLOCK * BLOCK, |scratch| {
            let mut rest = scratch;
            let mut cut = |len| {
                let (part, others) = std::mem::take(&mut rest).split_at_mut(len);
                rest = others;
                part.as_mut_ptr()
            };
            let memory = Memory {
                keys: cut(size),
                values: cut(size),
                key_rows: cut(size),
                dk: cut(size),
                dv: cut(size),
                q: cut(block),
                dout: cut(block),
                dq: cut(block),
                weights: cut(BLOCK * BLOCK),
                slopes: cut(BLOCK * BLOCK),
            };
            dispatch(Task { shape, saved, dout, sequence, kv_head, memory, dq, dk, dv });
        });
    });
}

/// Scratch of a task. The first five hold all blocks of the sequence, the others one.
#[derive(Clone, Copy)]
struct Memory {
    /// Keys and values as columns, `[width][64]`.
    keys: *mut f32,
    values: *mut f32,
    /// Keys as rows, and the sums of the gradients: `[64][padded width]`.
    key_rows: *mut f32,
    dk: *mut f32,
    dv: *mut f32,
    /// A block of scaled queries, of the result's gradient, of the queries' gradient: `[64][padded width]`.
    q: *mut f32,
    dout: *mut f32,
    dq: *mut f32,
    /// P and dS of one pair of blocks, `[64 queries][64 keys]`.
    weights: *mut f32,
    slopes: *mut f32,
}

struct Task<'a> {
    shape: &'a Shape,
    saved: Saved<'a>,
    dout: &'a [f32],
    sequence: &'a Range<usize>,
    kv_head: usize,
    memory: Memory,
    dq: SharedMut<f32>,
    dk: SharedMut<f32>,
    dv: SharedMut<f32>,
}

/// A part of the task's scratch as a slice.
///
/// # Safety
/// The part must lie in the scratch, and no other slice of it may be in use.
#[inline(always)]
unsafe fn part<'a>(start: *mut f32, at: usize, len: usize) -> &'a mut [f32] {
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts_mut(start.add(at), len) }
}

impl Kernel for Task<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        self.fetch_keys();
        for head in self.kv_head * self.shape.group()..(self.kv_head + 1) * self.shape.group() {
            for start in (0..self.sequence.len()).step_by(BLOCK) {
                self.block_of_queries::<S>(head, start);
            }
        }
        let width = self.shape.kv_heads * self.shape.head_width;
        for row in 0..self.sequence.len() {
            let to = (self.sequence.start + row) * width + self.kv_head * self.shape.head_width;
            // SAFETY: this task alone writes this head of this sequence; the scratch holds all its rows.
            unsafe {
                let at = row * self.shape.padded();
                let (dk, dv) =
                    (part(self.memory.dk, at, self.shape.head_width), part(self.memory.dv, at, self.shape.head_width));
                self.dk.slice(to, dk.len()).copy_from_slice(dk);
                self.dv.slice(to, dv.len()).copy_from_slice(dv);
            }
        }
    }
}

impl Task<'_> {
    fn rows(&self, start: usize) -> usize {
        BLOCK.min(self.sequence.len() - start)
    }

    /// Up to 64 rows from `start` of one head of an array with `heads` heads.
    fn head(&self, heads: usize, head: usize, start: usize) -> Head {
        let (width, stride) = (self.shape.head_width, heads * self.shape.head_width);
        Head { start: (self.sequence.start + start) * stride + head * width, stride, rows: self.rows(start), width }
    }

    fn fetch_keys(&self) {
        let size = BLOCK * self.shape.padded();
        for start in (0..self.sequence.len()).step_by(BLOCK) {
            let (source, at) = (self.head(self.shape.kv_heads, self.kv_head, start), start / BLOCK * size);
            // SAFETY: parts of the scratch that lie side by side.
            unsafe {
                source.transpose(self.saved.inputs.k, part(self.memory.keys, at, size));
                source.transpose(self.saved.inputs.v, part(self.memory.values, at, size));
                source.copy(self.saved.inputs.k, part(self.memory.key_rows, at, size));
                part(self.memory.dk, at, size).fill(0.0);
                part(self.memory.dv, at, size).fill(0.0);
            }
        }
    }

    /// All that one block of queries of one head contributes.
    #[inline(always)]
    fn block_of_queries<S: Simd>(&self, head: usize, start: usize) {
        let (shape, memory) = (self.shape, self.memory);
        let (width, padded) = (shape.head_width, shape.padded());
        let source = self.head(shape.heads, head, start);
        // SAFETY: parts of the scratch that lie side by side.
        let (q, dout, dq) = unsafe {
            let size = BLOCK * padded;
            (part(memory.q, 0, size), part(memory.dout, 0, size), part(memory.dq, 0, size))
        };
        source.copy(self.saved.inputs.q, q);
        source.copy(self.dout, dout);
        dq.fill(0.0);
        let mut sums = [0.0; BLOCK];
        for (r, sum) in sums.iter_mut().enumerate().take(source.rows) {
            for i in (r * padded..(r + 1) * padded).step_by(LANES) {
                (S::at(q, i) * S::splat(shape.scale)).put(q, i);
            }
            let at = source.start + r * source.stride;
            *sum = dot::<S>(&self.dout[at..][..width], &self.saved.out[at..][..width]);
        }
        let length = self.sequence.len();
        let (first, last) = (shape.seen(start, length), shape.seen(start + source.rows - 1, length));
        for keys in (first.start / BLOCK * BLOCK..last.end).step_by(BLOCK) {
            let pair = Pair { queries: start, keys, diagonal: shape.causal && keys == start };
            self.weights::<S>(pair, head, &sums);
            self.products::<S>(pair);
        }
        for (r, from) in dq.chunks_exact(padded).enumerate().take(source.rows) {
            // SAFETY: this task alone writes this head of this sequence.
            let to = unsafe { self.dq.slice(source.start + r * source.stride, width) };
            for i in (0..width).step_by(LANES) {
                (S::at(from, i) * S::splat(shape.scale)).put(to, i);
            }
        }
    }

    /// P and dS of a pair of blocks; zero where a query does not see a key.
    #[inline(always)]
    fn weights<S: Simd>(&self, pair: Pair, head: usize, sums: &[f32; BLOCK]) {
        let (memory, padded) = (self.memory, self.shape.padded());
        let (queries, keys) = (self.rows(pair.queries), self.rows(pair.keys));
        // SAFETY: all pointers lead into the scratch, with room for whole blocks.
        unsafe {
            let at = pair.keys * padded;
            let tile = Tile {
                rows: queries,
                vectors: BLOCK / LANES,
                k: self.shape.head_width,
                a: memory.q,
                a_row: padded,
                a_k: 1,
                b: memory.keys.add(at),
                b_k: BLOCK,
                c: memory.weights,
                c_row: BLOCK,
                from_c: false,
                ahead: Ahead::NONE,
            };
            let cut = |_: usize, tile: Tile| tile;
            tiles::<S>(tile, cut);
            tiles::<S>(Tile { a: memory.dout, b: memory.values.add(at), c: memory.slopes, ..tile }, cut);
        }
        for (r, &sum) in sums.iter().enumerate().take(queries) {
            let row = self.sequence.start + pair.queries + r;
            let lse = S::splat(self.saved.lse[row * self.shape.heads + head]);
            let seen = self.shape.seen(pair.queries + r, self.sequence.len());
            let within = |position: usize| keys.min(position.saturating_sub(pair.keys));
            let (first, count) = (within(seen.start), within(seen.end));
            // SAFETY: two rows of two different parts of the scratch.
            let (weights, slopes) =
                unsafe { (part(memory.weights, r * BLOCK, BLOCK), part(memory.slopes, r * BLOCK, BLOCK)) };
            for i in (first / LANES * LANES..count).step_by(LANES) {
                let p = (S::at(weights, i) - lse).exp_flushed();
                p.put(weights, i);
                (p * (S::at(slopes, i) - S::splat(sum))).put(slopes, i);
            }
            for unseen in [0..first.min(count), count..BLOCK] {
                weights[unseen.clone()].fill(0.0);
                slopes[unseen].fill(0.0);
            }
        }
    }

    /// Adds a pair's products to dV, dK and dQ. On the diagonal, tiles leave out what no row of theirs sees.
    #[inline(always)]
    fn products<S: Simd>(&self, pair: Pair) {
        let (memory, padded) = (self.memory, self.shape.padded());
        let (queries, keys) = (self.rows(pair.queries), self.rows(pair.keys));
        let at = pair.keys * padded;
        // SAFETY: as above.
        unsafe {
            let by_keys = Tile {
                rows: keys,
                vectors: padded / LANES,
                k: queries,
                a: memory.weights,
                a_row: 1,
                a_k: BLOCK,
                b: memory.dout,
                b_k: padded,
                c: memory.dv.add(at),
                c_row: padded,
                from_c: true,
                ahead: Ahead::NONE,
            };
            let later = |first: usize, tile: Tile| {
                let skip = if pair.diagonal { first } else { 0 };
                let (a, b) = (tile.a.wrapping_add(skip * BLOCK), tile.b.wrapping_add(skip * padded));
                Tile { k: queries - skip, a, b, ..tile }
            };
            tiles::<S>(by_keys, later);
            tiles::<S>(Tile { a: memory.slopes, b: memory.q, c: memory.dk.add(at), ..by_keys }, later);
            let by_queries = Tile {
                rows: queries,
                k: keys,
                a: memory.slopes,
                a_row: BLOCK,
                a_k: 1,
                b: memory.key_rows.add(at),
                c: memory.dq,
                ..by_keys
            };
            let earlier = |first: usize, tile: Tile| Tile {
                k: if pair.diagonal { keys.min(first + tile.rows) } else { keys },
                ..tile
            };
            tiles::<S>(by_queries, earlier);
        }
    }
}

/// A block of queries and one of keys, by their first positions.
#[derive(Clone, Copy)]
struct Pair {
    queries: usize,
    keys: usize,
    /// Whether it is the same block and a query sees only the keys up to its own.
    diagonal: bool,
}

/// Runs a product of any number of rows, six at a time; `cut(first row, tile)` may narrow each.
///
/// # Safety
/// See [`Tile`].
#[inline(always)]
unsafe fn tiles<S: Simd>(all: Tile, cut: impl Fn(usize, Tile) -> Tile) {
    for first in (0..all.rows).step_by(TILE_ROWS) {
        // SAFETY: the caller's promise.
        unsafe {
            let (a, c) = (all.a.add(first * all.a_row), all.c.add(first * all.c_row));
            S::tile(cut(first, Tile { rows: TILE_ROWS.min(all.rows - first), a, c, ..all }));
        }
    }
}
