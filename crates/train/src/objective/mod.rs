//! What training minimises. One file an objective, one line in [`registry`].
//!
//! An objective turns a sequence of the loader into an [`Example`]: what the model sees, and which rows have to
//! predict which tokens. The loss is always the mean cross entropy over those rows, in nats.

mod causal;
mod masked;

use luban_base::random::Stream;
use luban_model::Batch;
use luban_text::Tokenizer;

use crate::error::{Error, Result};

pub use causal::Causal;
pub use masked::{MASKED_SHARE, Masked};

/// What training minimises.
pub trait Objective: Send + Sync {
    /// Whether its model sees only what stands before a position.
    fn causal(&self) -> bool;

    /// Turns a sequence into an example. All chance must come from `draws`, which belong to this sequence alone.
    fn example(&self, sequence: &[u32], draws: Stream) -> Example;
}

/// An entry of the registry.
pub struct Entry {
    /// The name that options and recipes use.
    pub name: &'static str,
    /// What it minimises, in a few words.
    pub about: &'static str,
    /// Makes it for a tokenizer.
    pub make: fn(&Tokenizer) -> Result<Box<dyn Objective>>,
}

/// Every objective that there is.
pub fn registry() -> &'static [Entry] {
    &[causal::ENTRY, masked::ENTRY]
}

/// Makes an objective by its name.
///
/// # Errors
/// If there is none of that name, or the tokenizer lacks a token that it needs.
pub fn by_name(name: &str, tokenizer: &Tokenizer) -> Result<Box<dyn Objective>> {
    let found = registry().iter().find(|entry| entry.name == name);
    let known = || registry().iter().map(|entry| entry.name).collect::<Vec<_>>().join(", ");
    let entry = found.ok_or_else(|| Error::Setting {
        name: "objective",
        found: name.to_owned(),
        expected: format!("one of {}", known()),
    })?;
    (entry.make)(tokenizer)
}

/// What one sequence asks of the model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Example {
    /// The tokens that the model sees, from position 0.
    pub inputs: Vec<u32>,
    /// The positions that have a target, ascending.
    pub rows: Vec<usize>,
    /// The token that each of those positions has to predict.
    pub targets: Vec<u32>,
    /// Where the inputs are cut, ascending, none at an end: what stands before a cut is not seen after it, and
    /// positions count from it.
    pub cuts: Vec<usize>,
}

impl Example {
    /// Cuts the inputs at some places, ascending; those outside them, as 0, change nothing.
    pub fn cut(self, places: &[usize]) -> Self {
        let inside = places.iter().copied().filter(|place| (1..self.inputs.len()).contains(place));
        Self { cuts: inside.collect(), ..self }
    }
}

/// Several examples as one ragged batch.
#[derive(Clone, Debug, Default)]
pub struct Assembled {
    /// The inputs, sequence after sequence.
    pub batch: Batch,
    /// The rows of the batch that have a target, ascending.
    pub rows: Vec<usize>,
    /// Their targets.
    pub targets: Vec<u32>,
}

impl Assembled {
    /// Lays examples one after another.
    pub fn of(examples: &[Example]) -> Self {
        let mut assembled = Self::default();
        for example in examples {
            let start = assembled.batch.rows();
            let mut rest = &*example.inputs;
            for cut in &example.cuts {
                let (text, after) = rest.split_at(cut + rest.len() - example.inputs.len());
                assembled.batch.push(text, 0);
                rest = after;
            }
            assembled.batch.push(rest, 0);
            assembled.rows.extend(example.rows.iter().map(|row| start + row));
            assembled.targets.extend_from_slice(&example.targets);
        }
        assembled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_counted_through_the_batch() {
        let example = |inputs: &[u32], rows: &[usize]| Example {
            inputs: inputs.to_vec(),
            rows: rows.to_vec(),
            targets: rows.iter().map(|&row| row as u32 + 100).collect(),
            ..Example::default()
        };
        let assembled = Assembled::of(&[example(&[1, 2, 3], &[0, 2]), example(&[4, 5], &[1])]);
        assert_eq!(assembled.batch.tokens(), [1, 2, 3, 4, 5]);
        assert_eq!(assembled.batch.positions(), [0, 1, 2, 0, 1]);
        assert_eq!(assembled.rows, [0, 2, 4]);
        assert_eq!(assembled.targets, [100, 102, 101]);
    }

    #[test]
    fn cuts_make_sequences_of_their_own() {
        let example = Causal.example(&[5, 6, 7, 8, 9, 10], Stream::new(0, &[])).cut(&[0, 1, 3, 5, 9]);
        assert_eq!(example.cuts, [1, 3]);
        let assembled = Assembled::of(&[example, Causal.example(&[1, 2, 3], Stream::new(0, &[]))]);
        assert_eq!(assembled.batch.tokens(), [5, 6, 7, 8, 9, 1, 2]);
        assert_eq!(assembled.batch.positions(), [0, 0, 1, 0, 1, 0, 1]);
        assert_eq!(assembled.batch.sequences(), [0..1, 1..3, 3..5, 5..7]);
        assert_eq!(assembled.rows, (0..7).collect::<Vec<_>>());
        assert_eq!(assembled.targets, [6, 7, 8, 9, 10, 2, 3]);
    }
}
