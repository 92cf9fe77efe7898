//! Encoding character by character.
//!
//! BPE without merges gives each character its own token. The library makes a word of the whole text for that, with
//! offsets; a look-up for each character gives the same ids.

use std::collections::HashMap;

/// What a character without a token has in the table.
const NONE: u32 = u32::MAX;

/// The token of each character.
#[derive(Debug)]
pub(crate) struct Characters {
    ascii: Box<[u32; 128]>,
    others: HashMap<char, u32>,
    /// Of characters without a token; where there is none, they give nothing.
    unknown: Option<u32>,
}

impl Characters {
    /// By the tokens of a vocabulary, and the one of characters that have none.
    pub(crate) fn new(vocab: &[&str], unknown: Option<u32>) -> Self {
        let mut table = Self { ascii: Box::new([NONE; 128]), others: HashMap::new(), unknown };
        for (token, id) in vocab.iter().zip(0..) {
            let mut characters = token.chars();
            if let (Some(character), None) = (characters.next(), characters.next()) {
                match table.ascii.get_mut(character as usize) {
                    Some(slot) => *slot = id,
                    None => drop(table.others.insert(character, id)),
                }
            }
        }
        table
    }

    /// Appends the ids of a text.
    pub(crate) fn encode(&self, text: &str, ids: &mut Vec<u32>) {
        let id = |character: char| {
            let known = match self.ascii.get(character as usize) {
                Some(&id) => id,
                None => self.others.get(&character).copied().unwrap_or(NONE),
            };
            if known == NONE { self.unknown } else { Some(known) }
        };
        ids.extend(text.chars().filter_map(id));
    }
}
