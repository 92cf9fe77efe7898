//! Tables of numbers: Unicode properties, test vectors, lookup tables.

use super::{Piece, Rule, Scope, Verdict};

/// Largest share of words that begin with a digit.
const NUMBER_SHARE_MAX: f64 = 0.5;
/// Fewer words than this are no table.
const WORDS_MIN: usize = 100;

pub(super) struct NumberTable;

impl Rule for NumberTable {
    fn name(&self) -> &'static str {
        "number-table"
    }

    fn why(&self) -> &'static str {
        "More than half of its words are numbers (at least 100 words): tables, not text."
    }

    fn scope(&self) -> Scope {
        Scope::Piece
    }

    fn check(&self, piece: &Piece<'_>) -> Verdict {
        let is_word = |character: char| character.is_alphanumeric() || character == '_';
        let words = || piece.text.split(|character| !is_word(character)).filter(|word| !word.is_empty());
        let all = words().count();
        let numbers = words().filter(|word| word.starts_with(|first: char| first.is_ascii_digit())).count();
        let wrong = all >= WORDS_MIN && numbers as f64 > all as f64 * NUMBER_SHARE_MAX;
        Verdict::drop_if(wrong, || format!("{numbers} of its {all} words are numbers"))
    }
}
