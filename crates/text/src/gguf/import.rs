//! The values of a GGUF file for a tokenizer that came from elsewhere.

use serde_json::{Map, Value};

use super::{CONTINUES, Special, Vocabulary, pre};
use crate::byte_bpe::ByteBpe;
use crate::cut::{self, Step};
use crate::encoder::{Encoder, Method};
use crate::pieces::{Order, Pieces, SPACE, SpaceBefore};
use crate::{Error, Result, Tokenizer};

/// The way of cutting words that comes nearest to that of tokenizers which are trained here.
const NEAREST: &str = "dbrx";

/// The values of a GGUF file that stand for a tokenizer.
#[derive(Clone, Debug, PartialEq)]
pub struct Imported {
    /// The values.
    pub vocabulary: Vocabulary,
    /// Whether what reads them gives the same tokens for every text. Where a way of cutting words has no name in GGUF
    /// files, it is the nearest that has.
    pub exact: bool,
}

/// As [`super::Kind`] numbers them.
const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;
const BYTE: i32 = 6;

/// The values for a tokenizer of Hugging Face's; `config` is the `tokenizer_config.json` beside it.
pub(crate) fn import(tokenizer: &Tokenizer, encoder: Option<&Encoder>, config: Option<&[u8]>) -> Result<Imported> {
    let file: Map<String, Value> =
        serde_json::from_slice(tokenizer.to_json()).map_err(|error| Error::Corrupt(error.to_string()))?;
    let config: Map<String, Value> = match config {
        Some(config) => serde_json::from_slice(config).map_err(|error| Error::Config(error.to_string()))?,
        None => Map::new(),
    };
    let encoder = encoder.ok_or_else(|| refuse("it is of a kind that is not written"))?;
    let tokens: Vec<Option<String>> = (0..tokenizer.vocab_size() as u32).map(|id| tokenizer.token(id)).collect();
    let mut vocabulary = Vocabulary {
        kinds: kinds(tokenizer, &file, &tokens),
        special: special(tokenizer, &config),
        chat_template: chat_template(tokenizer, &config),
        ..Vocabulary::default()
    };
    // Ids without a token get a name of their own: programs refuse a vocabulary with the same twice.
    let name = |(id, token): (usize, Option<String>)| token.unwrap_or_else(|| format!("[PAD{id}]"));
    vocabulary.tokens = tokens.into_iter().enumerate().map(name).collect();
    let exact = match &encoder.method {
        Method::Bytes(bytes) => of_bytes(bytes, &mut vocabulary)?,
        Method::Pieces(pieces) => of_pieces(pieces, &mut vocabulary)?,
        Method::Words(words) => {
            let cleaning = words.cleaning;
            vocabulary.model = "bert".into();
            (vocabulary.lowercase, vocabulary.strip_accents) = (Some(cleaning.lowercase), Some(cleaning.accents));
            vocabulary.tokens.iter_mut().for_each(|token| *token = from_bert_name(token));
            cleaning.controls && cleaning.chinese
        }
        Method::Characters(_) => {
            return Err(refuse("it cuts texts into characters, which GGUF files have no word for"));
        }
    };
    framed(encoder, &mut vocabulary)?;
    Ok(Imported { vocabulary, exact })
}

fn refuse(why: &str) -> Error {
    Error::Vocabulary(format!("{why}; byte-level BPE, SentencePiece's BPE and WordPiece can be written"))
}

fn of_bytes(bytes: &ByteBpe, vocabulary: &mut Vocabulary) -> Result<bool> {
    if bytes.space_before {
        return Err(refuse("it puts a space before each text"));
    }
    let name = |id: u32| vocabulary.tokens.get(id as usize).map_or("", String::as_str);
    let merges = bytes.merges.in_order().into_iter();
    vocabulary.merges = merges.map(|[left, right, _]| format!("{} {}", name(left), name(right))).collect();
    vocabulary.model = "gpt2".into();
    let known = name_of(&bytes.steps, bytes.whole.is_some());
    vocabulary.pre = Some(known.unwrap_or(NEAREST).to_owned());
    Ok(known.is_some())
}

/// The name of a way of cutting.
fn name_of(steps: &[Step], whole_words: bool) -> Option<&'static str> {
    let wanted = cut::to_json(steps);
    pre::WRITTEN.into_iter().find(|name| {
        pre::named(name).is_some_and(|pre| pre.whole_words == whole_words && cut::to_json(&pre.steps) == wanted)
    })
}

fn of_pieces(pieces: &Pieces, vocabulary: &mut Vocabulary) -> Result<bool> {
    let Order::Pairs(merges) = &pieces.order else { return Err(refuse("its merges have no order")) };
    // A token is as good as the first merge that makes it.
    let list = merges.in_order();
    let mut scores = vec![-(list.len() as f32); vocabulary.tokens.len()];
    for (rank, [_, _, merged]) in list.iter().enumerate().rev() {
        if let Some(score) = scores.get_mut(*merged as usize) {
            *score = -(rank as f32);
        }
    }
    vocabulary.scores = scores;
    vocabulary.model = "llama".into();
    vocabulary.add_space_prefix = Some(pieces.space_before != SpaceBefore::Never);
    if pieces.byte_ids.is_some() {
        for (token, kind) in vocabulary.tokens.iter().zip(&mut vocabulary.kinds) {
            let byte = token.len() == 6 && token.starts_with("<0x") && token.ends_with('>');
            *kind = if byte { BYTE } else { *kind };
        }
    }
    Ok(true)
}

/// BERT's tokens are told in GGUF files by what begins a word, not by what goes on with one.
fn from_bert_name(token: &str) -> String {
    match token.strip_prefix(CONTINUES) {
        Some(rest) if !rest.is_empty() => rest.to_owned(),
        _ if token.starts_with('[') && token.ends_with(']') && token.len() > 2 => token.to_owned(),
        _ => format!("{SPACE}{token}"),
    }
}

fn kinds(tokenizer: &Tokenizer, file: &Map<String, Value>, tokens: &[Option<String>]) -> Vec<i32> {
    let unknown = file.get("model").and_then(|model| model["unk_token"].as_str());
    let kind = |(id, token): (u32, &Option<String>)| match token {
        None => UNUSED,
        Some(token) if unknown == Some(token) => UNKNOWN,
        Some(_) if tokenizer.is_special(id) => CONTROL,
        Some(_) => NORMAL,
    };
    let mut kinds: Vec<i32> = (0..).zip(tokens).map(kind).collect();
    for added in file.get("added_tokens").and_then(Value::as_array).into_iter().flatten() {
        let kind = added["id"].as_u64().and_then(|id| kinds.get_mut(usize::try_from(id).ok()?));
        if let Some(kind) = kind.filter(|kind| **kind == NORMAL) {
            *kind = USER_DEFINED;
        }
    }
    kinds
}

/// The tokens with a role, by the configuration or by their usual names.
fn special(tokenizer: &Tokenizer, config: &Map<String, Value>) -> Special {
    let named = |role: &str| {
        let token = config.get(role)?;
        tokenizer.id(token.as_str().or_else(|| token["content"].as_str())?)
    };
    let sentinels = tokenizer.sentinels();
    Special {
        bos: named("bos_token"),
        eos: tokenizer.eos(),
        unknown: named("unk_token"),
        separator: named("sep_token"),
        padding: named("pad_token"),
        cls: named("cls_token"),
        mask: named("mask_token"),
        prefix: sentinels.map(|sentinels| sentinels.prefix),
        suffix: sentinels.map(|sentinels| sentinels.suffix),
        middle: sentinels.map(|sentinels| sentinels.middle),
        eot: tokenizer.ends().iter().copied().find(|&id| Some(id) != tokenizer.eos()),
        eom: None,
    }
}

fn chat_template(tokenizer: &Tokenizer, config: &Map<String, Value>) -> Option<String> {
    let template = config.get("chat_template").and_then(Value::as_str);
    tokenizer.chat_template().or(template).map(str::to_owned)
}

/// What stands around a text.
fn framed(encoder: &Encoder, vocabulary: &mut Vocabulary) -> Result<()> {
    let Some(frame) = &encoder.frame else { return Err(refuse("what it puts around texts is not known")) };
    let ids = |side: &[(u32, u32)]| side.iter().map(|&(id, _)| id).collect::<Vec<u32>>();
    let special = &mut vocabulary.special;
    let is_bert = vocabulary.model == "bert";
    match ids(&frame.before).as_slice() {
        [] => vocabulary.add_bos = Some(false),
        [first] => {
            vocabulary.add_bos = Some(true);
            special.bos = Some(*first);
            special.cls = if is_bert { Some(*first) } else { special.cls };
        }
        _ => return Err(refuse("it puts several tokens before a text")),
    }
    match ids(&frame.after).as_slice() {
        [] => vocabulary.add_eos = Some(false),
        [last] if is_bert => {
            special.separator = Some(*last);
            special.eos = special.eos.or(Some(*last));
        }
        [last] => {
            vocabulary.add_eos = Some(true);
            special.eos = Some(*last);
        }
        _ => return Err(refuse("it puts several tokens behind a text")),
    }
    Ok(())
}
