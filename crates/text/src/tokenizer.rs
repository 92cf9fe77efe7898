//! The tokenizer: text to ids and back.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

use luban_base::progress::Observer;
use tokenizers::{DecoderWrapper, ModelWrapper};

use crate::added::Wanted;
use crate::check::Checked;
use crate::encoder::Encoder;
use crate::gguf::{self, Built, Vocabulary};
use crate::table::Table;
use crate::train::{self, TrainOptions};
use crate::{ChatTemplate, Error, Result, Sentinels, alphabet, check, hub, recognize};

/// Longest text that one call encodes; the library keeps about forty bytes for each of these.
pub const TEXT_BYTES_MAX: usize = 16 << 20;
/// Most ids that one call decodes.
const DECODE_TOKENS_MAX: usize = 1 << 24;

/// A trained or loaded tokenizer; cheap to share behind an `Arc`, safe to use from many threads.
#[derive(Debug)]
pub struct Tokenizer {
    reference: Library,
    /// The same one that reads special tokens in a text as mere characters; made when first asked for.
    plain: OnceLock<Box<tokenizers::Tokenizer>>,
    /// A faster way to the same ids, where there is one.
    encoder: Option<Encoder>,
    /// The file as it was read, so that an export gives back the very bytes; or one that is made when asked for.
    json: OnceLock<Vec<u8>>,
    text_bytes_max: usize,
    spelling: Option<Spelling>,
    /// What stands before tokens that go on with a word, where the model is WordPiece.
    continuing_prefix: Option<String>,
    special: Vec<u32>,
    size: usize,
    eos: Option<u32>,
    ends: Vec<u32>,
    sentinels: Option<Sentinels>,
    /// Tokens with a role that chat templates speak of.
    roles: Vec<(&'static str, String)>,
    chat_template: Option<String>,
}

/// The library's tokenizer.
#[derive(Debug)]
enum Library {
    /// Read from the file.
    Read(Box<tokenizers::Tokenizer>),
    /// Of a GGUF file: made when it is asked for, which is rarely.
    Later(Box<(Vocabulary, Built)>, OnceLock<std::result::Result<Box<tokenizers::Tokenizer>, String>>),
}

/// What tokens stand for, where text is put together from their bytes.
#[derive(Debug)]
struct Spelling {
    /// The bytes of each id.
    bytes: Table,
    /// Whether a text begins with a space that is none of its own.
    space_before: bool,
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

    /// Makes the tokenizer of a GGUF file.
    ///
    /// # Errors
    /// A kind of tokenizer that is not known, or values that do not fit together.
    pub fn from_gguf(vocabulary: Vocabulary) -> Result<Self> {
        gguf::check(&vocabulary)?;
        let mut built = gguf::build(&vocabulary)?;
        let space_before = built.space_before;
        let tokenizer = Self {
            plain: OnceLock::new(),
            encoder: built.encoder.take(),
            json: OnceLock::new(),
            text_bytes_max: TEXT_BYTES_MAX,
            spelling: built.bytes.take().map(|bytes| Spelling { bytes, space_before }),
            continuing_prefix: (vocabulary.model == "bert").then(|| gguf::CONTINUES.to_owned()),
            special: built.special.clone(),
            size: built.names.len(),
            eos: built.eos,
            ends: std::mem::take(&mut built.ends),
            sentinels: built.sentinels,
            roles: std::mem::take(&mut built.roles),
            chat_template: vocabulary.chat_template.clone(),
            reference: Library::Later(Box::new((vocabulary, built)), OnceLock::new()),
        };
        if tokenizer.encoder.is_none() {
            // What only the library encodes must not fail later.
            tokenizer.reference().map_err(|error| Error::Vocabulary(reason_of(error)))?;
        }
        Ok(tokenizer)
    }

    /// The values of a GGUF file that stand for this tokenizer; `config` is the `tokenizer_config.json` beside its
    /// file, where there is one, which says which tokens have a role.
    ///
    /// # Errors
    /// A kind of tokenizer that GGUF files, or this program, have no way to write; a damaged configuration.
    pub fn to_gguf(&self, config: Option<&[u8]>) -> Result<gguf::Imported> {
        if let Library::Later(source, _) = &self.reference {
            return Ok(gguf::Imported { vocabulary: source.0.clone(), exact: true });
        }
        gguf::import(self, self.encoder.as_ref(), config)
    }

    fn around(mut inner: tokenizers::Tokenizer, json: &[u8], checked: &Checked) -> Result<Self> {
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|error| Error::Corrupt(error.to_string()))?;
        let size = inner.get_vocab(true).into_values().max().map_or(0, |id| id as usize + 1);
        check::size(size)?;
        let mut special: Vec<u32> =
            inner.get_added_tokens_decoder().into_iter().filter(|(_, token)| token.special).map(|(id, _)| id).collect();
        special.sort_unstable();
        let byte_level = matches!(inner.get_decoder(), Some(DecoderWrapper::ByteLevel(_)));
        let eos = hub::usual_eos(|token| inner.token_to_id(token));
        let encoder = guard("load", || Ok(recognize::encoder(&inner, &checked.file))).unwrap_or_default();
        let continuing_prefix = match inner.get_model() {
            ModelWrapper::WordPiece(model) => Some(model.continuing_subword_prefix.clone()),
            _ => None,
        };
        let mut tokenizer = Self {
            plain: OnceLock::new(),
            encoder,
            json: OnceLock::from(json.to_vec()),
            text_bytes_max: TEXT_BYTES_MAX.min(check::NORMALIZED_BYTES_MAX / checked.growth),
            spelling: byte_level.then(|| Spelling { bytes: spelled(&inner, size), space_before: false }),
            continuing_prefix,
            special,
            size,
            eos,
            ends: eos.into_iter().collect(),
            sentinels: None,
            roles: Vec::new(),
            chat_template: None,
            reference: Library::Read(Box::new(inner)),
        };
        tokenizer.sentinels = Sentinels::named(&tokenizer);
        Ok(tokenizer)
    }

    /// Takes the end-of-text token, and the chat template, from a `tokenizer_config.json`, where it names them.
    ///
    /// # Errors
    /// A file that is damaged, or an end-of-text token that the vocabulary lacks.
    pub fn with_config(mut self, config: &[u8]) -> Result<Self> {
        let config = hub::config(config)?;
        if let Some((_, token)) = config.roles.iter().find(|(role, _)| *role == "eos_token") {
            let eos = self.id(token).ok_or_else(|| Error::UnknownToken(token.clone()))?;
            self.eos = Some(eos);
            self.ends = vec![eos];
        }
        self.roles = config.roles;
        self.chat_template = config.chat_template.or(self.chat_template);
        Ok(self)
    }

    /// Takes the chat template from a file of its own, `chat_template.jinja`.
    #[must_use]
    pub fn with_chat_template(mut self, template: String) -> Self {
        self.chat_template = Some(template);
        self
    }

    /// The source of the chat template, where the model's files hold one.
    pub fn chat_template(&self) -> Option<&str> {
        self.chat_template.as_deref()
    }

    /// The template by which the model's conversations are written, where its files hold one.
    ///
    /// # Errors
    /// One that cannot be read.
    pub fn chat(&self) -> Result<Option<ChatTemplate>> {
        let Some(source) = &self.chat_template else { return Ok(None) };
        let template = ChatTemplate::new(source)?;
        let with_role = |template: ChatTemplate, (role, token): &(&str, String)| template.with(role, token.as_str());
        Ok(Some(self.roles.iter().fold(template, with_role)))
    }

    /// The bytes of `tokenizer.json`: those that were read, or, for the tokenizer of a GGUF file, of a file that
    /// stands for it.
    pub fn to_json(&self) -> &[u8] {
        self.json.get_or_init(|| match &self.reference {
            Library::Later(source, _) => {
                let file = gguf::tokenizer_json(&source.0, &source.1, self.encoder.as_ref());
                serde_json::to_vec(&file).expect("a JSON value is always written")
            }
            Library::Read(_) => unreachable!("what was read is kept"),
        })
    }

    /// The library's tokenizer.
    pub(crate) fn reference(&self) -> Result<&tokenizers::Tokenizer> {
        let (source, made) = match &self.reference {
            Library::Read(library) => return Ok(library),
            Library::Later(source, made) => (source, made),
        };
        let make = || {
            let library = guard("load", || tokenizers::Tokenizer::from_bytes(self.to_json()));
            library.map(Box::new).map_err(|error| format!("as a {} tokenizer, {}", source.0.model, reason_of(error)))
        };
        let made = made.get_or_init(make).as_deref();
        made.map_err(|reason| Error::Library { what: "load", reason: reason.clone() })
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
        match self.encode_fast(text, Wanted::All)? {
            Some(ids) => Ok(ids),
            None => Ok(self.run(self.reference()?, text)?.get_ids().to_vec()),
        }
    }

    /// The ids of a text, read as nothing but text: a document that spells out `<|endoftext|>` does not end there.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn encode_ordinary(&self, text: &str) -> Result<Vec<u32>> {
        if let Some(ids) = self.encode_fast(text, Wanted::Ordinary)? {
            return Ok(ids);
        }
        if self.special.is_empty() {
            return self.encode(text);
        }
        let library = self.reference()?;
        let plain = self.plain.get_or_init(|| {
            let mut plain = Box::new(library.clone());
            plain.set_encode_special_tokens(true);
            plain
        });
        Ok(self.run(plain, text)?.get_ids().to_vec())
    }

    /// The ids of a text with the special tokens that the file's post-processor adds (`[CLS] … [SEP]`). A text with
    /// more than `limit` tokens, those included, is cut at its end.
    ///
    /// # Errors
    /// As [`Self::encode`], and a limit that the special tokens alone exceed.
    pub fn encode_special(&self, text: &str, limit: Option<usize>) -> Result<Encoding> {
        if let Some(frame) = self.encoder.as_ref().and_then(|encoder| encoder.frame.as_ref())
            && let Some(mut ids) = self.encode_fast(text, Wanted::All)?
        {
            ids.truncate(limit.map_or(Ok(usize::MAX), |limit| room(limit, frame.len()))?);
            let (ids, type_ids) = frame.around(&ids);
            return Ok(Encoding { ids, type_ids });
        }
        let mut encoding = self.run(self.reference()?, text)?;
        if let Some(limit) = limit {
            let room = room(limit, self.added_by_post_processor()?)?;
            encoding.truncate(room, 0, tokenizers::TruncationDirection::Right);
        }
        let library = self.reference()?;
        let whole = guard("encode", || library.post_process(encoding, None, true))?;
        Ok(Encoding { ids: whole.get_ids().to_vec(), type_ids: whole.get_type_ids().to_vec() })
    }

    /// Whether texts are encoded by this crate's own way; otherwise the library encodes them, some times slower.
    pub fn is_fast(&self) -> bool {
        self.encoder.is_some()
    }

    /// The ids of a text by the faster way, if there is one that knows them.
    fn encode_fast(&self, text: &str, wanted: Wanted) -> Result<Option<Vec<u32>>> {
        self.check_length(text)?;
        match &self.encoder {
            Some(encoder) => guard("encode", || Ok(encoder.encode(text, wanted))),
            None => Ok(None),
        }
    }

    /// How many special tokens [`Self::encode_special`] adds to a text.
    fn added_by_post_processor(&self) -> Result<usize> {
        let library = self.reference()?;
        guard("encode", || library.post_process(tokenizers::Encoding::default(), None, true))
            .map(|encoding| encoding.len())
    }

    fn run(&self, library: &tokenizers::Tokenizer, text: &str) -> Result<tokenizers::Encoding> {
        self.check_length(text)?;
        guard("encode", || library.encode_fast(text, false))
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
        if self.spelling.is_none() {
            let library = self.reference()?;
            return guard("decode", || library.decode(ids, true));
        }
        let mut bytes: Vec<u8> = ids.iter().flat_map(|&id| self.bytes_of(id)).copied().collect();
        if self.has_space_before() && bytes.first() == Some(&b' ') {
            bytes.remove(0);
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Whether each token stands for bytes of its own, so that text can be put together token by token.
    pub fn is_byte_level(&self) -> bool {
        self.spelling.is_some()
    }

    /// Whether texts begin with a space that is none of theirs.
    pub(crate) fn has_space_before(&self) -> bool {
        self.spelling.as_ref().is_some_and(|spelling| spelling.space_before)
    }

    /// What makes text of tokens.
    pub(crate) fn decoder(&self) -> Result<Option<&DecoderWrapper>> {
        Ok(self.reference()?.get_decoder())
    }

    /// What stands before tokens that go on with a word, where the model is WordPiece.
    pub(crate) fn continuing_prefix(&self) -> Option<&str> {
        self.continuing_prefix.as_deref()
    }

    /// The bytes of one token where [`Self::is_byte_level`] says that each has its own; none for special tokens.
    pub fn bytes_of(&self, id: u32) -> &[u8] {
        match &self.spelling {
            Some(spelling) if !self.is_special(id) => spelling.bytes.get(id),
            _ => &[],
        }
    }

    /// Rows that an embedding needs: the largest id and one.
    pub fn vocab_size(&self) -> usize {
        self.size
    }

    /// The token that ends a document, and stands before the first.
    pub fn eos(&self) -> Option<u32> {
        self.eos
    }

    /// All tokens that end an answer: the end of text, and in chat models the end of a turn.
    pub fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// The tokens for filling in the middle, if it has them.
    pub(crate) fn sentinels(&self) -> Option<Sentinels> {
        self.sentinels
    }

    /// Whether this is a special token, which stands for no text.
    pub fn is_special(&self, id: u32) -> bool {
        self.special.binary_search(&id).is_ok()
    }

    /// A token as the vocabulary spells it (byte-level ones in GPT-2's alphabet: `Ġ` is a space).
    pub fn token(&self, id: u32) -> Option<String> {
        match &self.reference {
            Library::Read(library) => library.id_to_token(id),
            Library::Later(source, _) => {
                let name = source.1.names.get(id);
                (!name.is_empty()).then(|| String::from_utf8_lossy(name).into_owned())
            }
        }
    }

    /// The id of a token as the vocabulary spells it.
    pub fn id(&self, token: &str) -> Option<u32> {
        match &self.reference {
            Library::Read(library) => library.token_to_id(token),
            Library::Later(source, _) => source.1.names.find(token.as_bytes()),
        }
    }
}

/// How many tokens of a text a limit leaves.
pub(crate) fn room(limit: usize, added: usize) -> Result<usize> {
    limit.checked_sub(added).ok_or_else(|| Error::Option {
        what: "the limit of tokens",
        found: limit.to_string(),
        expected: format!("at least {added}, which the special tokens take"),
    })
}

fn spelled(library: &tokenizers::Tokenizer, size: usize) -> Table {
    let bytes = |id| library.id_to_token(id).map_or(Vec::new(), |token| alphabet::token_bytes(&token));
    let all: Vec<Vec<u8>> = (0..size as u32).map(bytes).collect();
    Table::new(all.iter().map(Vec::as_slice))
}

/// Calls the library. It panics on some damaged files and odd texts (an id without a token, an offset inside a
/// character), which must not take a server down; its state is not used after a panic but for caches of finished
/// words, so catching is safe.
pub(crate) fn guard<T>(what: &'static str, call: impl FnOnce() -> tokenizers::Result<T>) -> Result<T> {
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
