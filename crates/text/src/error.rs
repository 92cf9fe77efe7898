//! What can go wrong with tokenizers and text.

/// The crate's result.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, where, and what was expected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The tokenizer file is damaged, or lies about itself.
    #[error("tokenizer.json is corrupt: {0}")]
    Corrupt(String),
    /// The tokenizer file is larger than any honest one.
    #[error("tokenizer.json has {found} bytes; at most {limit} are read")]
    FileTooLarge {
        /// Bytes given.
        found: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The tokenizer within a GGUF file is damaged, or of a kind that is not known.
    #[error("the file's tokenizer cannot be used: {0}")]
    Vocabulary(String),
    /// A chat template that cannot be read, or that refuses a conversation.
    #[error("the chat template fails at line {line}: {why}")]
    Template {
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        why: String,
    },
    /// `tokenizer_config.json` cannot be read.
    #[error("tokenizer_config.json is corrupt: {0}")]
    Config(String),
    /// A token that the files name is not in the vocabulary.
    #[error("the token {0:?} is not in the tokenizer's vocabulary")]
    UnknownToken(String),
    /// The text is longer than one call may encode.
    #[error("a text of {found} bytes is too long to encode at once; at most {limit} bytes are")]
    TextTooLong {
        /// Bytes given.
        found: usize,
        /// Bytes allowed with this tokenizer.
        limit: usize,
    },
    /// More ids than one call may decode.
    #[error("{found} tokens are too many to decode at once; at most {limit} are")]
    TooManyTokens {
        /// Ids given.
        found: usize,
        /// Ids allowed.
        limit: usize,
    },
    /// The library gave up on this text.
    #[error("the tokenizer failed to {what}: {reason}")]
    Library {
        /// `encode`, `decode`, …
        what: &'static str,
        /// The library's own words.
        reason: String,
    },
    /// A grammar that cannot be used, or an answer that cannot go on by it.
    #[error("the {kind} cannot be used: {why}")]
    Grammar {
        /// `JSON schema`, `regular expression`, …
        kind: &'static str,
        /// Why not.
        why: String,
    },
    /// A training option that makes no sense.
    #[error("{what} is {found}; expected {expected}")]
    Option {
        /// The option's name.
        what: &'static str,
        /// Its value.
        found: String,
        /// What it may be.
        expected: String,
    },
    /// There was no text to train on.
    #[error("a tokenizer cannot be trained: the texts are empty")]
    NoText,
    /// The job was asked to stop.
    #[error("training the tokenizer was cancelled")]
    Cancelled,
}
