//! Minified code and data in the shape of code. (As in The Stack: Kocetkov et al., 2022.)

use super::{Piece, Rule, Scope, TextKind, Verdict};

/// Longest line.
const LINE_BYTES_MAX: usize = 1000;
/// Longest mean of the lines that are not empty.
const LINE_BYTES_MEAN_MAX: usize = 100;

pub(super) struct LongLines;

impl Rule for LongLines {
    fn name(&self) -> &'static str {
        "long-lines"
    }

    fn why(&self) -> &'static str {
        "Code with a line of more than 1000 characters, or 100 on average: minified or data."
    }

    fn scope(&self) -> Scope {
        Scope::Piece
    }

    fn check(&self, piece: &Piece<'_>) -> Verdict {
        if piece.kind != TextKind::Code {
            return Verdict::Keep;
        }
        let lengths = || piece.text.lines().map(str::len);
        let longest = lengths().max().unwrap_or(0);
        let mean = lengths().sum::<usize>() / lengths().filter(|&length| length > 0).count().max(1);
        Verdict::drop_if(longest > LINE_BYTES_MAX || mean > LINE_BYTES_MEAN_MAX, || {
            format!("its longest line has {longest} bytes, the mean {mean}")
        })
    }
}
