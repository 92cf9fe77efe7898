//! Top-k: so many likeliest tokens.

use super::candidates::Candidates;
use super::settings::Sampling;

/// Takes the candidates from the logits: by selection where that is asked for, all otherwise.
pub(super) fn fill(candidates: &mut Candidates, logits: &[f32], peak: f32, sampling: &Sampling) {
    match sampling.top_k {
        0 => candidates.fill(logits, peak),
        count if count >= logits.len() => candidates.fill(logits, peak),
        count => candidates.fill_top(logits, peak, count),
    }
}
