//! DRY: the longer the repetition that a token would go on with, the more it costs.
//!
//! A repetition is a place in the past where the last tokens stood before; the token that followed there is what would
//! go on with it. It reaches back to the last breaker at most: the formula lines of a dialogue, say, may come again.

use std::collections::BTreeMap;

use super::Edit;
use super::settings::Sampling;

/// The most that a token loses: more than that changes nothing.
const PENALTY_MAX: f32 = 1e6;

/// Working memory, kept from step to step.
#[derive(Debug, Default)]
pub(super) struct Repetitions {
    /// The past from its end, as far as it is looked at.
    backwards: Vec<u32>,
    /// For each of its places, how many tokens from there on are those of its beginning.
    common: Vec<usize>,
    /// The longest repetition that each token would go on with.
    longest: BTreeMap<u32, usize>,
}

/// Takes from each token what going on with its longest repetition costs.
pub(super) fn apply(edit: &mut Edit<'_>, repetitions: &mut Repetitions) {
    repetitions.find(edit);
    for (&token, &length) in &repetitions.longest {
        edit.logits[token as usize] -= penalty(edit.sampling, length);
    }
}

/// What a repetition of a length costs.
pub(super) fn penalty(sampling: &Sampling, length: usize) -> f32 {
    let beyond = (length - sampling.dry_allowed_length).min(i32::MAX as usize);
    (sampling.dry_multiplier * sampling.dry_base.powi(beyond as i32)).min(PENALTY_MAX)
}

impl Repetitions {
    fn find(&mut self, edit: &Edit<'_>) {
        self.longest.clear();
        let tokens = edit.past.tokens;
        let range = match edit.sampling.dry_range {
            0 => tokens.len(),
            range => range.min(tokens.len()),
        };
        let recent = &tokens[tokens.len() - range..];
        let breaks = |token: &u32| edit.breakers.binary_search(token).is_ok();
        let reach = recent.iter().rev().position(breaks).unwrap_or(range);
        if reach < edit.sampling.dry_allowed_length {
            return;
        }
        self.backwards.clear();
        self.backwards.extend(recent.iter().rev());
        common_prefixes(&self.backwards, &mut self.common);
        for (place, &common) in self.common.iter().enumerate().skip(1) {
            let (length, next) = (common.min(reach), self.backwards[place - 1]);
            if length >= edit.sampling.dry_allowed_length && !breaks(&next) {
                let longest = self.longest.entry(next).or_default();
                *longest = length.max(*longest);
            }
        }
    }
}

/// The Z-function (Gusfield 1997): for each place, the length of what stands both there and at the beginning; in time
/// proportional to the length of all.
fn common_prefixes(text: &[u32], common: &mut Vec<usize>) {
    common.clear();
    common.resize(text.len(), 0);
    // What is known: text[left..right] equals the beginning.
    let (mut left, mut right) = (0, 0);
    for place in 1..text.len() {
        let known = if place < right { common[place - left].min(right - place) } else { 0 };
        let mut length = known;
        while place + length < text.len() && text[length] == text[place + length] {
            length += 1;
        }
        common[place] = length;
        if place + length > right {
            (left, right) = (place, place + length);
        }
    }
}
