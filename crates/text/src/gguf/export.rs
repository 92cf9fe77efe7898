//! The `tokenizer.json` that stands for a GGUF file's tokenizer.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::build::{CONTINUES, Roles};
use super::{Built, Kind, Vocabulary, pre};
use crate::byte_bpe::ByteBpe;
use crate::cut;
use crate::encoder::{Encoder, Method};
use crate::pieces::{Order, Pieces, SPACE};
use crate::table::Table;

/// The file, as Hugging Face's library would write it.
pub(crate) fn tokenizer_json(vocabulary: &Vocabulary, built: &Built, encoder: Option<&Encoder>) -> Value {
    let roles = Roles::of(vocabulary);
    let name = |id: u32| String::from_utf8_lossy(built.names.get(id)).into_owned();
    let parts = match encoder.map(|encoder| &encoder.method) {
        Some(Method::Pieces(pieces)) => of_pieces(pieces, built, roles.unknown.map(name)),
        Some(Method::Words(_)) => of_words(vocabulary, built, roles.unknown.map(name)),
        Some(Method::Bytes(bytes)) => of_bytes(vocabulary, built, bytes),
        Some(Method::Characters(_)) | None => of_unigram(vocabulary, &roles),
    };
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added_tokens(vocabulary, built),
        "normalizer": parts.normalizer,
        "pre_tokenizer": parts.pre_tokenizer,
        "post_processor": post_processor(built),
        "decoder": parts.decoder,
        "model": parts.model,
    })
}

struct Parts {
    normalizer: Value,
    pre_tokenizer: Value,
    decoder: Value,
    model: Value,
}

fn added_tokens(vocabulary: &Vocabulary, built: &Built) -> Vec<Value> {
    let added = |id: &u32| {
        let special = built.special.binary_search(id).is_ok();
        (special || vocabulary.kind(*id as usize) == Kind::UserDefined) && !built.names.get(*id).is_empty()
    };
    let token = |id: u32| {
        json!({
            "id": id, "content": String::from_utf8_lossy(built.names.get(id)), "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": built.special.binary_search(&id).is_ok(),
        })
    };
    (0..built.names.len() as u32).filter(added).map(token).collect()
}

/// The special tokens around a text.
fn post_processor(built: &Built) -> Value {
    let frame = &built.frame;
    if frame.len() == 0 {
        return Value::Null;
    }
    let name = |id: u32| String::from_utf8_lossy(built.names.get(id)).into_owned();
    let special = |&(id, type_id): &(u32, u32)| json!({ "SpecialToken": { "id": name(id), "type_id": type_id } });
    let text = |name: &str, type_id: u32| json!({ "Sequence": { "id": name, "type_id": type_id } });
    let around = |name: &str, type_id: u32| {
        let (before, after) = (frame.before.iter().map(special), frame.after.iter().map(special));
        before.chain([text(name, type_id)]).chain(after).collect::<Vec<_>>()
    };
    let tokens = frame.before.iter().chain(&frame.after);
    let tokens = tokens.map(|&(id, _)| (name(id), json!({ "id": name(id), "ids": [id], "tokens": [name(id)] })));
    let one = around("A", frame.type_id);
    // What ends a text parts two; where nothing does, each begins as one alone.
    let second = match frame.after.is_empty() {
        true => around("B", 1),
        false => {
            let after = frame.after.iter().map(|&(id, _)| special(&(id, 1)));
            [text("B", 1)].into_iter().chain(after).collect()
        }
    };
    let two = [one.clone(), second].concat();
    json!({
        "type": "TemplateProcessing",
        "single": one,
        "pair": two,
        "special_tokens": tokens.collect::<Map<_, _>>(),
    })
}

fn vocab(names: &Table) -> Map<String, Value> {
    let named = (0..).zip(names.iter()).filter(|(_, name)| !name.is_empty());
    named.map(|(id, name): (u32, &[u8])| (String::from_utf8_lossy(name).into_owned(), Value::from(id))).collect()
}

fn bpe(names: &Table, merges: Vec<[u32; 2]>) -> Value {
    let name = |id: u32| String::from_utf8_lossy(names.get(id)).into_owned();
    let merges: Vec<[String; 2]> = merges.into_iter().map(|pair| pair.map(name)).collect();
    json!({
        "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
        "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
        "vocab": vocab(names), "merges": merges,
    })
}

fn of_bytes(vocabulary: &Vocabulary, built: &Built, bytes: &ByteBpe) -> Parts {
    let pre = vocabulary.pre.as_deref().unwrap_or("default");
    let way = pre::named(pre);
    let merges = bytes.merges.in_order().into_iter();
    let mut model = bpe(&built.names, merges.map(|[left, right, _]| [left, right]).collect());
    model["ignore_merges"] = way.as_ref().is_some_and(|way| way.whole_words).into();
    Parts {
        normalizer: Value::Null,
        pre_tokenizer: cut::to_json(&way.map(|way| way.steps).unwrap_or_default()),
        decoder: json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false }),
        model,
    }
}

fn of_pieces(pieces: &Pieces, built: &Built, unknown: Option<String>) -> Parts {
    let mut model = bpe(&built.names, merges_of_scores(pieces));
    model["unk_token"] = unknown.map_or(Value::Null, Value::from);
    model["byte_fallback"] = pieces.byte_ids.is_some().into();
    let replace = |from: &str, to: &str| json!({ "type": "Replace", "pattern": { "String": from }, "content": to });
    let space = SPACE.to_string();
    let mut steps = vec![replace(" ", &space)];
    let mut decoders = vec![replace(&space, " "), json!({ "type": "ByteFallback" }), json!({ "type": "Fuse" })];
    if built.space_before {
        steps.insert(0, json!({ "type": "Prepend", "prepend": space }));
        decoders.push(json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 }));
    }
    Parts {
        normalizer: json!({ "type": "Sequence", "normalizers": steps }),
        pre_tokenizer: Value::Null,
        decoder: json!({ "type": "Sequence", "decoders": decoders }),
        model,
    }
}

/// Every pair of tokens that makes a token, the best scores first.
fn merges_of_scores(pieces: &Pieces) -> Vec<[u32; 2]> {
    let Order::Scores(ranks) = &pieces.order else { return Vec::new() };
    let mut merges = Vec::new();
    for (id, token) in (0_u32..).zip(pieces.tokens.iter()) {
        let Ok(text) = std::str::from_utf8(token) else { continue };
        for (at, _) in text.char_indices().skip(1) {
            let (left, right) = token.split_at(at);
            if let (Some(left), Some(right)) = (pieces.tokens.find(left), pieces.tokens.find(right)) {
                merges.push((ranks[id as usize], [left, right]));
            }
        }
    }
    merges.sort_unstable();
    merges.into_iter().map(|(_, pair)| pair).collect()
}

fn of_words(vocabulary: &Vocabulary, built: &Built, unknown: Option<String>) -> Parts {
    Parts {
        normalizer: json!({
            "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
            "strip_accents": vocabulary.strip_accents, "lowercase": vocabulary.lowercase.unwrap_or(true),
        }),
        pre_tokenizer: json!({ "type": "BertPreTokenizer" }),
        decoder: json!({ "type": "WordPiece", "prefix": CONTINUES, "cleanup": true }),
        model: json!({
            "type": "WordPiece", "unk_token": unknown.unwrap_or_default(), "continuing_subword_prefix": CONTINUES,
            "max_input_chars_per_word": 100, "vocab": vocab(&built.names),
        }),
    }
}

/// SentencePiece's Unigram, which the library encodes.
fn of_unigram(vocabulary: &Vocabulary, roles: &Roles) -> Parts {
    let score = |id: usize| vocabulary.scores.get(id).copied().unwrap_or_default();
    let tokens = vocabulary.tokens.iter().enumerate();
    let vocab: Vec<Value> = tokens.map(|(id, token)| json!([token, f64::from(score(id))])).collect();
    let mut normalizers = Vec::new();
    if !vocabulary.precompiled_charsmap.is_empty() {
        let map = STANDARD.encode(&vocabulary.precompiled_charsmap);
        normalizers.push(json!({ "type": "Precompiled", "precompiled_charsmap": map }));
    }
    if vocabulary.remove_extra_whitespaces.unwrap_or(false) {
        normalizers.push(json!({ "type": "Strip", "strip_left": true, "strip_right": true }));
        normalizers.push(json!({ "type": "Replace", "pattern": { "Regex": " {2,}" }, "content": " " }));
    }
    let scheme = if vocabulary.add_space_prefix.unwrap_or(true) { "always" } else { "never" };
    let metaspace = json!({ "type": "Metaspace", "replacement": SPACE, "prepend_scheme": scheme, "split": true });
    Parts {
        normalizer: json!({ "type": "Sequence", "normalizers": normalizers }),
        pre_tokenizer: metaspace.clone(),
        decoder: metaspace,
        model: json!({ "type": "Unigram", "unk_id": roles.unknown, "vocab": vocab, "byte_fallback": false }),
    }
}
