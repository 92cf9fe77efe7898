//! Code files that are too long to have been written by people.

use super::{Piece, Rule, Scope, TextKind, Verdict};

/// Longest code file. The longest ones written by hand in the dependencies of this program have some 300 KB; above
/// this are tables and expanded macros. Prose has no bound: novels and manuals are cut into pieces.
const CODE_BYTES_MAX: u64 = 512 << 10;

pub(super) struct TooLong;

impl Rule for TooLong {
    fn name(&self) -> &'static str {
        "too-long"
    }

    fn why(&self) -> &'static str {
        "Code files of more than 512 KiB: nobody writes them by hand."
    }

    fn scope(&self) -> Scope {
        Scope::File
    }

    fn check(&self, piece: &Piece<'_>) -> Verdict {
        let wrong = piece.kind == TextKind::Code && piece.file_bytes > CODE_BYTES_MAX;
        Verdict::drop_if(wrong, || format!("the file has {} bytes", piece.file_bytes))
    }
}
