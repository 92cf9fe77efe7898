//! Documents with next to nothing in them.

use super::{Piece, Rule, Scope, Verdict};

/// Fewest letters and digits. A Chinese quatrain has 20.
const LETTERS_MIN: usize = 16;

pub(super) struct TooShort;

impl Rule for TooShort {
    fn name(&self) -> &'static str {
        "too-short"
    }

    fn why(&self) -> &'static str {
        "Fewer than 16 letters and digits: nothing to learn from."
    }

    fn scope(&self) -> Scope {
        Scope::Piece
    }

    fn check(&self, piece: &Piece<'_>) -> Verdict {
        let count = piece.text.chars().filter(|character| character.is_alphanumeric()).take(LETTERS_MIN).count();
        Verdict::drop_if(count < LETTERS_MIN, || format!("it has {count} letters and digits"))
    }
}
