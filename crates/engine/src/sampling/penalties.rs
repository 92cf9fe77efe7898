//! Repetition, presence and frequency penalties.

use std::collections::BTreeMap;

use super::settings::Sampling;
use super::{Edit, Past};

/// How often each token stands in the answer, the prompt's with 0: kept up from step to step.
#[derive(Debug, Default)]
pub(super) struct Counts {
    of: BTreeMap<u32, u32>,
    /// Tokens of the past that are in it.
    counted: usize,
}

/// Whether any penalty changes anything.
pub(super) fn is_on(sampling: &Sampling) -> bool {
    sampling.repetition_penalty != 1.0 || sampling.presence_penalty != 0.0 || sampling.frequency_penalty != 0.0
}

/// Repetition first, on prompt and answer; then presence and frequency, on the answer alone.
pub(super) fn apply(edit: &mut Edit<'_>, counts: &mut Counts) {
    counts.update(edit.past);
    let Sampling { repetition_penalty, presence_penalty, frequency_penalty, .. } = *edit.sampling;
    for (&token, &times) in &counts.of {
        let logit = &mut edit.logits[token as usize];
        *logit = if *logit > 0.0 { *logit / repetition_penalty } else { *logit * repetition_penalty };
        if times > 0 {
            *logit -= presence_penalty + frequency_penalty * times as f32;
        }
    }
}

impl Counts {
    fn update(&mut self, past: Past<'_>) {
        if past.tokens.len() < self.counted {
            *self = Self::default();
        }
        for (position, &token) in past.tokens.iter().enumerate().skip(self.counted) {
            *self.of.entry(token).or_default() += u32::from(position >= past.prompt);
        }
        self.counted = past.tokens.len();
    }
}
