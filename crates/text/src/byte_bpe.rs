//! Byte-level BPE: a text is cut into words, and the bytes of each word are merged.

use std::sync::Arc;

use crate::alphabet;
use crate::bpe::{Merges, NONE};
use crate::cut::{Step, cut};
use crate::memory::Memory;
use crate::table::Table;

/// What encodes, and all that it knows.
#[derive(Debug)]
pub(crate) struct ByteBpe {
    /// How words are cut.
    pub(crate) steps: Vec<Step>,
    /// Whether a text without a space before it gets one.
    pub(crate) space_before: bool,
    /// The token of each byte; none where the vocabulary leaves it out, and then the byte is lost.
    pub(crate) byte_ids: Box<[u32; 256]>,
    pub(crate) merges: Merges,
    /// Tokens as the vocabulary spells them, where a word that is one needs no merges.
    pub(crate) whole: Option<Arc<Table>>,
}

impl ByteBpe {
    /// The tokens of the single bytes.
    pub(crate) fn byte_ids(id: impl Fn(&str) -> Option<u32>) -> Box<[u32; 256]> {
        Box::new(alphabet::byte_to_char().map(|character| id(character.encode_utf8(&mut [0; 4])).unwrap_or(NONE)))
    }

    /// Appends the ids of a text.
    pub(crate) fn encode(&self, text: &str, memory: &mut Memory, ids: &mut Vec<u32>) {
        if self.space_before && !text.is_empty() && !text.starts_with(' ') {
            let mut whole = std::mem::take(&mut memory.text);
            whole.clear();
            whole.extend([" ", text]);
            self.encode_words(&whole, memory, ids);
            memory.text = whole;
        } else {
            self.encode_words(text, memory, ids);
        }
    }

    fn encode_words(&self, text: &str, memory: &mut Memory, ids: &mut Vec<u32>) {
        cut(&self.steps, text, &mut |word| {
            let word = word.as_bytes();
            if let Err(unknown) = memory.recall(word, ids) {
                let first = ids.len();
                self.encode_word(word, memory, ids);
                memory.keep(unknown, word, &ids[first..]);
            }
        });
    }

    fn encode_word(&self, word: &[u8], memory: &mut Memory, ids: &mut Vec<u32>) {
        if let Some(whole) = &self.whole {
            alphabet::spell_into(word, &mut memory.word);
            if let Some(id) = whole.find(memory.word.as_bytes()) {
                return ids.push(id);
            }
        }
        let symbols = &mut memory.tokens.symbols;
        symbols.clear();
        symbols.extend(word.iter().map(|&byte| self.byte_ids[usize::from(byte)]).filter(|&id| id != NONE));
        memory.tokens.merge(|left, right| self.merges.find(left, right));
        ids.extend_from_slice(&memory.tokens.symbols);
    }
}
