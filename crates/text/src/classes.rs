//! What kind of character each is, as the patterns of tokenizers ask: `\p{L}`, `\p{N}`, `\s` and so on.

use std::collections::HashMap;
use std::sync::LazyLock;

use regex_syntax::hir::{Class, HirKind};

/// Letters, `\p{L}`.
pub(crate) const LETTER: u8 = 1;
/// Numbers, `\p{N}`.
pub(crate) const NUMBER: u8 = 2;
/// White space, `\s`.
pub(crate) const SPACE: u8 = 4;
/// Marks, `\p{M}`.
pub(crate) const MARK: u8 = 8;
/// Letters in upper and title case, `\p{Lu}` and `\p{Lt}`.
pub(crate) const UPPER: u8 = 16;
/// Letters in lower case, `\p{Ll}`.
pub(crate) const LOWER: u8 = 32;
/// The two characters that end lines, `\r` and `\n`.
pub(crate) const LINE_END: u8 = 64;

/// The classes of all characters, at hand.
#[derive(Clone, Copy)]
pub(crate) struct Classes(&'static Pages);

/// Pages of 256 characters, equal ones kept once.
struct Pages {
    ascii: [u8; 128],
    page_of: Vec<u16>,
    pages: Vec<[u8; 256]>,
}

impl Classes {
    /// The table, which is made when first asked for.
    pub(crate) fn get() -> Self {
        Self(&PAGES)
    }

    /// The classes of one character, as bits.
    #[inline]
    pub(crate) fn of(self, character: char) -> u8 {
        let code = character as usize;
        self.0.pages[usize::from(self.0.page_of[code >> 8])][code & 0xFF]
    }

    /// The classes of the character at a place of a text, and its bytes; none at the end.
    #[inline]
    pub(crate) fn look(self, text: &str, at: usize) -> (u8, usize) {
        match text.as_bytes().get(at) {
            None => (0, 0),
            Some(&byte) if byte < 128 => (self.0.ascii[usize::from(byte)], 1),
            Some(_) => text[at..].chars().next().map_or((0, 0), |character| (self.of(character), character.len_utf8())),
        }
    }
}

static PAGES: LazyLock<Pages> = LazyLock::new(pages);

fn pages() -> Pages {
    const PATTERNS: [(&str, u8); 7] = [
        (r"\p{L}", LETTER),
        (r"\p{N}", NUMBER),
        (r"\s", SPACE),
        (r"\p{M}", MARK),
        (r"[\p{Lu}\p{Lt}]", UPPER),
        (r"\p{Ll}", LOWER),
        (r"[\r\n]", LINE_END),
    ];
    let mut bits = vec![0_u8; char::MAX as usize + 1];
    for (pattern, bit) in PATTERNS {
        for (first, last) in ranges(pattern) {
            bits[first as usize..=last as usize].iter_mut().for_each(|bits| *bits |= bit);
        }
    }
    let (all, _) = bits.as_chunks::<256>();
    let (mut known, mut distinct) = (HashMap::new(), Vec::new());
    let number = |page: &[u8; 256]| {
        *known.entry(*page).or_insert_with(|| {
            distinct.push(*page);
            (distinct.len() - 1) as u16
        })
    };
    let page_of = all.iter().map(number).collect();
    let ascii = std::array::from_fn(|code| bits[code]);
    Pages { ascii, page_of, pages: distinct }
}

/// The characters of a class, as the regular expressions of the `regex` crates understand it.
fn ranges(pattern: &str) -> Vec<(char, char)> {
    let class = regex_syntax::parse(pattern).expect("the pattern is constant and tested");
    match class.into_kind() {
        HirKind::Class(Class::Unicode(class)) => {
            class.ranges().iter().map(|range| (range.start(), range.end())).collect()
        }
        other => unreachable!("{pattern} is a class of characters, not {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_those_of_unicode() {
        let classes = Classes::get();
        let cases = [
            ('a', LETTER | LOWER),
            ('Z', LETTER | UPPER),
            ('ǅ', LETTER | UPPER),
            ('花', LETTER),
            ('ʰ', LETTER),
            ('7', NUMBER),
            ('Ⅷ', NUMBER),
            ('٣', NUMBER),
            (' ', SPACE),
            ('\n', SPACE | LINE_END),
            ('\u{3000}', SPACE),
            ('\u{301}', MARK),
            ('!', 0),
            ('\u{10FFFF}', 0),
        ];
        for (character, expected) in cases {
            assert_eq!(classes.of(character), expected, "{character:?}");
        }
        assert_eq!(classes.look("aé", 0), (LETTER | LOWER, 1));
        assert_eq!(classes.look("aé", 1), (LETTER | LOWER, 2));
        assert_eq!(classes.look("aé", 3), (0, 0));
        for code in 0..=0x10FFFF {
            let Some(character) = char::from_u32(code) else { continue };
            assert_eq!(classes.of(character) & SPACE > 0, character.is_whitespace(), "{code:x}");
        }
    }
}
