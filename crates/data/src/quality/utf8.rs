//! Text in another encoding. It is counted and left out, never read with losses.

use super::{Piece, Rule, Scope, Verdict};

pub(super) struct NotUtf8;

impl Rule for NotUtf8 {
    fn name(&self) -> &'static str {
        "not-utf8"
    }

    fn why(&self) -> &'static str {
        "Not UTF-8: guessing the encoding would put wrong characters into the corpus."
    }

    fn scope(&self) -> Scope {
        Scope::File
    }

    fn is_needed(&self) -> bool {
        true
    }

    fn check(&self, piece: &Piece<'_>) -> Verdict {
        match std::str::from_utf8(piece.bytes) {
            Ok(_) => Verdict::Keep,
            Err(error) => Verdict::Drop(format!("byte {} of a piece is no UTF-8", error.valid_up_to())),
        }
    }
}
