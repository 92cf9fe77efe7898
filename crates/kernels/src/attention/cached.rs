//! Attention over a key and value cache: the same bits as [`super::forward`], position by position or in chunks.
//!
//! The caller owns two arenas of blocks of 64 positions, `[block][kv head][width][64]` for keys and
//! `[block][kv head][64][padded width]` for values, and says for each sequence which blocks are its own.
//!
//! The numbers are f32, or rounded as they are appended: to bf16, or to bytes with a scale for each position of a head.
//! Attention then gives the bits that it gives for the rounded numbers in f32.

use std::cmp::Reverse;
use std::ops::Range;

pub use super::append::{ArenaMut, append};
use super::queries::{Blocks, Queries, Span, room};
use super::{BLOCK, Shape, check_ranges};
use crate::buffer::with_scratch;
use crate::matmul::assert_len;
use crate::matmul::tile::TILE_ROWS;
use crate::pool::{self, SharedMut, parallel};
use crate::simd::dispatch;

/// How a cache holds its numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Format {
    /// As they are.
    #[default]
    F32,
    /// Rounded to bf16.
    Bf16,
    /// Bytes, with an f32 scale for each position of a key and value head: its largest magnitude / 127.
    Int8,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 3] = [Self::F32, Self::Bf16, Self::Int8];

    /// What options call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
        }
    }

    /// Floats of memory that one block takes in the arena of keys, and in that of values.
    pub fn block_len(self, shape: &Shape) -> usize {
        shape.kv_heads * self.head_len(shape)
    }

    /// Those of one head.
    pub(super) fn head_len(self, shape: &Shape) -> usize {
        let numbers = shape.padded() * BLOCK;
        match self {
            Self::F32 => numbers,
            Self::Bf16 => numbers / 2,
            Self::Int8 => numbers / 4 + BLOCK,
        }
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Format {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known = || Self::ALL.map(Self::name).join(", ");
        Self::ALL
            .into_iter()
            .find(|format| format.name() == name)
            .ok_or_else(|| format!("{name:?} is no format of a cache; there are: {}", known()))
    }
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
    /// How both hold their numbers.
    pub format: Format,
    /// Blocks of keys.
    pub keys: &'a [f32],
    /// Blocks of values.
    pub values: &'a [f32],
}

/// The sequences of a batch, and how their positions are cut into pieces of work. Its memory goes round.
#[derive(Clone, Debug, Default)]
pub struct Placement {
    sequences: Vec<Placed>,
    /// The numbers of their blocks, sequence after sequence.
    blocks: Vec<u32>,
    pieces: Vec<Piece>,
}

/// A [`CachedSequence`] whose blocks are some of the placement's.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub rows: Range<usize>,
    pub first_position: usize,
    blocks: Range<usize>,
}

/// Some positions of a sequence within one block.
#[derive(Clone, Debug)]
struct Piece {
    sequence: usize,
    positions: Range<usize>,
}

/// Tasks for each thread, where there are so many tiles.
const TASKS: usize = 2;

impl Placement {
    /// Sequences whose rows do not overlap, in ascending order.
    pub fn of<'a>(sequences: impl IntoIterator<Item = CachedSequence<'a>>) -> Self {
        let mut placement = Self::default();
        sequences.into_iter().for_each(|sequence| placement.push(sequence));
        placement
    }

    /// Removes all sequences, keeping the memory.
    pub fn clear(&mut self) {
        self.sequences.clear();
        self.blocks.clear();
    }

    /// Adds a sequence, whose rows come after those of the ones before it.
    pub fn push(&mut self, CachedSequence { rows, first_position, blocks }: CachedSequence<'_>) {
        let start = self.blocks.len();
        self.blocks.extend_from_slice(blocks);
        self.sequences.push(Placed { rows, first_position, blocks: start..self.blocks.len() });
    }

    pub(super) fn sequences(&self) -> &[Placed] {
        &self.sequences
    }

    pub(super) fn blocks_of(&self, sequence: &Placed) -> &[u32] {
        &self.blocks[sequence.blocks.clone()]
    }

    /// Cuts each sequence's positions at the blocks, and further where that gives too few tasks for all threads: those of
    /// one sequence whose guesses are checked.
    fn cut(&mut self, shape: &Shape) {
        let Self { sequences, pieces, .. } = self;
        pieces.clear();
        for (sequence, Placed { rows, first_position, .. }) in sequences.iter().enumerate() {
            let (mut start, end) = (*first_position, first_position + rows.len());
            while start < end {
                let next = end.min((start / BLOCK + 1) * BLOCK);
                pieces.push(Piece { sequence, positions: start..next });
                start = next;
            }
        }
        // Later positions see more, so they go first and the short ones fill the gaps.
        pieces.sort_unstable_by_key(|Piece { sequence, positions }| {
            (Reverse(positions.end * positions.len()), *sequence, positions.start)
        });
        let (threads, tasks) = (pool::threads(), pieces.len() * shape.kv_heads);
        let wanted = threads * TASKS;
        if threads == 1 || tasks == 0 || tasks >= wanted {
            return;
        }
        let least = (TILE_ROWS / shape.group()).max(1);
        for index in 0..pieces.len() {
            let Piece { sequence, positions } = pieces[index].clone();
            let step = positions.len().div_ceil(wanted.div_ceil(tasks)).next_multiple_of(least);
            let parts = positions.clone().step_by(step);
            let mut parts = parts.map(|start| Piece { sequence, positions: start..positions.end.min(start + step) });
            parts.next().into_iter().for_each(|first| pieces[index] = first);
            pieces.extend(parts);
        }
    }
}

/// Causal attention of some rows of each sequence with the cache, in which their own keys and values already stand.
/// `q` and `out` are rows × heads × width; rows of no sequence stay as they are.
///
/// # Panics
/// If the lengths do not agree, rows overlap or are not in ascending order, a sequence has too few blocks or one that
/// is not in the arena, or the shape is not causal.
pub fn attend(shape: &Shape, placement: &mut Placement, q: &[f32], arena: Arena<'_>, out: &mut [f32]) {
    check(shape, placement, q, arena, out);
    placement.cut(shape);
    let (placement, out) = (&*placement, SharedMut::new(out));
    parallel(placement.pieces.len() * shape.kv_heads, |task| {
        let (piece, kv_head) = (&placement.pieces[task / shape.kv_heads], task % shape.kv_heads);
        let sequence = &placement.sequences[piece.sequence];
        let head = kv_head * arena.format.head_len(shape);
        let blocks = Blocks {
            format: arena.format,
            keys: arena.keys[head..].as_ptr(),
            values: arena.values[head..].as_ptr(),
            stride: arena.format.block_len(shape),
            table: Some(placement.blocks_of(sequence)),
        };
        let origin = sequence.rows.start.wrapping_sub(sequence.first_position);
        let queries = Queries { shape, blocks, kv_head, q, out, lse: None, origin, length: 0 };
        let positions = piece.positions.clone();
        with_scratch(room(shape), |room| dispatch(Span { queries, positions, room }));
    });
}

fn check(shape: &Shape, placement: &Placement, q: &[f32], arena: Arena<'_>, out: &[f32]) {
    assert!(shape.causal, "cached attention is causal");
    let rows = q.len() / (shape.heads * shape.head_width);
    assert_len("cached attention: q", q.len(), &[rows, shape.heads, shape.head_width]);
    assert_eq!(out.len(), q.len(), "cached attention: length of out");
    check_blocks(shape, placement, rows, arena);
}

/// Checks that so many rows hold all of the placement's, and the arena their positions.
pub(super) fn check_blocks(shape: &Shape, placement: &Placement, rows: usize, arena: Arena<'_>) {
    shape.check();
    check_ranges(placement.sequences.iter().map(|s| &s.rows), rows);
    let block_len = arena.format.block_len(shape);
    let blocks = arena.keys.len() / block_len;
    assert_len("cached attention: keys", arena.keys.len(), &[blocks, block_len]);
    assert_eq!(arena.values.len(), arena.keys.len(), "cached attention: length of the values");
    for sequence in placement.sequences.iter().filter(|s| !s.rows.is_empty()) {
        let positions = sequence.first_position.checked_add(sequence.rows.len());
        let needed = positions.unwrap_or(usize::MAX).div_ceil(BLOCK);
        let held = placement.blocks_of(sequence);
        assert!(held.len() >= needed, "cached attention: {} blocks where {needed} are needed", held.len());
        for &block in &held[..needed] {
            assert!((block as usize) < blocks, "cached attention: block {block} in an arena of {blocks}");
        }
    }
}
