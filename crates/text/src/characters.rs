//! Encoding character by character.
//!
//! BPE without merges gives each character its own token. The library makes a word of the whole text for that, with
//! offsets; a look-up for each character gives the same ids.

use std::collections::HashMap;

use tokenizers::{ModelWrapper, Tokenizer};

/// What a character without a token has in the table.
const NONE: u32 = u32::MAX;

/// The token of each character.
#[derive(Debug)]
pub(crate) struct Characters {
    ascii: [u32; 128],
    others: HashMap<char, u32>,
    /// Of characters without a token; where there is none, they give nothing.
    unknown: Option<u32>,
}

impl Characters {
    /// For a tokenizer that does nothing but give characters their tokens; `None` for others. `merges` says whether its
    /// file has any.
    pub(crate) fn of(tokenizer: &Tokenizer, merges: bool) -> Option<Self> {
        let ModelWrapper::BPE(model) = tokenizer.get_model() else { return None };
        let plain_text = tokenizer.get_normalizer().is_none()
            && tokenizer.get_pre_tokenizer().is_none()
            && tokenizer.get_padding().is_none()
            && tokenizer.get_truncation().is_none()
            && tokenizer.get_added_tokens_decoder().values().all(|token| token.special);
        let plain_model = model.dropout.is_none()
            && !(merges || model.fuse_unk || model.byte_fallback || model.ignore_merges)
            && [&model.continuing_subword_prefix, &model.end_of_word_suffix].iter().all(|affix| affix.is_none());
        if !(plain_text && plain_model) {
            return None;
        }
        let vocab = tokenizer.get_vocab(false);
        let unknown = match &model.unk_token {
            Some(token) => Some(*vocab.get(token)?),
            None => None,
        };
        let mut table = Self { ascii: [NONE; 128], others: HashMap::new(), unknown };
        for (token, id) in vocab {
            let mut characters = token.chars();
            if let (Some(character), None) = (characters.next(), characters.next()) {
                match table.ascii.get_mut(character as usize) {
                    Some(slot) => *slot = id,
                    None => drop(table.others.insert(character, id)),
                }
            }
        }
        Some(table)
    }

    /// The ids of a text.
    pub(crate) fn encode(&self, text: &str) -> Vec<u32> {
        let id = |character: char| {
            let known = match self.ascii.get(character as usize) {
                Some(&id) => id,
                None => self.others.get(&character).copied().unwrap_or(NONE),
            };
            if known == NONE { self.unknown } else { Some(known) }
        };
        text.chars().filter_map(id).collect()
    }
}

#[cfg(test)]
mod tests {
    use luban_base::progress::Silent;
    use luban_base::random::Stream;
    use serde_json::{Value, json};

    use super::*;
    use crate::train::Kind;
    use crate::{TrainOptions, check};

    fn trained(text: &str) -> Value {
        let options = TrainOptions { kind: Kind::Characters, ..TrainOptions::default() };
        let trained = crate::Tokenizer::train(std::iter::once(text.to_owned()), &options, &Silent).unwrap();
        serde_json::from_slice(trained.to_json()).unwrap()
    }

    fn table(json: &Value) -> (Tokenizer, Option<Characters>) {
        let json = json.to_string();
        let library = Tokenizer::from_bytes(&json).unwrap();
        let table = Characters::of(&library, check::check(json.as_bytes()).unwrap().merges);
        (library, table)
    }

    #[test]
    fn the_ids_are_the_librarys() {
        let mut json = trained("abc é花\n<|unknown|>");
        for unknown in ["<|unknown|>", ""] {
            json["model"]["unk_token"] = if unknown.is_empty() { Value::Null } else { json!(unknown) };
            let (mut library, table) = table(&json);
            let table = table.expect("a tokenizer of characters");
            library.set_encode_special_tokens(true);
            let alphabet: Vec<char> = "abc é花\nxyz💥<|endof>".chars().collect();
            for case in 0..200 {
                let draws = Stream::new(case, &[]);
                let letter = |at| alphabet[draws.below_at(at, alphabet.len() as u64) as usize];
                let text: String = (0..case).map(letter).collect();
                assert_eq!(
                    table.encode(&text),
                    library.encode_fast(text.as_str(), false).unwrap().get_ids(),
                    "{text:?}"
                );
            }
        }
    }

    #[test]
    fn tokenizers_that_do_more_are_left_to_the_library() {
        let json = trained("ab");
        let changes: [fn(&mut Value); 8] = [
            |json| json["normalizer"] = json!({ "type": "NFC" }),
            |json| json["pre_tokenizer"] = json!({ "type": "Whitespace" }),
            |json| json["added_tokens"][0]["special"] = false.into(),
            |json| json["model"]["dropout"] = 0.1.into(),
            |json| json["model"]["fuse_unk"] = true.into(),
            |json| json["model"]["byte_fallback"] = true.into(),
            |json| json["model"]["ignore_merges"] = true.into(),
            |json| {
                json["model"]["vocab"]["ab"] = 4.into();
                json["model"]["merges"] = json!([["a", "b"]]);
            },
        ];
        for change in changes {
            let mut json = json.clone();
            change(&mut json);
            assert!(table(&json).1.is_none(), "{json}");
        }
    }
}
