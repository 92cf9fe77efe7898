//! The way from text to ids that most tokenizers go: added tokens apart, the text between them by one of four methods.
//!
//! The library follows every character of a text through each of its steps, with its offsets, which takes most of its
//! time. Here nothing but ids is asked for, and the ids of a word are remembered. They are the library's ids: where
//! that cannot be told for a text, [`Encoder::encode`] gives nothing, and the library must be asked.

use unicode_normalization_alignments::is_nfc;

use crate::added::{Added, Part, Wanted};
use crate::byte_bpe::ByteBpe;
use crate::characters::Characters;
use crate::memory::{Memories, Memory};
use crate::pieces::Pieces;
use crate::word_piece::WordPiece;

/// What encodes.
#[derive(Debug)]
pub(crate) struct Encoder {
    pub(crate) method: Method,
    pub(crate) added: Added,
    /// Whether texts are brought into Unicode's composed form (NFC) first; those that are not in it are the library's.
    pub(crate) composed: bool,
    /// What stands around a text for the model; nothing where only the library knows.
    pub(crate) frame: Option<Frame>,
    pub(crate) memories: Memories,
}

/// How text becomes ids.
#[derive(Debug)]
pub(crate) enum Method {
    Bytes(ByteBpe),
    Pieces(Pieces),
    Words(WordPiece),
    Characters(Characters),
}

/// The special tokens that a text gets, each with its type, as BERT's `[CLS] … [SEP]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) before: Vec<(u32, u32)>,
    /// The type of the text's own tokens.
    pub(crate) type_id: u32,
    pub(crate) after: Vec<(u32, u32)>,
}

impl Encoder {
    /// The ids of a text; nothing where the library must say.
    pub(crate) fn encode(&self, text: &str, wanted: Wanted) -> Option<Vec<u32>> {
        if self.composed && !text.is_ascii() && !is_nfc(text) {
            return None;
        }
        let mut ids = Vec::with_capacity(text.len() / 4 + 2);
        let done = self.memories.with(|memory| {
            self.added.parts(text, wanted, |part| match part {
                Part::Token(token) => {
                    ids.push(token.id);
                    !token.odd
                }
                Part::Text(text, first) => self.method.encode(text, first, memory, &mut ids),
            })
        });
        done.then_some(ids)
    }
}

impl Method {
    fn encode(&self, text: &str, first: bool, memory: &mut Memory, ids: &mut Vec<u32>) -> bool {
        match self {
            Self::Bytes(method) => method.encode(text, memory, ids),
            Self::Pieces(method) => method.encode(text, first, memory, ids),
            Self::Words(method) => return method.encode(text, memory, ids),
            Self::Characters(method) => method.encode(text, ids),
        }
        true
    }
}

impl Frame {
    /// How many tokens it adds.
    pub(crate) fn len(&self) -> usize {
        self.before.len() + self.after.len()
    }

    /// Ids and types of a text with what stands around it.
    pub(crate) fn around(&self, ids: &[u32]) -> (Vec<u32>, Vec<u32>) {
        let text = ids.iter().map(|&id| (id, self.type_id));
        self.before.iter().copied().chain(text).chain(self.after.iter().copied()).unzip()
    }
}
