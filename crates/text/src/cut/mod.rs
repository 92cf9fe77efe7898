//! Cutting texts into words before BPE merges within each.
//!
//! Tokenizers say where to cut by regular expressions, of which a few, with small variations, serve nearly all models.
//! Those are scanned here by hand, by the classes of characters; the others run through a regular-expression engine.

mod known;
mod scan;

use tokenizers::utils::SysRegex;

use crate::classes::{Classes, LETTER, MARK, NUMBER};
use scan::Scanner;

pub(crate) use known::{scanned, to_json};

/// One way of cutting; what is left between its cuts stays whole.
#[derive(Debug)]
pub(crate) enum Step {
    /// GPT-2's pattern.
    Gpt2,
    /// The pattern of GPT-4 and its kin.
    Words(Words),
    /// The pattern of GPT-4o and its kin, which looks at upper and lower case.
    Cased(Words),
    /// Each digit by itself.
    Digits,
    /// Any other pattern, as it is written and as the engine reads it.
    Pattern(String, Box<SysRegex>),
}

/// What varies among the patterns that cut words as GPT-4's does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Words {
    /// The classes that words are made of: [`LETTER`], perhaps [`MARK`].
    pub(crate) letters: u8,
    /// The classes that cannot stand before a word in its first place, beside line ends.
    pub(crate) not_before: u8,
    /// Most digits of a number.
    pub(crate) digits_max: usize,
    /// Whether `'s`, `'ll` and the like are words.
    pub(crate) contractions: bool,
    /// What punctuation takes along.
    pub(crate) tail: Tail,
    /// Whether white space is cut behind its last line end, and before its last character where a word follows.
    pub(crate) white_is_cut: bool,
}

/// What follows punctuation within one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tail {
    /// Line ends.
    Lines,
    /// Line ends and slashes.
    Slashes,
    /// Line ends, and then blanks and tabs.
    Indent,
}

/// GPT-4's own, which is also Llama 3's.
pub(crate) const GPT4: Words = Words {
    letters: LETTER,
    not_before: LETTER | NUMBER,
    digits_max: 3,
    contractions: true,
    tail: Tail::Lines,
    white_is_cut: true,
};

/// Qwen 2's: digits stand alone.
pub(crate) const QWEN2: Words = Words { digits_max: 1, ..GPT4 };

/// Qwen 3.5's: marks belong to words.
pub(crate) const QWEN35: Words = Words { letters: LETTER | MARK, ..QWEN2 };

/// GPT-4o's, with [`Step::Cased`].
pub(crate) const GPT4O: Words = Words { tail: Tail::Slashes, ..GPT4 };

/// Mistral's Tekken, with [`Step::Cased`].
pub(crate) const TEKKEN: Words = Words { digits_max: 1, contractions: false, ..GPT4O };

/// That of the tokenizers that are trained here.
pub(crate) const OURS: Words = Words {
    letters: LETTER | MARK,
    not_before: LETTER | MARK | NUMBER,
    digits_max: 3,
    contractions: false,
    tail: Tail::Indent,
    white_is_cut: false,
};

impl Step {
    /// A step that cuts by a pattern: by hand where it is known, by an engine where not.
    ///
    /// # Errors
    /// The engine's own words on a pattern that it cannot read.
    pub(crate) fn of_pattern(pattern: &str) -> Result<Self, String> {
        match scanned(pattern) {
            Some(step) => Ok(step),
            None => {
                let engine = SysRegex::new(pattern).map_err(|error| error.to_string())?;
                Ok(Self::Pattern(pattern.to_owned(), Box::new(engine)))
            }
        }
    }
}

/// Cuts a text by each step in turn, and gives away the words in order.
pub(crate) fn cut<'t>(steps: &[Step], text: &'t str, each: &mut impl FnMut(&'t str)) {
    let Some((step, rest)) = steps.split_first() else {
        if !text.is_empty() {
            each(text);
        }
        return;
    };
    let scanner = Scanner { text, classes: Classes::get() };
    match step {
        Step::Gpt2 => cut_at(text, |at| scanner.gpt2(at), rest, each),
        Step::Words(words) => cut_at(text, |at| scanner.word(at, words), rest, each),
        Step::Cased(words) => cut_at(text, |at| scanner.cased(at, words), rest, each),
        Step::Digits => cut_at(text, |at| scanner.digit(at), rest, each),
        Step::Pattern(_, pattern) => {
            let mut done = 0;
            for (start, end) in pattern.find_iter(text) {
                cut(rest, &text[done..start], each);
                cut(rest, &text[start..end], each);
                done = end;
            }
            cut(rest, &text[done..], each);
        }
    }
}

/// Cuts where a function says: from each place to the next.
#[inline]
fn cut_at<'t>(text: &'t str, next: impl Fn(usize) -> usize, rest: &[Step], each: &mut impl FnMut(&'t str)) {
    let mut at = 0;
    while at < text.len() {
        let end = next(at);
        match rest {
            [] => each(&text[at..end]),
            rest => cut(rest, &text[at..end], each),
        }
        at = end;
    }
}

#[cfg(test)]
mod tests;
