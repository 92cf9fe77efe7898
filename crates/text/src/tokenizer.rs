//! The tokenizer: text to ids and back.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

use luban_base::progress::Observer;
use tokenizers::DecoderWrapper;

use crate::characters::Characters;
use crate::check::Checked;
use crate::train::{self, TrainOptions};
use crate::words::Words;
use crate::{Error, Result, alphabet, check, hub};

/// Longest text that one call encodes; the library keeps about forty bytes for each of these.
pub const TEXT_BYTES_MAX: usize = 16 << 20;
/// Most ids that one call decodes.
const DECODE_TOKENS_MAX: usize = 1 << 24;

/// A trained or loaded tokenizer; cheap to share behind an `Arc`, safe to use from many threads.
#[derive(Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// The same one that reads special tokens in a text as mere characters; made when first asked for.
    plain: OnceLock<Box<tokenizers::Tokenizer>>,
    /// A faster way to the same ids, where there is one.
    words: Option<Words>,
    characters: Option<Characters>,
    /// The file as it was read, so that an export gives back the very bytes.
    json: Vec<u8>,
    text_bytes_max: usize,
    /// What each id stands for, where the decoder is byte-level.
    bytes: Option<Vec<Box<[u8]>>>,
    special: Vec<u32>,
    size: usize,
    eos: Option<u32>,
}

/// What an encoder takes: ids with the special tokens in place, and for each the segment that it belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoding {
    /// Token ids.
    pub ids: Vec<u32>,
    /// BERT's `token_type_ids`: 0 for the first text, 1 for a second one.
    pub type_ids: Vec<u32>,
}

impl Tokenizer {
    /// Trains a byte-level BPE on texts. Same texts, same options: same file, byte for byte.
    ///
    /// # Errors
    /// No text, an impossible vocabulary size, or the options' stop flag.
    pub fn train(texts: impl Iterator<Item = String>, options: &TrainOptions, observer: &dyn Observer) -> Result<Self> {
        Self::from_json(train::train(texts, options, observer)?.as_bytes())
    }

    /// Reads a `tokenizer.json`. Its padding and truncation settings are left aside: callers choose lengths, and
    /// nothing is cut silently. The end-of-text token is guessed by its usual names; see [`Self::with_config`].
    ///
    /// # Errors
    /// A file that is too large, damaged, or inconsistent.
    pub fn from_json(json: &[u8]) -> Result<Self> {
        let checked = check::check(json)?;
        let inner = guard("load", || tokenizers::Tokenizer::from_bytes(json))
            .map_err(|error| Error::Corrupt(reason_of(error)))?;
        Self::around(inner, json, &checked)
    }

    fn around(mut inner: tokenizers::Tokenizer, json: &[u8], checked: &Checked) -> Result<Self> {
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|error| Error::Corrupt(error.to_string()))?;
        let size = inner.get_vocab(true).into_values().max().map_or(0, |id| id as usize + 1);
        check::size(size)?;
        let mut special: Vec<u32> =
            inner.get_added_tokens_decoder().into_iter().filter(|(_, token)| token.special).map(|(id, _)| id).collect();
        special.sort_unstable();
        let bytes = matches!(inner.get_decoder(), Some(DecoderWrapper::ByteLevel(_))).then(|| spelled(&inner, size));
        let eos = hub::usual_eos(|token| inner.token_to_id(token));
        let text_bytes_max = TEXT_BYTES_MAX.min(check::NORMALIZED_BYTES_MAX / checked.growth);
        let (words, characters) = (Words::of(&inner), Characters::of(&inner, checked.merges));
        Ok(Self {
            inner,
            plain: OnceLock::new(),
            words,
            characters,
            json: json.to_vec(),
            text_bytes_max,
            bytes,
            special,
            size,
            eos,
        })
    }

    /// Takes the end-of-text token from a `tokenizer_config.json`, where it names one.
    ///
    /// # Errors
    /// A file that is damaged, or a token that the vocabulary lacks.
    pub fn with_config(mut self, config: &[u8]) -> Result<Self> {
        if let Some(token) = hub::eos_of_config(config)? {
            self.eos = Some(self.id(&token).ok_or(Error::UnknownToken(token))?);
        }
        Ok(self)
    }

    /// The bytes of `tokenizer.json`.
    pub fn to_json(&self) -> &[u8] {
        &self.json
    }

    /// The files that `transformers`' `AutoTokenizer` wants, by name. `length` is the longest context of the model
    /// that they go with, where there is one.
    pub fn hub_files(&self, length: Option<usize>) -> Vec<(&'static str, Vec<u8>)> {
        hub::files(self, length)
    }

    /// The ids of a text, without the special tokens of a post-processor. Special tokens that stand in the text are
    /// recognised, as in Hugging Face's library: use [`Self::encode_ordinary`] where the text is not trusted to
    /// hold any.
    ///
    /// # Errors
    /// A text that is too long, or that the library fails on.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        Ok(self.run(&self.inner, text, false)?.get_ids().to_vec())
    }

    /// The ids of a text, read as nothing but text: a document that spells out `<|endoftext|>` does not end there.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn encode_ordinary(&self, text: &str) -> Result<Vec<u32>> {
        self.check_length(text)?;
        if let Some(characters) = &self.characters {
            return Ok(characters.encode(text));
        }
        if let Some(words) = &self.words
            && let Some(ids) = guard("encode", || words.encode(&self.inner, text))?
        {
            return Ok(ids);
        }
        if self.special.is_empty() {
            return self.encode(text);
        }
        let plain = self.plain.get_or_init(|| {
            let mut plain = Box::new(self.inner.clone());
            plain.set_encode_special_tokens(true);
            plain
        });
        Ok(self.run(plain, text, false)?.get_ids().to_vec())
    }

    /// The ids of a text with the special tokens that the file's post-processor adds (`[CLS] … [SEP]`). A text with
    /// more than `limit` tokens, those included, is cut at its end.
    ///
    /// # Errors
    /// As [`Self::encode`], and a limit that the special tokens alone exceed.
    pub fn encode_special(&self, text: &str, limit: Option<usize>) -> Result<Encoding> {
        let mut encoding = self.run(&self.inner, text, false)?;
        if let Some(limit) = limit {
            let added = self.added_by_post_processor()?;
            let room = limit.checked_sub(added).ok_or_else(|| Error::Option {
                what: "the limit of tokens",
                found: limit.to_string(),
                expected: format!("at least {added}, which the special tokens take"),
            })?;
            encoding.truncate(room, 0, tokenizers::TruncationDirection::Right);
        }
        let whole = guard("encode", || self.inner.post_process(encoding, None, true))?;
        Ok(Encoding { ids: whole.get_ids().to_vec(), type_ids: whole.get_type_ids().to_vec() })
    }

    /// How many special tokens [`Self::encode_special`] adds to a text.
    fn added_by_post_processor(&self) -> Result<usize> {
        guard("encode", || self.inner.post_process(tokenizers::Encoding::default(), None, true))
            .map(|encoding| encoding.len())
    }

    fn run(&self, inner: &tokenizers::Tokenizer, text: &str, special: bool) -> Result<tokenizers::Encoding> {
        self.check_length(text)?;
        guard("encode", || inner.encode_fast(text, special))
    }

    fn check_length(&self, text: &str) -> Result<()> {
        if text.len() > self.text_bytes_max {
            return Err(Error::TextTooLong { found: text.len(), limit: self.text_bytes_max });
        }
        Ok(())
    }

    /// The text of some ids; special tokens and ids outside the vocabulary give none. Bytes that are no UTF-8
    /// become U+FFFD.
    ///
    /// # Errors
    /// Too many ids, or ids that the library fails on.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        if ids.len() > DECODE_TOKENS_MAX {
            return Err(Error::TooManyTokens { found: ids.len(), limit: DECODE_TOKENS_MAX });
        }
        if !self.is_byte_level() {
            return guard("decode", || self.inner.decode(ids, true));
        }
        let bytes: Vec<u8> = ids.iter().flat_map(|&id| self.bytes_of(id)).copied().collect();
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Whether each token stands for bytes of its own, so that text can be put together token by token.
    pub(crate) fn is_byte_level(&self) -> bool {
        self.bytes.is_some()
    }

    /// The bytes of one token of a byte-level tokenizer; none for special tokens.
    pub(crate) fn bytes_of(&self, id: u32) -> &[u8] {
        let bytes = self.bytes.as_ref().and_then(|table| table.get(id as usize));
        bytes.filter(|_| !self.is_special(id)).map_or(&[], |bytes| bytes)
    }

    /// Rows that an embedding needs: the largest id and one.
    pub fn vocab_size(&self) -> usize {
        self.size
    }

    /// The token that ends a document, and stands before the first.
    pub fn eos(&self) -> Option<u32> {
        self.eos
    }

    /// Whether this is a special token, which stands for no text.
    pub fn is_special(&self, id: u32) -> bool {
        self.special.binary_search(&id).is_ok()
    }

    /// A token as the vocabulary spells it (byte-level ones in GPT-2's alphabet: `Ġ` is a space).
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// The id of a token as the vocabulary spells it.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }
}

fn spelled(inner: &tokenizers::Tokenizer, size: usize) -> Vec<Box<[u8]>> {
    let table = alphabet::byte_to_char();
    let bytes = |id| inner.id_to_token(id).map_or(Vec::new(), |token| alphabet::token_bytes(&token, &table));
    (0..size as u32).map(|id| bytes(id).into_boxed_slice()).collect()
}

/// Calls the library. It panics on some damaged files and odd texts (an id without a token, an offset inside a
/// character), which must not take a server down; its state is not used after a panic but for caches of finished
/// words, so catching is safe.
fn guard<T>(what: &'static str, call: impl FnOnce() -> tokenizers::Result<T>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Error::Library { what, reason: error.to_string() }),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
            Err(Error::Library { what, reason: format!("the library panicked: {}", text.unwrap_or("no reason given")) })
        }
    }
}

fn reason_of(error: Error) -> String {
    match error {
        Error::Library { reason, .. } => reason,
        other => other.to_string(),
    }
}
