//! WordPiece as BERT has it: a text is cleaned, cut at white space and punctuation, and each word is spelled by the
//! longest tokens that fit, from the left.

use unicode_categories::UnicodeCategories;
use unicode_normalization_alignments::char::{canonical_combining_class, decompose_canonical};

use crate::memory::Memory;
use crate::table::Table;

/// What encodes, and all that it knows.
#[derive(Debug)]
pub(crate) struct WordPiece {
    /// Tokens that begin a word.
    pub(crate) first: Table,
    /// Tokens that go on with one, without the mark of that; others are gaps.
    pub(crate) later: Table,
    /// The longest of both.
    pub(crate) token_bytes_max: usize,
    pub(crate) unknown: u32,
    /// Longer words are unknown.
    pub(crate) word_characters_max: usize,
    pub(crate) cleaning: Cleaning,
}

/// What is done to a text first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cleaning {
    /// Drop control characters.
    pub(crate) controls: bool,
    /// Let each Chinese character be a word.
    pub(crate) chinese: bool,
    /// Drop accents.
    pub(crate) accents: bool,
    pub(crate) lowercase: bool,
}

impl WordPiece {
    /// Both tables, of tokens with the mark of those that go on with a word.
    pub(crate) fn tables<'a>(tokens: impl ExactSizeIterator<Item = &'a [u8]> + Clone, mark: &[u8]) -> (Table, Table) {
        let later = tokens.clone().map(|token| token.strip_prefix(mark).unwrap_or_default());
        (Table::new(tokens), Table::new(later))
    }

    /// Appends the ids of a text; says no where its characters must be put in another order first, which is left to
    /// the library.
    pub(crate) fn encode(&self, text: &str, memory: &mut Memory, ids: &mut Vec<u32>) -> bool {
        let mut word = std::mem::take(&mut memory.word);
        word.clear();
        let done = text.chars().all(|character| match character.is_ascii() {
            true => {
                self.ascii(character, &mut word, memory, ids);
                true
            }
            false => self.other(character, &mut word, memory, ids),
        });
        if done {
            self.end_word(&mut word, memory, ids);
        }
        memory.word = word;
        done
    }

    #[inline]
    fn ascii(&self, character: char, word: &mut String, memory: &mut Memory, ids: &mut Vec<u32>) {
        match character {
            'a'..='z' | '0'..='9' => word.push(character),
            'A'..='Z' if self.cleaning.lowercase => word.push(character.to_ascii_lowercase()),
            ' ' | '\t' | '\n' | '\r' => self.end_word(word, memory, ids),
            '\0'..='\x1F' | '\x7F' if self.cleaning.controls => {}
            _ => self.put(character, word, memory, ids),
        }
    }

    /// A character beyond ASCII; whether the library need not be asked.
    fn other(&self, character: char, word: &mut String, memory: &mut Memory, ids: &mut Vec<u32>) -> bool {
        let cleaning = self.cleaning;
        if cleaning.controls && (character == char::REPLACEMENT_CHARACTER || character.is_other()) {
            return true;
        }
        let alone = cleaning.chinese && is_chinese(character);
        if alone {
            self.end_word(word, memory, ids);
        }
        let mut in_order = true;
        let mut put = |character: char| match cleaning.lowercase {
            true => character.to_lowercase().for_each(|lower| self.put(lower, word, memory, ids)),
            false => self.put(character, word, memory, ids),
        };
        if cleaning.accents {
            decompose_canonical(character, |part| {
                if part.is_mark_nonspacing() {
                    return;
                }
                in_order &= canonical_combining_class(part) == 0;
                put(part);
            });
        } else {
            put(character);
        }
        if alone {
            self.end_word(word, memory, ids);
        }
        in_order
    }

    /// A character as it is to be read.
    fn put(&self, character: char, word: &mut String, memory: &mut Memory, ids: &mut Vec<u32>) {
        if character.is_whitespace() {
            self.end_word(word, memory, ids);
        } else if character.is_ascii_punctuation() || (!character.is_ascii() && character.is_punctuation()) {
            self.end_word(word, memory, ids);
            word.push(character);
            self.end_word(word, memory, ids);
        } else {
            word.push(character);
        }
    }

    fn end_word(&self, word: &mut String, memory: &mut Memory, ids: &mut Vec<u32>) {
        if word.is_empty() {
            return;
        }
        if let Err(unknown) = memory.recall(word.as_bytes(), ids) {
            let first = ids.len();
            if !self.spell(word, ids) {
                ids.truncate(first);
                ids.push(self.unknown);
            }
            memory.keep(unknown, word.as_bytes(), &ids[first..]);
        }
        word.clear();
    }

    /// Appends the tokens of a word; says no where it has none.
    fn spell(&self, word: &str, ids: &mut Vec<u32>) -> bool {
        if word.len() > self.word_characters_max && word.chars().count() > self.word_characters_max {
            return false;
        }
        let mut start = 0;
        while start < word.len() {
            let table = if start == 0 { &self.first } else { &self.later };
            let longest = word.floor_char_boundary(start + self.token_bytes_max);
            let ends = (start + 1..=longest).rev().filter(|&end| word.is_char_boundary(end));
            let found = ends.map(|end| (end, table.find(&word.as_bytes()[start..end])));
            let Some((end, id)) = found.filter_map(|(end, id)| Some((end, id?))).next() else { return false };
            ids.push(id);
            start = end;
        }
        true
    }
}

/// What BERT takes for Chinese; the odd borders are those of the library.
fn is_chinese(character: char) -> bool {
    matches!(
        u32::from(character),
        0x4E00..=0x9FFF
            | 0x3400..=0x4DBF
            | 0x20000..=0x2A6DF
            | 0x2A700..=0x2B73F
            | 0x2B740..=0x2B81F
            | 0x2B920..=0x2CEAF
            | 0xF900..=0xFAFF
            | 0x2F800..=0x2FA1F
    )
}
