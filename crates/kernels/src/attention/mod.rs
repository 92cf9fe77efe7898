//! Scaled dot-product attention over ragged sequences, with grouped heads, forward and backward.
//!
//! Scores are never stored: keys are visited in blocks of 64 absolute positions with an online softmax (Milakov and
//! Gimelshein, 2018; Dao et al., 2022, "FlashAttention"). For a row the order is fixed: a score is one sequential
//! chain over the head's width, blocks come in ascending order, within a block values are added position after
//! position. So the result of a row depends on its own sequence's visible positions and nothing else, whatever the
//! other rows, the chunks of a prompt, or the threads; [`cached`] gives the same bits as [`forward`]. Where attention
//! reaches a number of positions only (Beltagy et al., 2020, "Longformer"), blocks beyond are not visited.

mod append;
mod backward;
pub mod cached;
mod forward;
mod queries;
mod widen;

use std::ops::Range;

use crate::matmul::assert_len;
use crate::simd::LANES;

pub use backward::backward;
pub use forward::forward;

/// Positions in a block, counted from the start of the sequence.
pub const BLOCK: usize = 64;
/// The widest head.
pub const HEAD_WIDTH_MAX: usize = 512;

/// What attention looks like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// Query heads; a multiple of `kv_heads`.
    pub heads: usize,
    /// Key and value heads; each serves `heads / kv_heads` query heads in a row.
    pub kv_heads: usize,
    /// Elements of a head, at most [`HEAD_WIDTH_MAX`].
    pub head_width: usize,
    /// Factor on the scores, usually 1 / sqrt(head width).
    pub scale: f32,
    /// Whether a position sees only itself and those before it.
    pub causal: bool,
    /// How many positions before its own (and after it, if not causal) a position sees; all of them where `None`.
    pub reach: Option<usize>,
}

impl Shape {
    /// The positions that one sees in a sequence of `length`, which does not matter to causal attention.
    #[inline(always)]
    pub(crate) fn seen(&self, position: usize, length: usize) -> Range<usize> {
        let end = if self.causal { position + 1 } else { length };
        match self.reach {
            None => 0..end,
            Some(reach) => position.saturating_sub(reach)..end.min(position.saturating_add(reach).saturating_add(1)),
        }
    }

    /// Query heads for each key and value head.
    pub(crate) fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// The head's width in scratch and cache, a multiple of the lanes.
    pub(crate) fn padded(&self) -> usize {
        self.head_width.next_multiple_of(LANES)
    }

    fn check(&self) {
        let Shape { heads, kv_heads, head_width, .. } = *self;
        assert!(
            kv_heads > 0 && heads > 0 && heads.is_multiple_of(kv_heads),
            "attention: {heads} over {kv_heads} heads"
        );
        assert!((1..=HEAD_WIDTH_MAX).contains(&head_width), "attention: head width {head_width}");
    }
}

/// What attention reads: `q` is rows × heads × width, `k` and `v` are rows × kv heads × width.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// Queries.
    pub q: &'a [f32],
    /// Keys.
    pub k: &'a [f32],
    /// Values.
    pub v: &'a [f32],
}

/// What the backward pass needs of the forward pass.
#[derive(Clone, Copy, Debug)]
pub struct Saved<'a> {
    /// Its inputs.
    pub inputs: Inputs<'a>,
    /// Its result, rows × heads × width.
    pub out: &'a [f32],
    /// Its log-sum-exp, rows × heads.
    pub lse: &'a [f32],
}

/// Where the gradients go, in the layouts of the inputs. What stood there is replaced.
#[derive(Debug)]
pub struct Gradients<'a> {
    /// Of the queries.
    pub q: &'a mut [f32],
    /// Of the keys.
    pub k: &'a mut [f32],
    /// Of the values.
    pub v: &'a mut [f32],
}

/// Checks lengths, and that sequences are ranges of rows in ascending order without overlap; gives the rows.
fn check_inputs(shape: &Shape, sequences: &[Range<usize>], inputs: Inputs<'_>) -> usize {
    shape.check();
    let rows = inputs.q.len() / (shape.heads * shape.head_width);
    assert_len("attention: q", inputs.q.len(), &[rows, shape.heads, shape.head_width]);
    assert_len("attention: k", inputs.k.len(), &[rows, shape.kv_heads, shape.head_width]);
    assert_len("attention: v", inputs.v.len(), &[rows, shape.kv_heads, shape.head_width]);
    check_ranges(sequences.iter(), rows);
    rows
}

fn check_ranges<'a>(ranges: impl Iterator<Item = &'a Range<usize>>, rows: usize) {
    let mut end = 0;
    for range in ranges {
        let ordered = end <= range.start && range.start <= range.end && range.end <= rows;
        assert!(ordered, "attention: sequence {range:?} after row {end} of {rows}");
        end = range.end;
    }
}

#[cfg(test)]
mod tests;
