//! Texts with few letters.

use super::{Piece, Rule, Scope, Verdict};

/// Smallest share of letters. Code has 60 to 75 %, dense arithmetic 40 %, prose 95 %.
const LETTER_SHARE_MIN: f64 = 0.25;

pub(super) struct LowLetters;

impl Rule for LowLetters {
    fn name(&self) -> &'static str {
        "low-letters"
    }

    fn why(&self) -> &'static str {
        "Fewer than 25 % of its characters but white space are letters: drawings, dumps, rulers."
    }

    fn scope(&self) -> Scope {
        Scope::Piece
    }

    fn check(&self, piece: &Piece<'_>) -> Verdict {
        let visible = || piece.text.chars().filter(|character| !character.is_whitespace());
        let (letters, all) = (visible().filter(|character| character.is_alphabetic()).count(), visible().count());
        let share = letters as f64 / all.max(1) as f64;
        Verdict::drop_if(share < LETTER_SHARE_MIN, || format!("{:.0} % of its characters are letters", share * 100.0))
    }
}
