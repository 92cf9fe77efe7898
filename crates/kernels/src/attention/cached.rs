//! Attention over a key and value cache: the same bits as [`super::forward`], position by position or in chunks.
//!
//! The caller owns two arenas of blocks of 64 positions, `[block][kv head][width][64]` for keys and
//! `[block][kv head][64][padded width]` for values, and says for each sequence which blocks are its own.

use std::ops::Range;

use super::queries::{Blocks, Queries, Span};
use super::{BLOCK, Shape, check_ranges};
use crate::matmul::assert_len;
use crate::matmul::tile::TILE_ROWS;
use crate::pool::{self, SharedMut, parallel};
use crate::simd::dispatch;

/// Floats of one block in the arena of keys, and of one in the arena of values.
pub fn block_len(shape: &Shape) -> usize {
    shape.kv_heads * shape.padded() * BLOCK
}

/// Rows to attend, of one sequence.
#[derive(Clone, Debug)]
pub struct CachedSequence<'a> {
    /// Its rows in `q` and `out`.
    pub rows: Range<usize>,
    /// Position of the first of them; those before it, and they themselves, stand in the cache.
    pub first_position: usize,
    /// Numbers of its blocks in the arenas, in the order of positions.
    pub blocks: &'a [u32],
}

/// The cache.
#[derive(Clone, Copy, Debug)]
pub struct Arena<'a> {
    /// Blocks of keys.
    pub keys: &'a [f32],
    /// Blocks of values.
    pub values: &'a [f32],
}

/// The key and the value of one position, each kv heads × width.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Key.
    pub k: &'a [f32],
    /// Value.
    pub v: &'a [f32],
}

/// Writes a position's key and value into its block (each of [`block_len`] floats); nothing else there changes.
///
/// # Panics
/// If the lengths do not agree.
pub fn append(shape: &Shape, entry: Entry<'_>, position: usize, key_block: &mut [f32], value_block: &mut [f32]) {
    shape.check();
    assert_len("append: key", entry.k.len(), &[shape.kv_heads, shape.head_width]);
    assert_len("append: value", entry.v.len(), &[shape.kv_heads, shape.head_width]);
    let lengths = [key_block.len(), value_block.len()];
    assert_eq!(lengths, [block_len(shape); 2], "append: lengths of the blocks");
    let (lane, padded) = (position % BLOCK, shape.padded());
    for (block, k) in key_block.chunks_exact_mut(padded * BLOCK).zip(entry.k.chunks_exact(shape.head_width)) {
        block.chunks_exact_mut(BLOCK).zip(k).for_each(|(column, k)| column[lane] = *k);
    }
    for (block, v) in value_block.chunks_exact_mut(padded * BLOCK).zip(entry.v.chunks_exact(shape.head_width)) {
        block[lane * padded..][..v.len()].copy_from_slice(v);
    }
}

/// Causal attention of some rows of each sequence with the cache, in which their own keys and values already stand.
/// `q` and `out` are rows × heads × width; rows of no sequence stay as they are.
///
/// # Panics
/// If the lengths do not agree, rows overlap or are not in ascending order, a sequence has too few blocks or one that
/// is not in the arena, or the shape is not causal.
pub fn attend(shape: &Shape, sequences: &[CachedSequence<'_>], q: &[f32], arena: Arena<'_>, out: &mut [f32]) {
    check(shape, sequences, q, arena, out);
    let spans = shared_out(spans(sequences), shape);
    let out = SharedMut::new(out);
    parallel(spans.len() * shape.kv_heads, |task| {
        let ((sequence, positions), kv_head) = (spans[task / shape.kv_heads].clone(), task % shape.kv_heads);
        let head = kv_head * shape.padded() * BLOCK;
        let blocks = Blocks {
            keys: arena.keys[head..].as_ptr(),
            values: arena.values[head..].as_ptr(),
            stride: block_len(shape),
            table: Some(sequence.blocks),
        };
        let origin = sequence.rows.start.wrapping_sub(sequence.first_position);
        let queries = Queries { shape, blocks, kv_head, q, out, lse: None, origin, length: 0 };
        dispatch(Span { queries, positions });
    });
}

/// Some positions of a sequence within one block.
type Positions<'a, 'b> = (&'a CachedSequence<'b>, Range<usize>);

/// Tasks for each thread, where there are so many tiles.
const TASKS: usize = 2;

/// Cuts positions further where they are too few tasks for all threads: those of one sequence whose guesses are checked.
fn shared_out<'a, 'b>(spans: Vec<Positions<'a, 'b>>, shape: &Shape) -> Vec<Positions<'a, 'b>> {
    let (threads, tasks) = (pool::threads(), spans.len() * shape.kv_heads);
    let wanted = threads * TASKS;
    if threads == 1 || tasks == 0 || tasks >= wanted {
        return spans;
    }
    let least = (TILE_ROWS / shape.group()).max(1);
    let pieces = |(sequence, positions): Positions<'a, 'b>| {
        let step = positions.len().div_ceil(wanted.div_ceil(tasks)).next_multiple_of(least);
        let starts = positions.clone().step_by(step);
        starts.map(move |start| (sequence, start..positions.end.min(start + step)))
    };
    spans.into_iter().flat_map(pieces).collect()
}

/// Each sequence's positions, cut at the blocks.
fn spans<'a, 'b>(sequences: &'a [CachedSequence<'b>]) -> Vec<Positions<'a, 'b>> {
    let mut spans = Vec::new();
    for sequence in sequences {
        let end = sequence.first_position + sequence.rows.len();
        let mut start = sequence.first_position;
        while start < end {
            let next = end.min((start / BLOCK + 1) * BLOCK);
            spans.push((sequence, start..next));
            start = next;
        }
    }
    // Later positions see more, so they go first and the short ones fill the gaps.
    spans.sort_by_key(|(_, positions)| std::cmp::Reverse(positions.end * positions.len()));
    spans
}

fn check(shape: &Shape, sequences: &[CachedSequence<'_>], q: &[f32], arena: Arena<'_>, out: &[f32]) {
    shape.check();
    assert!(shape.causal, "cached attention is causal");
    let rows = q.len() / (shape.heads * shape.head_width);
    assert_len("cached attention: q", q.len(), &[rows, shape.heads, shape.head_width]);
    assert_eq!(out.len(), q.len(), "cached attention: length of out");
    check_ranges(sequences.iter().map(|s| &s.rows), rows);
    let blocks = arena.keys.len() / block_len(shape);
    assert_len("cached attention: keys", arena.keys.len(), &[blocks, block_len(shape)]);
    assert_eq!(arena.values.len(), arena.keys.len(), "cached attention: length of the values");
    for sequence in sequences.iter().filter(|s| !s.rows.is_empty()) {
        let positions = sequence.first_position.checked_add(sequence.rows.len());
        let needed = positions.unwrap_or(usize::MAX).div_ceil(BLOCK);
        let held = sequence.blocks.len();
        assert!(held >= needed, "cached attention: {held} blocks where {needed} are needed");
        for &block in &sequence.blocks[..needed] {
            assert!((block as usize) < blocks, "cached attention: block {block} in an arena of {blocks}");
        }
    }
}
