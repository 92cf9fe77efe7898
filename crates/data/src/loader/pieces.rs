//! Cuts joined documents into pieces where it hurts least.
//!
//! A piece ends before a line that is not indented, where there is one near; so tokenizers that end words with lines,
//! ours among them, encode the pieces of a document to the very tokens of the whole.

/// A part of one document within a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fragment<'a> {
    /// The number of its piece, from 0.
    pub(super) piece: u64,
    /// Whether its document begins with it.
    pub(super) begins: bool,
    pub(super) text: &'a str,
}

/// How long pieces are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// A piece ends at the first good place after so many bytes, which are more than a character's; before twice as
    /// many.
    pub(super) bytes: usize,
    /// Bytes by which the first piece is shorter, so that not every cutting has the same borders.
    pub(super) first_less: usize,
}

/// Gives the fragments of all pieces in order. A piece goes on from document to document; where one begins and the
/// piece is long enough, the next piece begins too.
pub(super) fn cut_all<'a>(texts: impl Iterator<Item = &'a str>, sizes: Sizes, mut each: impl FnMut(Fragment<'a>)) {
    let (mut piece, mut filled) = (0, sizes.first_less);
    for mut text in texts {
        if filled >= sizes.bytes {
            (piece, filled) = (piece + 1, 0);
        }
        let mut begins = true;
        while let Some(place) = cut(text, sizes.bytes.saturating_sub(filled), 2 * sizes.bytes - filled) {
            let (head, rest) = text.split_at(place);
            each(Fragment { piece, begins, text: head });
            (text, begins) = (rest, false);
            (piece, filled) = (piece + 1, 0);
        }
        each(Fragment { piece, begins, text });
        // Cuts keep it below twice the size, so that the subtraction above holds.
        filled = (filled + text.len()).min(2 * sizes.bytes - 1);
    }
}

/// Where to cut a text after its first `least` bytes: before a line that is not indented; else before the first word
/// of a line; else, if there are `most` bytes, before a space or anywhere between characters. `None` to leave it whole.
fn cut(text: &str, least: usize, most: usize) -> Option<usize> {
    if text.len() <= least {
        return None;
    }
    let bytes = text.as_bytes();
    let window = least.max(1)..most.min(text.len());
    let line_starts = || window.clone().filter(|&place| bytes[place - 1] == b'\n');
    let blank = |place: usize| bytes[place].is_ascii_whitespace();
    if let Some(place) = line_starts().find(|&place| !blank(place)) {
        return Some(place);
    }
    let word = |start: usize| (start..window.end).find(|&place| !blank(place));
    if let Some(place) = line_starts().next().and_then(word) {
        return Some(place);
    }
    if text.len() <= most {
        return None;
    }
    let space = window.clone().find(|&place| bytes[place] == b' ');
    space.or_else(|| Some(text.floor_char_boundary(most)).filter(|&place| place > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(texts: &[&str], bytes: usize, first_less: usize) -> Vec<String> {
        let mut pieces: Vec<String> = Vec::new();
        cut_all(texts.iter().copied(), Sizes { bytes, first_less }, |fragment| {
            assert!(fragment.piece as usize == pieces.len() || fragment.piece as usize + 1 == pieces.len());
            if fragment.piece as usize == pieces.len() {
                pieces.push(String::new());
            }
            let last = pieces.last_mut().unwrap();
            last.push_str(if fragment.begins { "|" } else { "" });
            last.push_str(fragment.text);
        });
        pieces
    }

    #[test]
    fn pieces_begin_with_lines_and_lose_nothing() {
        let code = "fn one() {\n    1\n}\nfn two() {\n    2\n}\n";
        assert_eq!(pieces(&[code], 12, 0), ["|fn one() {\n    1\n", "}\nfn two() {\n    2\n", "}\n"]);
        assert_eq!(pieces(&[code], 8, 0)[0], "|fn one() {\n    ", "no line near is not indented");
        assert_eq!(pieces(&["ab\n", "cd\n", "ef\n", ""], 5, 0), ["|ab\n|cd\n", "|ef\n|"]);
        assert_eq!(pieces(&["ab\n", "cd\n", "ef\n"], 5, 4), ["|ab\n", "|cd\n|ef\n"]);
    }

    #[test]
    fn text_without_lines_is_cut_all_the_same() {
        assert_eq!(pieces(&["aaaa bbbb cccc dddd"], 6, 0), ["|aaaa bbbb", " cccc dddd"]);
        assert_eq!(pieces(&["花花花花花"], 4, 0), ["|花花", "花花", "花"]);
        assert_eq!(pieces(&["\n\n\n\n\n\n\n\n\n"], 2, 0).concat(), "|\n\n\n\n\n\n\n\n\n");
    }

    #[test]
    fn any_text_and_size_comes_back_whole() {
        let alphabet = ["a", " ", "\n", "\n    ", "花", "é", "\r\n", "word", "\t"];
        for case in 0..300 {
            let draws = luban_base::random::Stream::new(case, &[]);
            let text = |number: u64| -> String {
                let length = draws.below_at(number, 60);
                (0..length).map(|index| alphabet[draws.below_at(100 * number + index, 9) as usize]).collect()
            };
            let texts: Vec<String> = (1..6).map(text).collect();
            let parts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let bytes = 4 + draws.below_at(0, 30) as usize;
            let cut = pieces(&parts, bytes, draws.below_at(1, bytes as u64) as usize);
            assert_eq!(cut.concat(), texts.iter().map(|text| format!("|{text}")).collect::<String>());
            assert!(cut.iter().all(|piece| piece.len() <= 2 * bytes + 16), "{bytes}: {cut:?}");
        }
    }
}
