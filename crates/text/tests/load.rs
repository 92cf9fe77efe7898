//! Loading files of other tools: GPT-2 with its published vectors, WordPiece with its post-processor.

use std::path::PathBuf;
use std::sync::Arc;

use luban_text::{Error, Stream, Tokenizer};
use serde_json::{Value, json};

fn shared(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/tokenizer").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// GPT-2's `tokenizer.json`, put together from the files that OpenAI published.
fn gpt2() -> Tokenizer {
    let vocab: Value = serde_json::from_slice(&shared("gpt2/encoder.json")).unwrap();
    let rules = String::from_utf8(shared("gpt2/vocab.bpe")).unwrap();
    let merges: Vec<&str> = rules.lines().skip(1).filter(|line| !line.is_empty()).collect();
    let byte_level = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true });
    let file = json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [{ "id": 50256, "content": "<|endoftext|>", "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": true, "special": true }],
        "normalizer": null, "pre_tokenizer": byte_level, "post_processor": byte_level, "decoder": byte_level,
        "model": { "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "",
            "end_of_word_suffix": "", "fuse_unk": false, "vocab": vocab, "merges": merges },
    });
    Tokenizer::from_json(file.to_string().as_bytes()).unwrap()
}

#[test]
fn gpt2_gives_the_published_ids() {
    let tokenizer = gpt2();
    assert_eq!(tokenizer.vocab_size(), 50257);
    assert_eq!(tokenizer.eos(), Some(50256));
    let inputs = String::from_utf8(shared("gguf-vocab/ggml-vocab-gpt-2.gguf.inp")).unwrap();
    let outputs = String::from_utf8(shared("gguf-vocab/ggml-vocab-gpt-2.gguf.out")).unwrap();
    let inputs: Vec<&str> = inputs.split("\n__ggml_vocab_test__\n").collect();
    let outputs: Vec<&str> = outputs.lines().collect();
    assert!(inputs.len() > 30);
    for (text, ids) in inputs.iter().zip(outputs) {
        let expected: Vec<u32> = ids.split_whitespace().map(|id| id.parse().unwrap()).collect();
        assert_eq!(tokenizer.encode(text).unwrap(), expected, "{text:?}");
        assert_eq!(&tokenizer.decode(&expected).unwrap(), text);
    }
}

fn word_piece() -> Value {
    let words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "sat", "##s", "un", "##happy", ".", "中"];
    let vocab: serde_json::Map<String, Value> =
        words.iter().enumerate().map(|(id, word)| (word.to_string(), Value::from(id))).collect();
    let special = |id: usize| {
        json!({ "id": id, "content": words[id], "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true })
    };
    json!({
        "version": "1.0",
        "truncation": { "max_length": 4, "strategy": "LongestFirst", "stride": 0, "direction": "Right" },
        "padding": { "strategy": { "Fixed": 64 }, "direction": "Right", "pad_to_multiple_of": null,
            "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]" },
        "added_tokens": (0..5).map(special).collect::<Vec<_>>(),
        "normalizer": { "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
            "strip_accents": null, "lowercase": true },
        "pre_tokenizer": { "type": "BertPreTokenizer" },
        "post_processor": { "type": "TemplateProcessing",
            "single": [{ "SpecialToken": { "id": "[CLS]", "type_id": 0 } }, { "Sequence": { "id": "A", "type_id": 0 } },
                { "SpecialToken": { "id": "[SEP]", "type_id": 0 } }],
            "pair": [{ "SpecialToken": { "id": "[CLS]", "type_id": 0 } }, { "Sequence": { "id": "A", "type_id": 0 } },
                { "SpecialToken": { "id": "[SEP]", "type_id": 0 } }, { "Sequence": { "id": "B", "type_id": 1 } },
                { "SpecialToken": { "id": "[SEP]", "type_id": 1 } }],
            "special_tokens": { "[CLS]": { "id": "[CLS]", "ids": [2], "tokens": ["[CLS]"] },
                "[SEP]": { "id": "[SEP]", "ids": [3], "tokens": ["[SEP]"] } } },
        "decoder": { "type": "WordPiece", "prefix": "##", "cleanup": true },
        "model": { "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocab },
    })
}

#[test]
fn bert_ids_and_types_without_the_files_padding_and_truncation() {
    let tokenizer = Tokenizer::from_json(word_piece().to_string().as_bytes()).unwrap();
    let encoding = tokenizer.encode_special("The Cats sat, unhappy 中。", None).unwrap();
    assert_eq!(encoding.ids, [2, 5, 6, 8, 7, 1, 9, 10, 12, 1, 3]);
    assert_eq!(encoding.type_ids, [0; 11]);
    assert_eq!(tokenizer.encode("the cat").unwrap(), [5, 6], "no special tokens unless asked");
    assert_eq!(tokenizer.encode_special("", None).unwrap().ids, [2, 3]);
    assert_eq!(tokenizer.decode(&encoding.ids).unwrap(), "the cats sat unhappy 中");
}

#[test]
fn a_limit_cuts_the_text_and_keeps_the_special_tokens() {
    let tokenizer = Tokenizer::from_json(word_piece().to_string().as_bytes()).unwrap();
    let limited = |limit| tokenizer.encode_special("the cat sat the cat sat", Some(limit));
    assert_eq!(limited(4).unwrap().ids, [2, 5, 6, 3]);
    assert_eq!(limited(2).unwrap().ids, [2, 3]);
    assert_eq!(limited(99).unwrap().ids.len(), 8);
    assert!(matches!(limited(1), Err(Error::Option { .. })));
}

#[test]
fn words_stream_with_their_spaces() {
    let tokenizer = Arc::new(Tokenizer::from_json(word_piece().to_string().as_bytes()).unwrap());
    let ids = [2, 5, 6, 8, 7, 9, 10, 3, 4096];
    let mut stream = Stream::new(Arc::clone(&tokenizer));
    let mut together: String = ids.iter().map(|&id| stream.push(id).unwrap()).collect();
    together += &stream.finish().unwrap();
    assert_eq!(together, "the cats sat unhappy");
}

#[test]
fn byte_fallback_waits_for_whole_characters() {
    let mut vocab: serde_json::Map<String, Value> =
        ["<unk>", "<s>", "</s>", "▁", "a", "▁a"].iter().zip(0..).map(|(t, id)| (t.to_string(), json!(id))).collect();
    vocab.extend((0..256).map(|byte| (format!("<0x{byte:02X}>"), json!(6 + byte))));
    let file = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
        "normalizer": { "type": "Sequence", "normalizers": [{ "type": "Prepend", "prepend": "▁" },
            { "type": "Replace", "pattern": { "String": " " }, "content": "▁" }] },
        "pre_tokenizer": null, "post_processor": null,
        "decoder": { "type": "Sequence", "decoders": [
            { "type": "Replace", "pattern": { "String": "▁" }, "content": " " }, { "type": "ByteFallback" },
            { "type": "Fuse" }, { "type": "Strip", "content": " ", "start": 1, "stop": 0 }] },
        "model": { "type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "vocab": vocab,
            "merges": ["▁ a"] },
    });
    let tokenizer = Arc::new(Tokenizer::from_json(file.to_string().as_bytes()).unwrap());
    assert_eq!(tokenizer.eos(), Some(2));
    let ids = tokenizer.encode("a 花 a").unwrap();
    assert_eq!(ids.len(), 6, "{ids:?}");
    let mut stream = Stream::new(Arc::clone(&tokenizer));
    let pieces: Vec<String> = ids.iter().map(|&id| stream.push(id).unwrap()).collect();
    assert_eq!(pieces.concat() + &stream.finish().unwrap(), "a 花 a");
    assert!(pieces.iter().all(|piece| !piece.contains(char::REPLACEMENT_CHARACTER)), "{pieces:?}");
}

#[test]
fn the_configuration_names_the_end_of_text() {
    let load = || Tokenizer::from_json(word_piece().to_string().as_bytes()).unwrap();
    assert_eq!(load().eos(), Some(3), "[SEP] by its usual name");
    let with = |config: &str| load().with_config(config.as_bytes());
    assert_eq!(with(r#"{"eos_token": "[MASK]"}"#).unwrap().eos(), Some(4));
    assert_eq!(with(r#"{"eos_token": {"content": "[PAD]"}}"#).unwrap().eos(), Some(0));
    assert_eq!(with("{}").unwrap().eos(), Some(3));
    assert!(matches!(with(r#"{"eos_token": "no"}"#), Err(Error::UnknownToken(_))));
    assert!(matches!(with(r#"{"eos_token": 7}"#), Err(Error::Config(_))));
    assert!(matches!(with("{"), Err(Error::Config(_))));
}
