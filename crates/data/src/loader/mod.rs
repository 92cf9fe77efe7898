//! From documents to training sequences: endless, shuffled, and resumable to the token.
//!
//! The documents of one side form a stream of tokens, each after an end-of-text token: `eos a a a eos b b …`, epoch
//! after epoch. Sequences of `length + 1` tokens are cut from it with stride `length`, so that every token but the
//! very first is a target exactly once an epoch; what an epoch leaves over begins the next one's first sequence.
//! Blocks of sequences are shuffled by seed and block number. A [`Position`] says where the stream stood when the
//! current block began, which is all that a resume needs.
//!
//! A run that is too short for the whole corpus would see some documents whole and others never. With
//! [`LoaderOptions::strata`] of S an epoch is S passes over the documents, which are cut at line ends into pieces of
//! about two sequences; a pass reads an S-th of the pieces of each document, so that the first S-th of an epoch is a
//! fair sample of the corpus. Each piece is read by one pass of an epoch: every byte of text is encoded once, and there
//! is one end-of-text token a document, before its first piece. The tokens are those of whole documents where the
//! tokenizer ends its words with lines, as ours do.

mod ahead;
mod mixture;
mod pieces;
mod strata;
mod stream;
mod validation;

pub use crate::document::Split;
pub use mixture::{Mixture, Positions};
pub use validation::{Window, validation_windows};

use std::sync::Arc;

use luban_text::Tokenizer;
use serde::{Deserialize, Serialize};

use crate::{Corpus, Error, Result};
use ahead::{Ahead, Block, Blocks};
pub use stream::Cursor;
use stream::TokenStream;

/// Most strata of an epoch.
pub const STRATA_MAX: usize = 1 << 20;

/// How to cut and shuffle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoaderOptions {
    /// Targets of a sequence: the model's context.
    pub length: usize,
    /// Decides the order within blocks, and that of strata.
    pub seed: u64,
    /// Sequences that are shuffled together, and held in memory.
    pub block_sequences: usize,
    /// Passes over the documents that make an epoch: 1 to read each document whole, in the file's order; about as many
    /// as times what a run reads goes into the corpus, where it cannot read all. Rounded up where they are very many.
    pub strata: usize,
}

/// A training sequence.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sequence {
    /// Its `length + 1` tokens: inputs are all but the last, targets all but the first.
    pub tokens: Vec<u32>,
    /// Where in it texts begin that have nothing to do with what stands before them, ascending: documents (at their
    /// end-of-text token) and pieces of them. 0 is among them only if a text begins with the sequence.
    pub segments: Vec<usize>,
}

/// Where a loader stands: everything that a resume needs beside the corpus, the tokenizer and the options.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// Where the stream stood when the current block began.
    pub stream: Cursor,
    /// The current block's number, from 0.
    pub block: u64,
    /// Sequences of it that were given out.
    pub taken: usize,
}

/// Gives training sequences. The next block is read and encoded on a thread of the loader's own while the current one
/// is given out; that changes no sequence and no position.
#[derive(Debug)]
pub struct Loader {
    corpus: Corpus,
    split: Split,
    tokenizer: Arc<Tokenizer>,
    options: LoaderOptions,
    position: Position,
    /// The current block.
    block: Block,
    /// What reads the blocks after it; `None` after an error.
    ahead: Option<Ahead>,
}

impl Loader {
    /// Opens one side of a corpus at its start.
    ///
    /// # Errors
    /// A tokenizer without an end-of-text token, options out of bounds, a side with too little text for one sequence,
    /// or a corpus that cannot be read.
    pub fn open(corpus: &Corpus, split: Split, tokenizer: Arc<Tokenizer>, options: LoaderOptions) -> Result<Self> {
        options.check()?;
        TokenStream::open(corpus, split, Arc::clone(&tokenizer), options)?.check_long_enough(options.length + 1)?;
        let (corpus, position, block) = (corpus.clone(), Position::default(), Block::default());
        let mut loader = Self { corpus, split, tokenizer, options, position, block, ahead: None };
        loader.seek(&Position::default())?;
        Ok(loader)
    }

    /// The next sequences.
    ///
    /// # Errors
    /// If the corpus cannot be read any more. The loader then stands where it stood, and may be asked again.
    pub fn next(&mut self, sequences: usize) -> Result<Vec<Sequence>> {
        let before = self.position;
        if self.ahead.is_none() {
            self.seek(&before)?;
        }
        self.take(sequences).inspect_err(|_| (self.ahead, self.position) = (None, before))
    }

    fn take(&mut self, sequences: usize) -> Result<Vec<Sequence>> {
        let mut batch = Vec::with_capacity(sequences);
        while batch.len() < sequences {
            let rest = &self.block.sequences[self.position.taken..];
            if rest.is_empty() {
                self.position = Position { stream: self.block.end, block: self.position.block + 1, taken: 0 };
                self.block = self.ahead.as_mut().expect("the caller started it").next()?;
                continue;
            }
            let count = (sequences - batch.len()).min(rest.len());
            batch.extend_from_slice(&rest[..count]);
            self.position.taken += count;
        }
        Ok(batch)
    }

    /// Where the next sequence will come from.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Goes to a position that [`Self::position`] gave, for the same corpus, tokenizer and options; what follows is
    /// then what followed there. Reads the position's block, and of what stands before it one chunk of the file.
    ///
    /// # Errors
    /// A position that the corpus does not have; the loader then stands where it stood.
    pub fn seek(&mut self, position: &Position) -> Result<()> {
        let mut stream = TokenStream::open(&self.corpus, self.split, Arc::clone(&self.tokenizer), self.options)?;
        stream.seek(&position.stream)?;
        let mut ahead = Ahead::start(Blocks { stream, options: self.options, number: position.block })?;
        let block = ahead.next()?;
        if position.taken > block.sequences.len() {
            let reason = format!("{} sequences were taken of a block of {}", position.taken, block.sequences.len());
            return Err(Error::Position { dir: self.corpus.dir().to_owned(), reason });
        }
        (self.position, self.block, self.ahead) = (*position, block, Some(ahead));
        Ok(())
    }
}

impl LoaderOptions {
    fn check(&self) -> Result<()> {
        let whole = [("length", self.length), ("block-sequences", self.block_sequences), ("strata", self.strata)];
        for (what, value) in whole {
            if value == 0 {
                return Err(Error::Option { what, found: "0".into(), expected: "at least 1" });
            }
        }
        if self.strata > STRATA_MAX {
            let found = self.strata.to_string();
            return Err(Error::Option { what: "strata", found, expected: "at most 1048576" });
        }
        Ok(())
    }
}
