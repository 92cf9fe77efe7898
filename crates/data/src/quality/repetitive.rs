//! Texts that repeat themselves. (As the repetition rules of MassiveText: Rae et al., 2021.)

use crate::dedup::shingles;

use super::{Piece, Rule, Scope, Verdict};

/// Smallest share of distinct sequences of five words.
const DISTINCT_SHARE_MIN: f64 = 0.3;
/// Shorter texts repeat themselves by chance.
const SHINGLES_MIN: usize = 200;

pub(super) struct Repetitive;

impl Rule for Repetitive {
    fn name(&self) -> &'static str {
        "repetitive"
    }

    fn why(&self) -> &'static str {
        "Fewer than 30 % of its sequences of five words are distinct (at least 200): the same again and again."
    }

    fn scope(&self) -> Scope {
        Scope::Piece
    }

    fn check(&self, piece: &Piece<'_>) -> Verdict {
        let mut seen = shingles::of(piece.text);
        let all = seen.len();
        seen.sort_unstable();
        seen.dedup();
        let wrong = all >= SHINGLES_MIN && (seen.len() as f64) < all as f64 * DISTINCT_SHARE_MIN;
        Verdict::drop_if(wrong, || format!("{} of its {all} sequences of five words are distinct", seen.len()))
    }
}
