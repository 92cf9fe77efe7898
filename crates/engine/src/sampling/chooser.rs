//! How one sequence chooses its tokens: its settings, and what it remembers for them.

use std::sync::Arc;

use super::dry::Repetitions;
use super::penalties::{self, Counts};
use super::settings::Sampling;
use super::{Edit, Sampler, bias, dry};
use crate::masks::Guide;
use crate::request::Request;

/// The tokens of a sequence so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Past<'a> {
    /// Prompt and answer.
    pub(crate) tokens: &'a [u32],
    /// How many of them are the prompt.
    pub(crate) prompt: usize,
}

/// Chooses the tokens of one sequence.
#[derive(Debug)]
pub(crate) struct Chooser {
    edits: Edits,
    guide: Option<Guide>,
}

/// What changes single logits.
#[derive(Debug)]
struct Edits {
    sampling: Sampling,
    bias: Vec<(u32, f32)>,
    breakers: Arc<[u32]>,
    counts: Counts,
    repetitions: Repetitions,
}

impl Chooser {
    /// For a request; `breakers` are the tokens that end a repetition, in order.
    pub(crate) fn new(request: &Request, breakers: Arc<[u32]>, guide: Option<Guide>) -> Self {
        let edits = Edits {
            sampling: request.sampling,
            bias: request.logit_bias.clone(),
            breakers,
            counts: Counts::default(),
            repetitions: Repetitions::default(),
        };
        Self { edits, guide }
    }

    /// The token that follows the past. To be called once for each position, in order: a grammar goes on with it.
    ///
    /// # Errors
    /// Logits that are no numbers, or a grammar that cannot go on; a sentence.
    pub(crate) fn choose(&mut self, logits: &[f32], past: Past<'_>, sampler: &mut Sampler) -> Result<u32, String> {
        let Self { edits, guide } = self;
        match guide {
            None if edits.is_empty() => sampler.draw(logits, &edits.sampling, past.tokens.len()),
            None => {
                let sampling = edits.sampling;
                sampler.draw_edited(logits, &sampling, past.tokens.len(), |logits| edits.apply(logits, past))
            }
            Some(guide) => {
                return guide.guided(sampler, |mask, sampler| {
                    let sampling = edits.sampling;
                    let edit = |logits: &mut [f32]| {
                        edits.apply(logits, past);
                        mask.forbid_others(logits);
                    };
                    let drawn = sampler.draw_edited(logits, &sampling, past.tokens.len(), edit);
                    drawn.map_err(|unusable| unusable.to_string())
                });
            }
        }
        .map_err(|unusable| unusable.to_string())
    }

    /// Whether the answer is complete by its grammar, so that nothing can follow.
    pub(crate) fn is_finished(&self) -> bool {
        self.guide.as_ref().is_some_and(Guide::is_finished)
    }
}

impl Edits {
    fn is_empty(&self) -> bool {
        self.bias.is_empty() && !penalties::is_on(&self.sampling) && self.sampling.dry_multiplier == 0.0
    }

    fn apply(&mut self, logits: &mut [f32], past: Past<'_>) {
        if self.is_empty() {
            return;
        }
        let mut edit = Edit { logits, past, sampling: &self.sampling, bias: &self.bias, breakers: &self.breakers };
        bias::apply(&mut edit);
        if penalties::is_on(edit.sampling) {
            penalties::apply(&mut edit, &mut self.counts);
        }
        if edit.sampling.dry_multiplier > 0.0 {
            dry::apply(&mut edit, &mut self.repetitions);
        }
    }
}
