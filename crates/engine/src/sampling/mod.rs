//! Drawing the next token from the model's logits.
//!
//! One file a stage, in the order in which they work, which is the usual one:
//!
//! | stage | works on |
//! |---|---|
//! | [`bias`], [`penalties`] (repetition, presence, frequency), [`dry`] | the logits of single tokens |
//! | the grammar's mask, if there is one | all logits |
//! | [`top_k`] | the logits; from here on there are candidates |
//! | [`typical`], [`top_p`], [`min_p`], [`xtc`] ([`TRUNCATIONS`]) | candidates, by their probabilities at temperature 1 |
//! | [`temperature`] | the probabilities of those that are left, from which one is drawn |
//!
//! A draw depends on the logits, the request, its seed and the token's position in its sequence, and on nothing else:
//! the same request gets the same answer alone or in company, today or tomorrow. At temperature 0 there are neither
//! candidates nor draws: one pass finds the likeliest. No step sorts the vocabulary.

mod bias;
mod candidates;
mod chooser;
mod dry;
mod logprobs;
mod min_p;
mod penalties;
pub(crate) mod settings;
mod temperature;
mod top_k;
mod top_p;
mod typical;
mod xtc;

#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;

use std::time::Duration;

use luban_base::random::Stream;

use self::candidates::Candidates;
pub(crate) use self::chooser::{Chooser, Past};
use self::settings::Sampling;

/// The logits of a position contain a NaN or an infinity, or allow no token at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the model gave no usable probabilities (not a number, or infinite)")]
pub(crate) struct Unusable;

/// Working memory for drawing tokens, shared by all sequences and kept between draws.
#[derive(Debug, Default)]
pub(crate) struct Sampler {
    candidates: Candidates,
    edited: Vec<f32>,
    ids: Vec<u32>,
    /// Since they were last asked for.
    pub(crate) masks: MaskTimes,
}

/// What masks of grammars took.
#[derive(Debug, Default)]
pub(crate) struct MaskTimes {
    /// Until they were there when the logits were.
    pub(crate) waited: Duration,
    /// To work out, on another thread.
    pub(crate) worked: Duration,
}

/// What the stages that change single logits work on.
struct Edit<'a> {
    logits: &'a mut [f32],
    past: Past<'a>,
    sampling: &'a Sampling,
    bias: &'a [(u32, f32)],
    /// Tokens that end a repetition, in order.
    breakers: &'a [u32],
}

/// A stage that drops candidates; never all of them.
struct Stage {
    #[cfg_attr(not(test), allow(dead_code, reason = "for messages of tests"))]
    name: &'static str,
    is_on: fn(&Sampling) -> bool,
    /// Called with the settings and the position of the token that is drawn.
    apply: fn(&mut Candidates, &Sampling, usize),
}

/// What drops candidates after top-k, in order.
const TRUNCATIONS: [Stage; 4] = [typical::STAGE, top_p::STAGE, min_p::STAGE, xtc::STAGE];

impl Sampler {
    /// Draws from a copy of the logits that `edit` has changed.
    fn draw_edited(
        &mut self,
        logits: &[f32],
        sampling: &Sampling,
        position: usize,
        edit: impl FnOnce(&mut [f32]),
    ) -> Result<u32, Unusable> {
        let mut edited = std::mem::take(&mut self.edited);
        edited.clear();
        edited.extend_from_slice(logits);
        edit(&mut edited);
        let token = self.draw(&edited, sampling, position);
        self.edited = edited;
        token
    }

    /// Draws from logits that are as they shall be.
    fn draw(&mut self, logits: &[f32], sampling: &Sampling, position: usize) -> Result<u32, Unusable> {
        let (best, peak) = luban_kernels::sampling::likeliest(logits).ok_or(Unusable)?;
        if sampling.temperature == 0.0 {
            return Ok(best as u32);
        }
        let candidates = &mut self.candidates;
        top_k::fill(candidates, logits, peak, sampling);
        for stage in TRUNCATIONS.iter().filter(|stage| (stage.is_on)(sampling)) {
            (stage.apply)(candidates, sampling, position);
        }
        Ok(temperature::draw(candidates, sampling, position).unwrap_or(best as u32))
    }
}

/// Uniform in [0, 1) with 53 bits, for one use at one position.
fn uniform(seed: u64, label: u64, position: usize) -> f64 {
    let word = Stream::new(seed, &[label]).u64_at(position as u64);
    (word >> 11) as f64 / (1u64 << 53) as f64
}
