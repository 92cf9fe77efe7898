//! Temperature, and the draw itself.

use super::candidates::{Candidates, sum};
use super::settings::Sampling;
use super::uniform;

/// Names this use of the random streams.
pub(super) const LABEL: u64 = 0x7361_6d70_6c65;
/// Candidates that are passed over at once while the drawn one is looked for.
const CHUNK: usize = 256;

/// A token with a probability proportional to exp(logit / temperature).
pub(super) fn draw(candidates: &mut Candidates, sampling: &Sampling, position: usize) -> Option<u32> {
    if sampling.temperature != 1.0 {
        candidates.reheat(sampling.temperature);
    }
    pick(candidates.weights(), uniform(sampling.seed, LABEL, position)).map(|index| candidates.ids()[index])
}

/// An index with a probability proportional to its weight.
pub(super) fn pick(weights: &[f32], uniform: f64) -> Option<usize> {
    let goal = uniform * weights.chunks(CHUNK).map(sum).sum::<f64>();
    let mut before = 0.0;
    let mut last = None;
    for (chunk, part) in weights.chunks(CHUNK).enumerate() {
        let after = before + sum(part);
        if after > goal {
            let mut so_far = before;
            for (index, &weight) in part.iter().enumerate().filter(|&(_, &weight)| weight > 0.0) {
                so_far += f64::from(weight);
                last = Some(chunk * CHUNK + index);
                if so_far > goal {
                    return last;
                }
            }
        }
        before = after;
    }
    // Rounding, at the very end.
    last.or_else(|| weights.iter().rposition(|&weight| weight > 0.0))
}
