//! The patterns, scanned by hand: each function gives the end of the word that begins at a place.

use super::{Tail, Words};
use crate::classes::{Classes, LETTER, LINE_END, LOWER, MARK, NUMBER, SPACE, UPPER};

/// A text, and the classes of its characters.
pub(super) struct Scanner<'t> {
    pub(super) text: &'t str,
    pub(super) classes: Classes,
}

impl Scanner<'_> {
    /// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
    pub(super) fn gpt2(&self, at: usize) -> usize {
        let (bits, length) = self.look(at);
        if let Some(end) = self.contraction(at, false) {
            return end;
        }
        let (start, bits, length) = match self.byte(at) {
            Some(b' ') => {
                let (bits, length) = self.look(at + 1);
                (at + 1, bits, length)
            }
            _ => (at, bits, length),
        };
        let after = start + length;
        match bits {
            _ if length == 0 || bits & SPACE > 0 => self.white(at),
            _ if bits & LETTER > 0 => self.run(after, LETTER),
            _ if bits & NUMBER > 0 => self.run(after, NUMBER),
            _ => self.run_without(after, SPACE | LETTER | NUMBER),
        }
    }

    /// GPT-4's pattern and its kin:
    /// `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
    pub(super) fn word(&self, at: usize, words: &Words) -> usize {
        let (bits, length) = self.look(at);
        if words.contractions
            && let Some(end) = self.contraction(at, true)
        {
            return end;
        }
        if bits & words.letters > 0 {
            return self.run(at + length, words.letters);
        }
        if bits & (words.not_before | LINE_END) == 0 {
            let (next, more) = self.look(at + length);
            if next & words.letters > 0 {
                return self.run(at + length + more, words.letters);
            }
        }
        self.number_or_other(at, words)
    }

    /// GPT-4o's pattern and its kin, where a word ends before an upper-case letter that follows a lower-case one:
    /// `[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?`, the
    /// same with `+` and `*` the other way round, and then as GPT-4's.
    pub(super) fn cased(&self, at: usize, words: &Words) -> usize {
        let (bits, length) = self.look(at);
        let with_first = bits & (words.not_before | LINE_END) == 0;
        let starts = [with_first.then_some(at + length), Some(at)];
        let starts = || starts.into_iter().flatten();
        let end = starts().find_map(|start| self.upper_and_lower(start));
        let end = end.or_else(|| starts().find_map(|start| self.upper(start)));
        match end {
            Some(end) if words.contractions => self.contraction(end, true).unwrap_or(end),
            Some(end) => end,
            None => self.number_or_other(at, words),
        }
    }

    /// Each digit by itself, and what stands between digits.
    pub(super) fn digit(&self, at: usize) -> usize {
        // The library asks the standard library what a digit is, not Unicode's tables of the engine.
        let rest = &self.text[at..];
        match rest.find(char::is_numeric) {
            Some(0) => at + rest.chars().next().map_or(0, char::len_utf8),
            Some(length) => at + length,
            None => self.text.len(),
        }
    }

    /// Upper case, then lower case at least once. What is both may be either, as late as possible.
    fn upper_and_lower(&self, start: usize) -> Option<usize> {
        let upper_end = self.run_where(start, is_upper);
        let end = self.run_where(upper_end, is_lower);
        if end > upper_end {
            return Some(end);
        }
        let upper = self.text[start..upper_end].char_indices().rev();
        let mut both = upper.filter(|&(_, character)| is_lower(self.classes.of(character)));
        both.next().map(|(at, character)| start + at + character.len_utf8())
    }

    /// Upper case at least once, then lower case.
    fn upper(&self, start: usize) -> Option<usize> {
        let end = self.run_where(start, is_upper);
        (end > start).then(|| self.run_where(end, is_lower))
    }

    fn number_or_other(&self, at: usize, words: &Words) -> usize {
        let (bits, length) = self.look(at);
        if bits & NUMBER > 0 {
            let mut end = at + length;
            for _ in 1..words.digits_max {
                match self.look(end) {
                    (bits, length) if bits & NUMBER > 0 => end += length,
                    _ => break,
                }
            }
            return end;
        }
        let start = if self.byte(at) == Some(b' ') { at + 1 } else { at };
        let none_of = SPACE | NUMBER | words.letters;
        let end = self.run_without(start, none_of);
        match end > start {
            true => self.tail(end, words.tail),
            false if words.white_is_cut => self.white_of_lines(at),
            false => self.run(at, SPACE),
        }
    }

    fn tail(&self, at: usize, tail: Tail) -> usize {
        let bytes = &self.text.as_bytes()[at..];
        let count = |bytes: &[u8], these: &[u8]| bytes.iter().take_while(|byte| these.contains(byte)).count();
        match tail {
            Tail::Lines => at + count(bytes, b"\r\n"),
            Tail::Slashes => at + count(bytes, b"\r\n/"),
            Tail::Indent => {
                let lines = count(bytes, b"\r\n");
                at + lines + if lines > 0 { count(&bytes[lines..], b" \t") } else { 0 }
            }
        }
    }

    /// `\s*[\r\n]+|\s+(?!\S)|\s+`
    fn white_of_lines(&self, at: usize) -> usize {
        let run = &self.text.as_bytes()[at..self.run(at, SPACE)];
        match run.iter().rposition(|byte| b"\r\n".contains(byte)) {
            Some(last) => at + last + 1,
            None => self.white(at),
        }
    }

    /// `\s+(?!\S)|\s+`: all but the last character, which goes with the word that follows, if there is one.
    fn white(&self, at: usize) -> usize {
        let end = self.run(at, SPACE);
        if end == self.text.len() {
            return end;
        }
        let last = self.text[at..end].chars().next_back().map_or(0, char::len_utf8);
        if at + last < end { end - last } else { end }
    }

    /// `'s|'t|'re|'ve|'m|'ll|'d`, in any case if asked for.
    #[inline]
    fn contraction(&self, at: usize, any_case: bool) -> Option<usize> {
        if self.byte(at) != Some(b'\'') {
            return None;
        }
        let fold = |byte: u8| if any_case { byte.to_ascii_lowercase() } else { byte };
        match *self.text.as_bytes().get(at + 1..)? {
            [a, ..] if matches!(fold(a), b's' | b't' | b'm' | b'd') => Some(at + 2),
            [a, b, ..] if matches!([fold(a), fold(b)], [b'r' | b'v', b'e'] | [b'l', b'l']) => Some(at + 3),
            // The long s is an s in another case.
            [0xC5, 0xBF, ..] if any_case => Some(at + 3),
            _ => None,
        }
    }

    /// The end of the characters from a place on that have one of these classes.
    #[inline]
    fn run(&self, at: usize, classes: u8) -> usize {
        self.run_where(at, |bits| bits & classes > 0)
    }

    /// The end of the characters from a place on that have none of these classes.
    #[inline]
    fn run_without(&self, at: usize, classes: u8) -> usize {
        self.run_where(at, |bits| bits & classes == 0)
    }

    #[inline]
    fn run_where(&self, mut at: usize, wanted: impl Fn(u8) -> bool) -> usize {
        loop {
            let (bits, length) = self.look(at);
            if length == 0 || !wanted(bits) {
                return at;
            }
            at += length;
        }
    }

    #[inline]
    fn look(&self, at: usize) -> (u8, usize) {
        self.classes.look(self.text, at)
    }

    #[inline]
    fn byte(&self, at: usize) -> Option<u8> {
        self.text.as_bytes().get(at).copied()
    }
}

/// `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`
#[inline]
fn is_upper(bits: u8) -> bool {
    bits & MARK > 0 || bits & (LETTER | LOWER) == LETTER
}

/// `[\p{Ll}\p{Lm}\p{Lo}\p{M}]`
#[inline]
fn is_lower(bits: u8) -> bool {
    bits & MARK > 0 || bits & (LETTER | UPPER) == LETTER
}
