//! Text from tokens as they come, in whole characters only.

use std::sync::Arc;

use crate::{Result, Tokenizer};

/// Tokens that a decoder without bytes of its own may hold back while their text looks unfinished: no character of
/// UTF-8 takes more than four byte tokens.
const PENDING_MAX: usize = 8;
/// Tokens that are kept for the sake of those that follow.
const WINDOW_MAX: usize = 64;

/// Decodes one sequence token by token. With a byte-level tokenizer, what [`Self::push`] and [`Self::finish`] give,
/// put together, is exactly what [`Tokenizer::decode`] gives for all tokens at once; other decoders may clean up
/// text across tokens, and then differ in white space.
#[derive(Clone, Debug)]
pub struct Stream {
    tokenizer: Arc<Tokenizer>,
    /// Byte-level: bytes of a character that is not complete yet, three at most.
    partial: Vec<u8>,
    /// Otherwise: the last tokens; the first `shown` of them are text already, kept since a decoder may look at
    /// what stands before (a leading space, say).
    window: Vec<u32>,
    shown: usize,
    /// Whether a space that comes next belongs to no text: SentencePiece puts one before each.
    at_start: bool,
}

impl Stream {
    /// Starts before the first token.
    pub fn new(tokenizer: Arc<Tokenizer>) -> Self {
        let at_start = tokenizer.has_space_before();
        Self { tokenizer, partial: Vec::new(), window: Vec::new(), shown: 0, at_start }
    }

    /// Starts behind a text, which the tokens go on with: a space before the first word is theirs.
    pub fn behind(tokenizer: Arc<Tokenizer>) -> Self {
        Self { at_start: false, ..Self::new(tokenizer) }
    }

    /// The text that one more token completes; empty while a character is incomplete.
    ///
    /// # Errors
    /// Where the library fails to decode; never for byte-level tokenizers.
    pub fn push(&mut self, id: u32) -> Result<String> {
        if self.tokenizer.is_byte_level() {
            let mut bytes = self.tokenizer.bytes_of(id);
            if self.at_start && !bytes.is_empty() {
                self.at_start = false;
                bytes = bytes.strip_prefix(b" ").unwrap_or(bytes);
            }
            self.partial.extend_from_slice(bytes);
            return Ok(self.take_whole_characters());
        }
        if self.tokenizer.is_special(id) || self.tokenizer.token(id).is_none() {
            return Ok(String::new());
        }
        self.window.push(id);
        self.take_new_text(false)
    }

    /// The rest: what was held back, with U+FFFD for an incomplete character.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn finish(&mut self) -> Result<String> {
        if self.tokenizer.is_byte_level() {
            let rest = std::mem::take(&mut self.partial);
            return Ok(String::from_utf8_lossy(&rest).into_owned());
        }
        self.take_new_text(true)
    }

    fn take_whole_characters(&mut self) -> String {
        let mut text = String::new();
        let mut incomplete = 0;
        for chunk in self.partial.utf8_chunks() {
            text.push_str(chunk.valid());
            incomplete = chunk.invalid().len();
            if incomplete > 0 {
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        // The last invalid piece may only be unfinished; bytes that can never begin a character are not held back.
        let tail = self.partial.len() - incomplete;
        let unfinished = incomplete > 0
            && std::str::from_utf8(&self.partial[tail..]).is_err_and(|error| error.error_len().is_none());
        if unfinished {
            text.pop();
            self.partial.drain(..tail);
        } else {
            self.partial.clear();
        }
        text
    }

    /// Decodes the window with and without the new tokens; the difference is new text (as in vLLM's detokenizer).
    fn take_new_text(&mut self, last: bool) -> Result<String> {
        let before = self.tokenizer.decode(&self.window[..self.shown])?;
        let after = self.tokenizer.decode(&self.window)?;
        let pending = self.window.len() - self.shown;
        let unfinished = after.ends_with(char::REPLACEMENT_CHARACTER) && pending < PENDING_MAX;
        if unfinished && !last {
            return Ok(String::new());
        }
        let same = before.chars().zip(after.chars()).take_while(|(old, new)| old == new).map(|(old, _)| old.len_utf8());
        let new = after[same.sum::<usize>()..].to_string();
        if !new.is_empty() {
            self.window.drain(..self.shown);
            self.shown = self.window.len();
        } else if self.window.len() > WINDOW_MAX {
            self.window.drain(..self.window.len() - 1);
            self.shown = 1;
        }
        Ok(new)
    }
}
