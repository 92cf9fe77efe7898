//! SentencePiece's BPE: the characters of a text are merged, a space being `▁`; what no token spells is spelled in bytes.
//!
//! Merges go by scores of tokens, as in SentencePiece, or by an order of pairs, as in files of Hugging Face. A text has
//! no words here, but no merge joins two characters that stand side by side in no token: there it can be cut.

use std::sync::Arc;

use crate::bpe::{Merges, NONE};
use crate::memory::Memory;
use crate::table::Table;

/// What SentencePiece writes for a space.
pub(crate) const SPACE: char = '\u{2581}';

/// What encodes, and all that it knows.
#[derive(Debug)]
pub(crate) struct Pieces {
    /// The tokens that text can become, as the vocabulary spells them; others are gaps.
    pub(crate) tokens: Arc<Table>,
    pub(crate) order: Order,
    pub(crate) space_before: SpaceBefore,
    /// The token of each byte.
    pub(crate) byte_ids: Option<Box<[u32; 256]>>,
    /// For what not even bytes spell.
    pub(crate) unknown: Unknown,
    pub(crate) joins: Joins,
}

/// Which merge comes first.
#[derive(Debug)]
pub(crate) enum Order {
    /// That whose result has the best score: the place of each token's score among all, the best being 0.
    Scores(Vec<u32>),
    /// That of the pair that was learnt first.
    Pairs(Merges),
}

/// When a text is read as if a space stood before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SpaceBefore {
    Never,
    /// Each part between special tokens.
    Always,
    /// The same, but where a space is there already.
    Missing,
    /// The text's first part alone, where no space is there.
    First,
}

/// What becomes of a character that neither tokens nor bytes spell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unknown {
    /// Its token; nothing where there is none.
    pub(crate) id: Option<u32>,
    /// Whether one token stands for several in a row.
    pub(crate) fused: bool,
}

impl Pieces {
    /// Appends the ids of a part of a text; `first` says whether it begins the text.
    pub(crate) fn encode(&self, text: &str, first: bool, memory: &mut Memory, ids: &mut Vec<u32>) {
        if text.is_empty() {
            return;
        }
        let missing = !text.starts_with([' ', SPACE]);
        let space = match self.space_before {
            SpaceBefore::Never => false,
            SpaceBefore::Always => true,
            SpaceBefore::Missing => missing,
            SpaceBefore::First => first && missing,
        };
        if !space {
            return self.encode_words(text, memory, ids);
        }
        let mut whole = std::mem::take(&mut memory.text);
        whole.clear();
        whole.extend([" ", text]);
        self.encode_words(&whole, memory, ids);
        memory.text = whole;
    }

    fn encode_words(&self, text: &str, memory: &mut Memory, ids: &mut Vec<u32>) {
        self.joins.cut(text, |word| match memory.recall(word.as_bytes(), ids) {
            Ok(()) => {}
            Err(unknown) => {
                let first = ids.len();
                let mut spelled = std::mem::take(&mut memory.word);
                spelled.clear();
                spelled.extend(word.chars().map(|character| if character == ' ' { SPACE } else { character }));
                match &self.order {
                    Order::Scores(ranks) => self.encode_by_scores(&spelled, ranks, memory, ids),
                    Order::Pairs(merges) => self.encode_by_pairs(&spelled, merges, memory, ids),
                }
                memory.word = spelled;
                memory.keep(unknown, word.as_bytes(), &ids[first..]);
            }
        });
    }

    fn encode_by_scores(&self, word: &str, ranks: &[u32], memory: &mut Memory, ids: &mut Vec<u32>) {
        let work = &mut memory.parts;
        work.symbols.clear();
        let ends = |(at, character): (usize, char)| [at as u32, (at + character.len_utf8()) as u32];
        work.symbols.extend(word.char_indices().map(ends));
        let token = |start: u32, end: u32| self.tokens.find(&word.as_bytes()[start as usize..end as usize]);
        work.merge(|[start, _], [_, end]| match token(start, end) {
            Some(id) => (ranks[id as usize], [start, end]),
            None => (NONE, [start, end]),
        });
        let mut after_unknown = false;
        for &[start, end] in &work.symbols {
            match token(start, end) {
                Some(id) => ids.push(id),
                None => {
                    let character = &word.as_bytes()[start as usize..end as usize];
                    after_unknown = self.spell(character, after_unknown, ids);
                    continue;
                }
            }
            after_unknown = false;
        }
    }

    fn encode_by_pairs(&self, word: &str, merges: &Merges, memory: &mut Memory, ids: &mut Vec<u32>) {
        let work = &mut memory.tokens;
        work.symbols.clear();
        let mut after_unknown = false;
        for character in word.chars() {
            let mut buffer = [0; 4];
            let bytes = character.encode_utf8(&mut buffer).as_bytes();
            match self.tokens.find(bytes) {
                Some(id) => {
                    work.symbols.push(id);
                    after_unknown = false;
                }
                None => after_unknown = self.spell(bytes, after_unknown, &mut work.symbols),
            }
        }
        work.merge(|left, right| merges.find(left, right));
        ids.extend_from_slice(&work.symbols);
    }

    /// A character in bytes, or as an unknown one; whether it was unknown.
    fn spell(&self, character: &[u8], after_unknown: bool, ids: &mut Vec<u32>) -> bool {
        if let Some(byte_ids) = &self.byte_ids {
            ids.extend(character.iter().map(|&byte| byte_ids[usize::from(byte)]));
            return false;
        }
        if !(after_unknown && self.unknown.fused) {
            ids.extend(self.unknown.id);
        }
        self.unknown.id.is_some()
    }
}

/// Which characters stand side by side in a token of several.
pub(crate) struct Joins {
    /// By the kinds of the two: an ASCII character each, or [`OTHER`] for all others. Spaces are `▁`.
    pairs: Vec<[bool; KINDS]>,
}

/// The kind of characters beyond ASCII.
const OTHER: usize = 128;
const KINDS: usize = OTHER + 1;

impl std::fmt::Debug for Joins {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let count = self.pairs.iter().flatten().filter(|joined| **joined).count();
        formatter.debug_struct("Joins").field("pairs", &count).finish()
    }
}

impl Joins {
    /// Those of some tokens.
    pub(crate) fn of<'a>(tokens: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut pairs = vec![[false; KINDS]; KINDS];
        for token in tokens {
            let characters = token.utf8_chunks().flat_map(|chunk| chunk.valid().chars());
            let mut kinds = characters.map(kind);
            let Some(mut left) = kinds.next() else { continue };
            for right in kinds {
                pairs[left][right] = true;
                left = right;
            }
        }
        Self { pairs }
    }

    /// Of a vocabulary that does not tell: texts are not cut.
    pub(crate) fn everywhere() -> Self {
        Self { pairs: vec![[true; KINDS]; KINDS] }
    }

    /// Cuts a text where nothing joins.
    fn cut(&self, text: &str, mut each: impl FnMut(&str)) {
        let mut characters = text.char_indices();
        let Some((_, first)) = characters.next() else { return };
        let (mut start, mut left) = (0, kind(first));
        for (at, character) in characters {
            let right = kind(character);
            if !self.pairs[left][right] {
                each(&text[start..at]);
                start = at;
            }
            left = right;
        }
        each(&text[start..]);
    }
}

#[inline]
fn kind(character: char) -> usize {
    match character {
        SPACE => usize::from(b' '),
        other if other.is_ascii() => other as usize,
        _ => OTHER,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_where_no_token_joins() {
        let joins = Joins::of(["▁", "▁▁", "▁a", "ab", "花b"].into_iter().map(str::as_bytes));
        let mut words = Vec::new();
        joins.cut("ab  ab花花b b\nab▁", |word| words.push(word.to_owned()));
        assert_eq!(words, ["ab", "  ab", "花", "花b", " ", "b", "\n", "ab", "▁"]);
        joins.cut("", |_| panic!("no word"));
    }

    fn scored(tokens: &[(&str, u32)]) -> Pieces {
        let table = Table::new(tokens.iter().map(|(token, _)| token.as_bytes()).collect::<Vec<_>>().into_iter());
        Pieces {
            joins: Joins::everywhere(),
            tokens: Arc::new(table),
            order: Order::Scores(tokens.iter().map(|(_, rank)| *rank).collect()),
            space_before: SpaceBefore::Always,
            byte_ids: None,
            unknown: Unknown { id: Some(99), fused: true },
        }
    }

    #[test]
    fn scores_say_which_merge_comes_first() {
        // Of equal scores the leftmost: a a a becomes aa a.
        let pieces = scored(&[("▁", 9), ("a", 9), ("b", 9), ("aa", 3), ("ab", 2), ("▁a", 4), ("aab", 1)]);
        let ids = |text: &str| {
            let mut ids = Vec::new();
            pieces.encode(text, true, &mut Memory::default(), &mut ids);
            ids
        };
        assert_eq!(ids("aaa"), [0, 3, 1]);
        assert_eq!(ids("aaab"), [5, 6], "ab, then aab, then ▁a");
        assert_eq!(ids("aab"), [0, 6]);
        assert_eq!(ids("b花花b花"), [0, 2, 99, 2, 99]);
        assert_eq!(ids(""), [0; 0]);
    }
}
