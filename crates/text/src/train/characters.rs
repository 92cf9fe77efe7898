//! A tokenizer of single characters: no merges, so that every character of the texts is one token.

use std::collections::BTreeSet;

use luban_base::cancel::Cancel;
use serde_json::{Map, Value, json};

use super::{END_OF_TEXT, VOCAB_SIZE_MAX, special_token};
use crate::{Error, Result};

/// The token of every character that the texts did not have.
pub const UNKNOWN: &str = "<|unknown|>";

/// Every character of the texts, in the order of their code points.
pub(super) fn of(texts: impl Iterator<Item = String>, cancel: &Cancel) -> Result<BTreeSet<char>> {
    let mut characters = BTreeSet::new();
    for text in texts {
        if cancel.is_raised() {
            return Err(Error::Cancelled);
        }
        characters.extend(text.chars());
    }
    match characters.len() {
        0 => Err(Error::NoText),
        found if found + 2 > VOCAB_SIZE_MAX => Err(Error::Option {
            what: "the number of characters",
            found: found.to_string(),
            expected: format!("at most {}", VOCAB_SIZE_MAX - 2),
        }),
        _ => Ok(characters),
    }
}

/// The file, as Hugging Face's library writes it: BPE without merges, whose words are whole texts. Ids: 0 the end of a
/// text, 1 the unknown character, then the characters.
pub(super) fn file(characters: &BTreeSet<char>) -> Value {
    let special = [END_OF_TEXT, UNKNOWN].into_iter().map(str::to_owned);
    let tokens = special.chain(characters.iter().map(char::to_string));
    let vocab: Map<String, Value> = tokens.zip(0_u32..).map(|(token, id)| (token, Value::from(id))).collect();
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [special_token(0, END_OF_TEXT), special_token(1, UNKNOWN)],
        "normalizer": null,
        "pre_tokenizer": null,
        "post_processor": null,
        "decoder": { "type": "Fuse" },
        "model": {
            "type": "BPE", "dropout": null, "unk_token": UNKNOWN, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocab,
            "merges": [],
        },
    })
}
