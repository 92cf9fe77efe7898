//! Files that are no text. UTF-16 text has NUL bytes too, and falls here.

use super::{Piece, Rule, Scope, Verdict};

/// Largest share of control characters. Text has none but white space, and escape codes in recorded terminals.
const CONTROL_SHARE_MAX: f64 = 0.01;

pub(super) struct Binary;

impl Rule for Binary {
    fn name(&self) -> &'static str {
        "binary"
    }

    fn why(&self) -> &'static str {
        "A NUL byte, or more than 1 % control characters: not a text file."
    }

    fn scope(&self) -> Scope {
        Scope::File
    }

    fn check(&self, piece: &Piece<'_>) -> Verdict {
        if piece.bytes.contains(&0) {
            return Verdict::Drop("it has NUL bytes".into());
        }
        let controls = piece.bytes.iter().filter(|&&byte| is_control(byte)).count();
        let share = controls as f64 / piece.bytes.len().max(1) as f64;
        Verdict::drop_if(share > CONTROL_SHARE_MAX, || format!("{:.1} % of it are control characters", share * 100.0))
    }
}

/// Control characters that text does not use: all but tab, line feed, form feed, carriage return and escape.
fn is_control(byte: u8) -> bool {
    byte < 0x20 && !matches!(byte, b'\t' | b'\n' | 0x0C | b'\r' | 0x1B)
}
