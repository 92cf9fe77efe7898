//! Sharp and smooth measures of the same model on the same text.
//!
//! The loss is smooth. Whether the likeliest token is the right one is sharper; whether that holds for every one of
//! several tokens in succession is sharper still: with a share p of right tokens it is about pⁿ, which stays near 0 and
//! then seems to appear, while nothing happened but that p grew (Schaeffer et al. 2023). Every token is predicted from
//! the true ones before it.

use luban_artifact::{Artifact, ModelFiles};
use luban_data::{Corpus, loader};
use luban_kernels::loss;
use luban_model::training::TrainableModel;
use luban_model::{Batch, io};
use luban_text::Tokenizer;
use serde::{Deserialize, Serialize};

use super::ScaleOptions;
use crate::error::{Error, Result};
use crate::monitor::likeliest;

/// Lengths of successions of tokens that have to be right as a whole.
pub const SPANS: [usize; 3] = [4, 8, 16];
/// Rows of logits that are alive at once.
const ROWS_AT_ONCE: usize = 2048;

/// Text that every model of a ladder is examined on.
pub(super) struct Examination {
    windows: Vec<(Vec<u32>, Vec<u32>)>,
}

/// What an examination says of a model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Grades {
    /// Mean loss, nats a token: smooth.
    pub loss: f64,
    /// Mean probability of the right token: smooth.
    pub probability: f64,
    /// Share of tokens of which the likeliest is the right one.
    pub accuracy: f64,
    /// Share of successions of [`SPANS`] tokens all of which are right: sharp.
    pub spans: [f64; SPANS.len()],
    /// Tokens.
    pub tokens: usize,
}

impl Examination {
    /// Reads the text.
    pub fn of(corpus: &Artifact, tokenizer: &Tokenizer, options: &ScaleOptions) -> Result<Self> {
        let corpus = Corpus::open(corpus)?;
        let (windows, _) = loader::validation_windows(&corpus, tokenizer, options.context, options.validation_bytes)?;
        Ok(Self { windows })
    }

    /// Examines the model of an artifact.
    pub fn of_model(&self, artifact: &Artifact) -> Result<Grades> {
        let files = ModelFiles::open(artifact.dir())?;
        let source = io::read(&files)?;
        let spec = source.spec().clone();
        let mut model = TrainableModel::from_weights(spec, |slot| Ok(source.weight(slot)?.into_f32()))?;
        let mut tally = Tally::default();
        let longest = self.windows.iter().map(|(inputs, _)| inputs.len()).max().unwrap_or(1).max(1);
        for part in self.windows.chunks((ROWS_AT_ONCE / longest).max(1)) {
            let batch = Batch::of(part.iter().map(|(inputs, _)| &inputs[..]));
            let rows: Vec<usize> = (0..batch.rows()).collect();
            let logits = model.logits(&batch, &rows)?;
            let mut rest = &logits[..];
            for (inputs, targets) in part {
                let (window, after) = rest.split_at(inputs.len() * model.spec().vocab);
                tally.add(window, targets);
                rest = after;
            }
        }
        match tally.tokens {
            0 => Err(Error::Setting {
                name: "validation-bytes",
                found: "a corpus without validation text".to_owned(),
                expected: "text to measure on".to_owned(),
            }),
            _ => Ok(tally.grades()),
        }
    }
}

/// Sums over tokens and successions of them.
#[derive(Default)]
struct Tally {
    nats: f64,
    probability: f64,
    tokens: usize,
    right: usize,
    /// Successions that were right as a whole, and all of them.
    spans: [(usize, usize); SPANS.len()],
}

impl Tally {
    /// Takes in a window: logits (tokens × vocabulary) and the right tokens.
    fn add(&mut self, logits: &[f32], targets: &[u32]) {
        let mut losses = vec![0.0; targets.len()];
        loss::negative_log_likelihood(logits, targets, &mut losses);
        let right: Vec<bool> = likeliest(logits, targets).collect();
        self.nats += losses.iter().map(|&nats| f64::from(nats)).sum::<f64>();
        self.probability += losses.iter().map(|&nats| f64::from(-nats).exp()).sum::<f64>();
        self.tokens += targets.len();
        self.right += right.iter().filter(|&&right| right).count();
        for (length, (whole, all)) in SPANS.iter().zip(&mut self.spans) {
            for span in right.chunks_exact(*length) {
                *whole += usize::from(span.iter().all(|&right| right));
                *all += 1;
            }
        }
    }

    fn grades(&self) -> Grades {
        let tokens = self.tokens as f64;
        Grades {
            loss: self.nats / tokens,
            probability: self.probability / tokens,
            accuracy: self.right as f64 / tokens,
            spans: self.spans.map(|(whole, all)| whole as f64 / all.max(1) as f64),
            tokens: self.tokens,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_are_those_of_their_definitions() {
        // Of nine tokens the fifth is wrong; a right one has the probability 3/4.
        let targets = [0_u32, 1, 0, 1, 0, 1, 0, 1, 1];
        let likely =
            |place: usize, target: u32| if (place == 4) == (target == 0) { [0.0, 3f32.ln()] } else { [3f32.ln(), 0.0] };
        let logits: Vec<f32> = targets.iter().enumerate().flat_map(|(place, &target)| likely(place, target)).collect();
        let mut tally = Tally::default();
        tally.add(&logits, &targets);
        let Grades { loss, probability, accuracy, spans, tokens } = tally.grades();
        assert_eq!((tokens, accuracy), (9, 8.0 / 9.0));
        assert!((probability - (8.0 * 0.75 + 0.25) / 9.0).abs() < 1e-6);
        assert!((loss + (8.0 * 0.75_f64.ln() + 0.25_f64.ln()) / 9.0).abs() < 1e-6);
        assert_eq!(spans, [0.5, 0.0, 0.0]);
    }
}
