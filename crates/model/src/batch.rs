//! Ragged batches: sequences of different lengths, laid one after another without padding.

use std::borrow::Cow;
use std::ops::Range;

use crate::error::Error;
use crate::spec::Spec;

/// Tokens of several sequences, one row each, with their positions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    tokens: Vec<u32>,
    positions: Vec<u32>,
    token_types: Vec<u32>,
    sequences: Vec<Range<usize>>,
    /// Which of the sequences see both sides in any model; shorter than they where the last ones do not.
    open: Vec<bool>,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// A batch of whole sequences, each starting at position 0.
    pub fn of<'a>(sequences: impl IntoIterator<Item = &'a [u32]>) -> Self {
        let mut batch = Self::new();
        for tokens in sequences {
            batch.push(tokens, 0);
        }
        batch
    }

    /// Adds rows of one sequence whose first token stands at `first_position`.
    pub fn push(&mut self, tokens: &[u32], first_position: usize) {
        let start = self.tokens.len();
        self.tokens.extend_from_slice(tokens);
        self.positions.extend((first_position..first_position + tokens.len()).map(|position| position as u32));
        self.token_types.resize(start + tokens.len(), 0);
        self.sequences.push(start..start + tokens.len());
    }

    /// Adds a whole sequence whose positions see both sides, whatever the model's other sequences do.
    pub fn push_open(&mut self, tokens: &[u32]) {
        self.push(tokens, 0);
        self.open.resize(self.sequences.len(), false);
        self.open[self.sequences.len() - 1] = true;
    }

    /// Sets the token types of the sequence that was added last.
    ///
    /// # Panics
    /// If there is not one type for each of its tokens.
    pub fn set_token_types(&mut self, types: &[u32]) {
        let last = self.sequences.last().cloned().unwrap_or(0..0);
        assert_eq!(types.len(), last.len(), "a sequence needs one token type for each token");
        self.token_types[last].copy_from_slice(types);
    }

    /// Removes everything, keeping the memory.
    pub fn clear(&mut self) {
        self.tokens.clear();
        self.positions.clear();
        self.token_types.clear();
        self.sequences.clear();
        self.open.clear();
    }

    /// Tokens in all.
    pub fn rows(&self) -> usize {
        self.tokens.len()
    }

    /// The token of each row.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// The position of each row in its own sequence.
    pub fn positions(&self) -> &[u32] {
        &self.positions
    }

    /// The row of each position in a table with `offset` rows before that of position 0.
    pub fn table_positions(&self, offset: usize) -> Cow<'_, [u32]> {
        match offset as u32 {
            0 => Cow::Borrowed(&self.positions),
            offset => self.positions.iter().map(|position| position + offset).collect(),
        }
    }

    /// The token type of each row.
    pub fn token_types(&self) -> &[u32] {
        &self.token_types
    }

    /// The rows of each sequence.
    pub fn sequences(&self) -> &[Range<usize>] {
        &self.sequences
    }

    /// The rows of those sequences that see what the model lets them see, and of those that see both sides.
    pub fn sequences_by_sight(&self) -> [Cow<'_, [Range<usize>]>; 2] {
        if self.open.is_empty() {
            return [Cow::Borrowed(&self.sequences), Cow::Borrowed(&[])];
        }
        [false, true].map(|open| {
            let sight = self.open.iter().copied().chain(std::iter::repeat(false));
            let chosen = self.sequences.iter().zip(sight).filter(|(_, sight)| *sight == open);
            Cow::Owned(chosen.map(|(rows, _)| rows.clone()).collect())
        })
    }

    /// Checks every token, type and position against the model's tables.
    pub fn check(&self, spec: &Spec) -> Result<(), Error> {
        let most = |values: &[u32]| values.iter().copied().max().map_or(0, u64::from);
        let within = |what, found: u64, size: usize| match found < size as u64 {
            true => Ok(()),
            false => Err(Error::Batch { what, found, expected: format!("0 to {}", size.saturating_sub(1)) }),
        };
        within("a token", most(&self.tokens), spec.vocab)?;
        within("a position", most(&self.positions), spec.context)?;
        within("a token type", most(&self.token_types), spec.token_types.max(1))
    }
}
