//! Tokenizers as GGUF files carry them: the values of the `tokenizer.*` keys.
//!
//! Reading the file is another crate's work; here is what it fills in.

mod build;
mod check;
mod export;
mod import;
mod pre;

pub(crate) use build::{Built, CONTINUES, build};
pub(crate) use check::check;
pub(crate) use export::tokenizer_json;
pub use import::Imported;
pub(crate) use import::import;

/// The tokenizer of a GGUF file, value by value. A field that the file lacks stays as [`Vocabulary::default`] has it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Vocabulary {
    /// `tokenizer.ggml.model`: `gpt2` (byte-level BPE), `llama` (SentencePiece), `bert` (WordPiece) or `t5` (Unigram).
    pub model: String,
    /// `tokenizer.ggml.pre`: how byte-level BPE cuts texts before it merges.
    pub pre: Option<String>,
    /// `tokenizer.ggml.tokens`: the token of each id.
    pub tokens: Vec<String>,
    /// `tokenizer.ggml.scores`: of each token; empty where there are none.
    pub scores: Vec<f32>,
    /// `tokenizer.ggml.token_type`: the number of each token's [`Kind`]; empty where there are none.
    pub kinds: Vec<i32>,
    /// `tokenizer.ggml.merges`: pairs with a space between, the first to be merged first.
    pub merges: Vec<String>,
    /// `tokenizer.ggml.precompiled_charsmap`: how Unigram normalizes, in SentencePiece's own form.
    pub precompiled_charsmap: Vec<u8>,
    /// The tokens with a role.
    pub special: Special,
    /// `tokenizer.ggml.add_bos_token`.
    pub add_bos: Option<bool>,
    /// `tokenizer.ggml.add_eos_token`.
    pub add_eos: Option<bool>,
    /// `tokenizer.ggml.add_sep_token`.
    pub add_separator: Option<bool>,
    /// `tokenizer.ggml.add_space_prefix`: whether a text is read as if a space stood before it.
    pub add_space_prefix: Option<bool>,
    /// `tokenizer.ggml.remove_extra_whitespaces`.
    pub remove_extra_whitespaces: Option<bool>,
    /// `tokenizer.ggml.normalizer.lowercase`, of `bert`.
    pub lowercase: Option<bool>,
    /// `tokenizer.ggml.normalizer.strip_accents`, of `bert`; where the file lacks it, as `lowercase`.
    pub strip_accents: Option<bool>,
    /// `tokenizer.chat_template`.
    pub chat_template: Option<String>,
}

/// The ids of tokens with a role; each key is `tokenizer.ggml.NAME_token_id`, NAME standing behind each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Special {
    /// `bos`: begins a text.
    pub bos: Option<u32>,
    /// `eos`: ends a text.
    pub eos: Option<u32>,
    /// `eot`: ends a turn of a conversation.
    pub eot: Option<u32>,
    /// `eom`: ends a message that goes on.
    pub eom: Option<u32>,
    /// `unknown`: stands for what no token spells.
    pub unknown: Option<u32>,
    /// `seperator`, as the key is spelled: stands between two texts.
    pub separator: Option<u32>,
    /// `padding`.
    pub padding: Option<u32>,
    /// `cls`: begins a text for an encoder.
    pub cls: Option<u32>,
    /// `mask`: hides another token.
    pub mask: Option<u32>,
    /// `fim_pre` (`prefix` in older files): stands before the text ahead of a gap.
    pub prefix: Option<u32>,
    /// `fim_suf` (`suffix` in older files): stands before the text behind a gap.
    pub suffix: Option<u32>,
    /// `fim_mid` (`middle` in older files): stands before what fills the gap.
    pub middle: Option<u32>,
}

/// What a token is, as GGUF numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text (1, and any number that is none of the others).
    Normal,
    /// Stands for what no token spells (2).
    Unknown,
    /// Has a role and stands for no text (3).
    Control,
    /// Text that is always one token (4).
    UserDefined,
    /// Never used (5).
    Unused,
    /// One byte, spelled `<0x0A>` (6).
    Byte,
}

impl Kind {
    /// The kind of a number.
    pub fn of(number: i32) -> Self {
        match number {
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            5 => Self::Unused,
            6 => Self::Byte,
            _ => Self::Normal,
        }
    }
}

impl Vocabulary {
    /// The kind of a token; [`Kind::Normal`] where the file does not say.
    pub fn kind(&self, id: usize) -> Kind {
        self.kinds.get(id).map_or(Kind::Normal, |&number| Kind::of(number))
    }
}
