//! The endless stream of tokens.

use std::path::PathBuf;
use std::sync::Arc;

use luban_text::Tokenizer;
use serde::{Deserialize, Serialize};

use crate::corpus::Documents;
use crate::{Corpus, Error, Result, Split};

/// A token's place in the stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cursor {
    /// Passes through the documents that are finished.
    pub epoch: u64,
    /// The byte of the corpus file at which the token's document begins.
    pub offset: u64,
    /// Tokens of that document before it; the first is the end-of-text token that stands before the document.
    pub token: usize,
}

/// Reads documents and encodes them one at a time, for ever.
#[derive(Debug)]
pub(super) struct TokenStream {
    dir: PathBuf,
    split: Split,
    tokenizer: Arc<Tokenizer>,
    eos: u32,
    documents: Documents,
    /// The tokens of the current document; empty before the first.
    tokens: Vec<u32>,
    at: Cursor,
}

impl TokenStream {
    pub(super) fn open(corpus: &Corpus, split: Split, tokenizer: Arc<Tokenizer>) -> Result<Self> {
        let eos = tokenizer.eos().ok_or(Error::NoEndOfText)?;
        let documents = corpus.documents(split)?;
        let dir = corpus.dir().to_owned();
        Ok(Self { dir, split, tokenizer, eos, documents, tokens: Vec::new(), at: Cursor::default() })
    }

    /// Reads ahead until there are enough tokens, then goes back to the start.
    pub(super) fn check_long_enough(&mut self, needed: usize) -> Result<()> {
        let mut tokens = 0;
        while tokens < needed {
            if !self.load()? {
                let (dir, split) = (self.dir.clone(), self.split);
                return Err(Error::TooShort { dir, split, tokens: tokens as u64, needed });
            }
            tokens += self.tokens.len();
        }
        self.rewind()
    }

    /// The place of the next token, which may be one past the end of its document.
    pub(super) fn cursor(&self) -> Cursor {
        self.at
    }

    /// The place of the next token, in the document that holds it.
    pub(super) fn settled(&mut self) -> Result<Cursor> {
        while self.at.token >= self.tokens.len() {
            if !self.load()? {
                let epoch = self.at.epoch + 1;
                self.rewind()?;
                self.at.epoch = epoch;
            }
        }
        Ok(self.at)
    }

    pub(super) fn peek(&mut self) -> Result<u32> {
        let at = self.settled()?;
        Ok(self.tokens[at.token])
    }

    pub(super) fn next(&mut self) -> Result<u32> {
        let token = self.peek()?;
        self.at.token += 1;
        Ok(token)
    }

    pub(super) fn seek(&mut self, cursor: &Cursor) -> Result<()> {
        self.documents.seek(cursor.offset).map_err(|error| self.misfit(error.to_string()))?;
        (self.tokens, self.at) = (Vec::new(), Cursor { token: 0, ..*cursor });
        let loaded = self.load().map_err(|error| self.misfit(error.to_string()))?;
        if !loaded || cursor.token > self.tokens.len() {
            let reason = format!("there is no token {} in a document at byte {}", cursor.token, cursor.offset);
            return Err(self.misfit(reason));
        }
        self.at.token = cursor.token;
        Ok(())
    }

    pub(super) fn misfit(&self, reason: String) -> Error {
        Error::Position { dir: self.dir.clone(), reason }
    }

    /// Goes to the first token of the next document; false after the last document.
    fn load(&mut self) -> Result<bool> {
        let offset = self.documents.offset();
        let Some(document) = self.documents.next().transpose()? else { return Ok(false) };
        self.tokens.clear();
        self.tokens.push(self.eos);
        self.tokens.extend(self.tokenizer.encode_ordinary(&document.text)?);
        self.at = Cursor { epoch: self.at.epoch, offset, token: 0 };
        Ok(true)
    }

    fn rewind(&mut self) -> Result<()> {
        self.documents.seek(0)?;
        (self.tokens, self.at) = (Vec::new(), Cursor { epoch: self.at.epoch, offset: 0, token: 0 });
        Ok(())
    }
}
