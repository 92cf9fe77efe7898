//! What the worker asks of the model.

use crate::adapters::LoadedAdapter;
use crate::error::Error;

/// What one step asks of the model for one sequence.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work<'a> {
    /// Tokens to read.
    pub(crate) tokens: &'a [u32],
    /// Where the first of them stands.
    pub(crate) first_position: usize,
    /// The cache blocks that hold the sequence's positions.
    pub(crate) blocks: &'a [u32],
    /// What is added to the model's linear maps for them.
    pub(crate) adapter: Option<&'a LoadedAdapter>,
    /// Rows whose logits are wanted.
    pub(crate) wanted: Wanted,
}

impl Work<'_> {
    /// Rows of logits that it asks for.
    pub(crate) fn logit_rows(&self) -> usize {
        match self.wanted {
            Wanted::None => 0,
            Wanted::Last => 1,
            Wanted::All => self.tokens.len(),
        }
    }
}

/// Which rows' logits a piece of work asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    None,
    Last,
    All,
}

/// What a backend's drafter must have read before it guesses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reads {
    /// There is no drafter.
    Nothing,
    /// Nothing: it finds in the cache what the model left there.
    WithModel,
    /// All tokens, for it has a cache of its own, in the same blocks.
    Itself,
}

/// The model, as the worker sees it.
///
/// What a step leaves in the cache depends on its tokens and positions alone, so that a step can be run again.
pub(crate) trait Backend {
    /// Reads the work's tokens, all sequences in one pass; the logits of the wanted rows, in order: rows × vocabulary.
    fn step(&mut self, work: &[Work<'_>]) -> Result<&[f32], Error>;
    /// As `step`, by the drafter: a cheap guess at what the model would say. What it leaves in the cache where a block
    /// has several holders is what stands there.
    fn draft(&mut self, work: &[Work<'_>]) -> Result<&[f32], Error>;
    /// What the drafter must have read.
    fn reads(&self) -> Reads;
    /// Copies what a cache block holds, for the drafter too.
    fn copy_block(&mut self, from: u32, to: u32);
    /// Entries of the vocabulary.
    fn vocab(&self) -> usize;
}
