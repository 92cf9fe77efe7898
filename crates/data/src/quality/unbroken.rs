//! Encoded data within text.

use super::{Piece, Rule, Scope, Verdict};

/// Longest run. The longest words and identifiers stay below 200; PEM and MIME break their lines at 76, and are left
/// to the shares of letters and digits.
const RUN_BYTES_MAX: usize = 500;

pub(super) struct Unbroken;

impl Rule for Unbroken {
    fn name(&self) -> &'static str {
        "unbroken"
    }

    fn why(&self) -> &'static str {
        "A run of more than 500 ASCII letters and digits without a break: keys, base64, hex."
    }

    fn scope(&self) -> Scope {
        Scope::Piece
    }

    fn check(&self, piece: &Piece<'_>) -> Verdict {
        let longest = piece.bytes.split(|byte| !is_code_character(*byte)).map(<[u8]>::len).max().unwrap_or(0);
        Verdict::drop_if(longest > RUN_BYTES_MAX, || format!("it has a run of {longest} characters without a break"))
    }
}

/// The characters of base64, hex and URLs' escapes.
fn is_code_character(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'%' | b'\\')
}
