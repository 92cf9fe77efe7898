//! What training minimises. One file an objective, one line in [`registry`].
//!
//! An objective turns a sequence of the loader into an [`Example`]: what the model sees, and which rows have to
//! predict which tokens. The loss is always the weighted mean of the cross entropy over those rows, in nats.

mod both;
mod causal;
mod fim;
mod masked;

use std::sync::Arc;

use luban_base::random::Stream;
use luban_model::Batch;
use luban_text::Tokenizer;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

pub use both::{Both, MASKED_SEQUENCES};
pub use causal::Causal;
pub use fim::FillIn;
pub use masked::{MASKED_SHARE, Masked};

/// What training minimises.
pub trait Objective: Send + Sync {
    /// Whether its model sees only what stands before a position.
    fn causal(&self) -> bool;

    /// Turns a sequence into an example, a function of the passage alone.
    fn example(&self, passage: &Passage<'_>) -> Example;

    /// The losses by which held-out text is measured, where they are several: their shares in the loss add up to 1 (one
    /// that is only to be seen has none), and the first predicts all of a text.
    fn measures(&self) -> Vec<Measure> {
        Vec::new()
    }
}

/// A loss on held-out text.
pub struct Measure {
    /// What it is called.
    pub name: &'static str,
    /// Its share in the loss that training minimises.
    pub share: f64,
    /// What it is.
    pub objective: Box<dyn Objective>,
}

/// A sequence of the loader.
#[derive(Clone, Copy, Debug)]
pub struct Passage<'a> {
    /// Its tokens, one more than the context holds.
    pub tokens: &'a [u32],
    /// Where in it texts begin that have nothing to do with what stands before them, ascending.
    pub segments: &'a [usize],
    /// Whether what stands before such a place is not seen after it.
    pub document_mask: bool,
    /// Its number among all samples of the run.
    pub sample: u64,
    /// Where all chance comes from; belongs to this sample alone.
    pub draws: Stream,
}

impl<'a> Passage<'a> {
    /// One text, the first sample.
    pub fn new(tokens: &'a [u32], draws: Stream) -> Self {
        Self { tokens, segments: &[], document_mask: false, sample: 0, draws }
    }

    /// Where the inputs are to be cut.
    fn cuts(&self) -> &'a [usize] {
        if self.document_mask { self.segments } else { &[] }
    }
}

/// What objectives let one choose. Each takes some of these.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct ObjectiveSettings {
    /// Share of the sequences that are masked, where others are causal.
    pub masked_share: Option<f64>,
    /// Whether whole words are masked.
    pub whole_word: bool,
    /// Share of the documents whose middle moves to their end.
    pub fim_rate: Option<f64>,
}

impl ObjectiveSettings {
    /// Names those that were given, with what was.
    fn given(&self) -> impl Iterator<Item = (&'static str, String)> {
        let Self { masked_share, whole_word, fim_rate } = self;
        let given = [
            masked_share.map(|share| ("masked-share", share.to_string())),
            whole_word.then(|| ("whole-word", "true".to_owned())),
            fim_rate.map(|rate| ("fim-rate", rate.to_string())),
        ];
        given.into_iter().flatten()
    }
}

/// What an objective is made from.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// The name by which it was asked for.
    pub name: &'a str,
    /// What else was asked for.
    pub settings: &'a ObjectiveSettings,
    /// The tokenizer of the run.
    pub tokenizer: &'a Arc<Tokenizer>,
}

/// An entry of the registry.
pub struct Entry {
    /// The name that options and recipes use.
    pub name: &'static str,
    /// What it minimises, in a few words.
    pub about: &'static str,
    /// Which of the [`ObjectiveSettings`] it takes.
    pub takes: &'static [&'static str],
    /// Makes it.
    pub make: fn(&Surroundings<'_>) -> Result<Box<dyn Objective>>,
}

/// Every objective that there is.
pub fn registry() -> &'static [Entry] {
    &[causal::ENTRY, masked::ENTRY, both::ENTRY, fim::ENTRY]
}

/// Makes an objective.
///
/// # Errors
/// If there is none of that name, it does not take one of the settings or a setting is out of bounds, or the tokenizer
/// lacks a token that it needs.
pub fn make(surroundings: &Surroundings<'_>) -> Result<Box<dyn Objective>> {
    let found = registry().iter().find(|entry| entry.name == surroundings.name);
    let known = || registry().iter().map(|entry| entry.name).collect::<Vec<_>>().join(", ");
    let entry = found.ok_or_else(|| Error::Setting {
        name: "objective",
        found: surroundings.name.to_owned(),
        expected: format!("one of {}", known()),
    })?;
    if let Some((name, found)) = surroundings.settings.given().find(|(name, _)| !entry.takes.contains(name)) {
        let expected = format!("no such option, for the objective is {}", entry.name);
        return Err(Error::Setting { name, found, expected });
    }
    (entry.make)(surroundings)
}

/// The share of the sequences that an objective masks in a model that is causal otherwise.
pub fn masked_sequences(name: &str, settings: &ObjectiveSettings) -> f64 {
    match name == both::NAME {
        true => settings.masked_share.unwrap_or(MASKED_SEQUENCES),
        false => 0.0,
    }
}

/// What one sequence asks of the model.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// The tokens that the model sees, from position 0.
    pub inputs: Vec<u32>,
    /// The positions that have a target, ascending.
    pub rows: Vec<usize>,
    /// The token that each of those positions has to predict.
    pub targets: Vec<u32>,
    /// What the loss of each of them counts.
    pub weight: f32,
    /// Whether its positions see both sides, in a model that is causal too.
    pub open: bool,
    /// Where the inputs are cut, ascending, none at an end: what stands before a cut is not seen after it, and
    /// positions count from it.
    pub cuts: Vec<usize>,
}

impl Default for Example {
    fn default() -> Self {
        Self { inputs: Vec::new(), rows: Vec::new(), targets: Vec::new(), weight: 1.0, open: false, cuts: Vec::new() }
    }
}

impl Example {
    /// Cuts the inputs at some places, ascending; those outside them, as 0, change nothing.
    pub fn cut(self, places: &[usize]) -> Self {
        let inside = places.iter().copied().filter(|place| (1..self.inputs.len()).contains(place));
        Self { cuts: inside.collect(), ..self }
    }

    /// What all its targets count.
    pub fn total_weight(&self) -> f64 {
        self.targets.len() as f64 * f64::from(self.weight)
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
    /// What each of them counts; none where that is 1 for all.
    pub weights: Vec<f32>,
}

impl Assembled {
    /// Lays examples one after another.
    pub fn of(examples: &[Example]) -> Self {
        let mut assembled = Self::default();
        for example in examples {
            let start = assembled.batch.rows();
            let mut rest = &*example.inputs;
            let mut push = |text: &[u32]| match example.open {
                true => assembled.batch.push_open(text),
                false => assembled.batch.push(text, 0),
            };
            for cut in &example.cuts {
                let (text, after) = rest.split_at(cut + rest.len() - example.inputs.len());
                push(text);
                rest = after;
            }
            push(rest);
            assembled.rows.extend(example.rows.iter().map(|row| start + row));
            assembled.targets.extend_from_slice(&example.targets);
            assembled.weights.resize(assembled.targets.len(), example.weight);
        }
        if assembled.weights.iter().all(|&weight| weight == 1.0) {
            assembled.weights.clear();
        }
        assembled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn causal(tokens: &[u32]) -> Example {
        Causal.example(&Passage::new(tokens, Stream::new(0, &[])))
    }

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
        assert!(assembled.weights.is_empty());
    }

    #[test]
    fn cuts_make_sequences_of_their_own() {
        let example = causal(&[5, 6, 7, 8, 9, 10]).cut(&[0, 1, 3, 5, 9]);
        assert_eq!(example.cuts, [1, 3]);
        let assembled = Assembled::of(&[example, causal(&[1, 2, 3])]);
        assert_eq!(assembled.batch.tokens(), [5, 6, 7, 8, 9, 1, 2]);
        assert_eq!(assembled.batch.positions(), [0, 0, 1, 0, 1, 0, 1]);
        assert_eq!(assembled.batch.sequences(), [0..1, 1..3, 3..5, 5..7]);
        assert_eq!(assembled.rows, (0..7).collect::<Vec<_>>());
        assert_eq!(assembled.targets, [6, 7, 8, 9, 10, 2, 3]);
    }

    #[test]
    fn weights_and_sight_go_with_their_examples() {
        let open = Example { open: true, weight: 2.5, ..causal(&[1, 2, 3]).cut(&[1]) };
        let assembled = Assembled::of(&[causal(&[5, 6, 7]), open, causal(&[8, 9])]);
        assert_eq!(assembled.weights, [1.0, 1.0, 2.5, 2.5, 1.0]);
        let [own, open] = assembled.batch.sequences_by_sight();
        assert_eq!((&*own, &*open), (&[0..2, 4..5][..], &[2..3, 3..4][..]));
    }
}
