//! `tokenizer.json` and `tokenizer_config.json`.

use luban_base::progress::Silent;
use luban_text::{Tokenizer, TrainOptions};
use serde_json::{Value, json};

use super::said;
use crate::{Target, Verdict};

/// The tokenizer.
pub(crate) const FILE: Target = Target { name: "tokenizer", run: file, seeds: file_seeds, words: WORDS };
/// Its configuration.
pub(crate) const CONFIG: Target =
    Target { name: "tokenizer-config", run: config, seeds: config_seeds, words: CONFIG_WORDS };

const WORDS: &[&str] = &[
    "\"type\":\"Sequence\"",
    "\"type\":\"ByteLevel\"",
    "\"type\":\"Replace\"",
    "\"type\":\"Split\"",
    "\"type\":\"Metaspace\"",
    "\"pattern\":{\"Regex\":\"",
    "\"pattern\":{\"String\":\"",
    "\"normalizers\":[",
    "\"added_tokens\":[",
    "\"merges\":[",
    "\"vocab\":{",
    "null",
    "true",
    "4294967295",
    "-1",
    "\\u0000",
];
const CONFIG_WORDS: &[&str] =
    &["\"chat_template\":", "\"eos_token\":", "{% for m in messages %}", "{{", "}}", "null", "[", "{"];

fn file(input: &[u8]) -> Verdict {
    use_up(&Tokenizer::from_json(input).map_err(said)?);
    Ok(())
}

fn config(input: &[u8]) -> Verdict {
    let tokenizer = Tokenizer::from_json(words().to_string().as_bytes()).expect("a seed is read");
    use_up(&tokenizer.with_config(input).map_err(said)?);
    Ok(())
}

/// Uses a tokenizer in every way; what it cannot do it must say.
pub(crate) fn use_up(tokenizer: &Tokenizer) {
    let text = "fn area(width: u32) { \"花\" }\n\t<|endoftext|> aa [CLS] ▁x";
    let ids = tokenizer.encode(text).unwrap_or_default();
    let _ = tokenizer.encode_ordinary(text);
    let _ = tokenizer.encode_special(text, Some(8));
    let _ = tokenizer.encode_pair(text, "a b", Some(9));
    let _ = tokenizer.decode(&ids);
    let _ = tokenizer.decode(&[0, 1, 299, 300, u32::MAX]);
    let _ = tokenizer.encode_infilling("a", "b");
    let _ = tokenizer.word_starts(&ids);
    let _ = tokenizer.chat().map(|chat| chat.map(|chat| chat.apply(&[json!({ "role": "user" })], true, None)));
    let _ = tokenizer.hub_files(None);
}

fn file_seeds() -> Vec<Vec<u8>> {
    let texts = (0..20).map(|i| format!("fn area_{i}(width: u32) -> u32 {{ width * {i} }}\n"));
    let options = TrainOptions { vocab_size: 270, ..TrainOptions::default() };
    let trained = Tokenizer::train(texts, &options, &Silent).expect("a small tokenizer is trained");
    vec![trained.to_json().to_vec(), words().to_string().into_bytes(), pieces().to_string().into_bytes()]
}

/// WordPiece.
fn words() -> Value {
    let special = json!([{ "id": 1, "content": "[CLS]", "single_word": false, "lstrip": false, "rstrip": true,
        "normalized": false, "special": true }]);
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": special,
        "normalizer": { "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true },
        "pre_tokenizer": { "type": "BertPreTokenizer" },
        "post_processor": { "type": "BertProcessing", "sep": ["[CLS]", 1], "cls": ["[CLS]", 1] },
        "decoder": { "type": "WordPiece", "prefix": "##", "cleanup": true },
        "model": { "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
            "vocab": { "[UNK]": 0, "[CLS]": 1, "a": 2, "##a": 3, "area": 4, "花": 5, "(": 6 } },
    })
}

/// SentencePiece's BPE, without tokens for bytes.
fn pieces() -> Value {
    let replace = |from: &str, to: &str| json!({ "type": "Replace", "pattern": { "String": from }, "content": to });
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "post_processor": null,
        "normalizer": { "type": "Sequence", "normalizers": [{ "type": "Prepend", "prepend": "▁" }, replace(" ", "▁")] },
        "pre_tokenizer": null,
        "decoder": { "type": "Sequence", "decoders": [replace("▁", " "), { "type": "Fuse" }] },
        "model": { "type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": false,
            "vocab": { "<unk>": 0, "<s>": 1, "▁": 2, "a": 3, "▁a": 4, "aa": 5 }, "merges": ["▁ a", "a a"] },
    })
}

fn config_seeds() -> Vec<Vec<u8>> {
    let template = "{% for m in messages %}{{ m.role }}{{ eos_token }}{% endfor %}";
    let cases = [
        json!({ "eos_token": { "content": "[CLS]" }, "bos_token": "[CLS]", "pad_token": null,
            "chat_template": [{ "name": "default", "template": template }] }),
        json!({ "eos_token": "[CLS]", "chat_template": template }),
        json!({}),
    ];
    cases.map(|case| case.to_string().into_bytes()).to_vec()
}
