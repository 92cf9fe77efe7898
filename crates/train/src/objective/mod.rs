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
            assembled.batch.push(&example.inputs, 0);
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
        };
        let assembled = Assembled::of(&[example(&[1, 2, 3], &[0, 2]), example(&[4, 5], &[1])]);
        assert_eq!(assembled.batch.tokens(), [1, 2, 3, 4, 5]);
        assert_eq!(assembled.batch.positions(), [0, 1, 2, 0, 1]);
        assert_eq!(assembled.rows, [0, 2, 4]);
        assert_eq!(assembled.targets, [100, 102, 101]);
    }
}
