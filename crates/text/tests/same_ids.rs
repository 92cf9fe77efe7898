//! The fast ways give the library's ids, for files of many shapes, on real and on odd texts.

mod common;

use common::{gpt2, head, odd_text};
use luban_base::progress::Silent;
use luban_text::train::Kind;
use luban_text::{Tokenizer, TrainOptions};
use serde_json::{Value, json};

/// Both ways of reading special tokens, and with what stands around a text.
fn agree(file: &Value, texts: &[String]) {
    let bytes = file.to_string();
    let mut library = tokenizers::Tokenizer::from_bytes(&bytes).unwrap();
    let ours = Tokenizer::from_json(bytes.as_bytes()).unwrap();
    assert!(ours.is_fast(), "{} {} has a way of its own", file["pre_tokenizer"], file["normalizer"]);
    for special_is_text in [false, true] {
        library.set_encode_special_tokens(special_is_text);
        for text in texts {
            let expected = library.encode_fast(text.as_str(), false).unwrap();
            // Once, and again from memory.
            for _ in 0..2 {
                let found = if special_is_text { ours.encode_ordinary(text) } else { ours.encode(text) };
                assert!(found.unwrap() == expected.get_ids(), "{}, {text:?}", file["pre_tokenizer"]);
            }
            if !special_is_text {
                let expected = library.encode_fast(text.as_str(), true).unwrap();
                let found = ours.encode_special(text, None).unwrap();
                assert_eq!((&found.ids[..], &found.type_ids[..]), (expected.get_ids(), expected.get_type_ids()));
            }
        }
    }
}

/// Real texts, rulers, and some drawn by chance.
fn texts(real_bytes: usize, odd_texts: u64) -> Vec<String> {
    let real =
        ["text/peps.rst.txt", "text/manpages-zh/zh_CN.man.txt", "text/tinyshakespeare.txt", "text/rust-book.md.txt"];
    let odd = [
        "",
        " ",
        "\n",
        "e\u{301}\u{301}",
        "\u{0}\u{FFFD}\u{10FFFF}\r\r\n \t",
        " <|endoftext|>x",
        "a  <|endoftext|>  b",
    ];
    let rulers = ["=".repeat(5000), "a".repeat(5000), "花".repeat(500), " ".repeat(3000) + "x"];
    let real = real.iter().map(|name| head(name, real_bytes));
    real.chain(odd.map(str::to_owned)).chain(rulers).chain((0..odd_texts).map(odd_text)).collect()
}

fn trained(kind: Kind, vocab_size: usize) -> Value {
    let texts = head("text/peps.rst.txt", 400_000) + &head("text/manpages-zh/zh_CN.man.txt", 200_000);
    let options = TrainOptions { kind, vocab_size, ..TrainOptions::default() };
    let samples = texts.split_inclusive("\n\n").map(str::to_owned);
    serde_json::from_slice(Tokenizer::train(samples, &options, &Silent).unwrap().to_json()).unwrap()
}

#[test]
fn of_our_own_tokenizers() {
    let texts = texts(60_000, 300);
    agree(&trained(Kind::Bpe, 1500), &texts);
    agree(&trained(Kind::Characters, 1500), &texts);
}

const LLAMA_3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN_2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

#[test]
fn of_byte_level_bpe_in_many_shapes() {
    let byte_level = |space: bool, regex: bool| json!({ "type": "ByteLevel", "add_prefix_space": space, "trim_offsets": true, "use_regex": regex });
    let split = |pattern: &str| json!({ "type": "Split", "pattern": { "Regex": pattern }, "behavior": "Isolated", "invert": false });
    let sequence = |steps: Value| json!({ "type": "Sequence", "pretokenizers": steps });
    let digits = json!({ "type": "Digits", "individual_digits": true });
    let shapes = [
        byte_level(false, true),
        byte_level(true, true),
        byte_level(false, false),
        sequence(json!([digits, byte_level(false, true)])),
        sequence(json!([split(LLAMA_3), byte_level(false, false)])),
        sequence(json!([split(QWEN_2), byte_level(false, false)])),
        sequence(json!([split(r"\p{L}+"), byte_level(false, false)])),
        sequence(json!([split(r"[\r\n]"), split(r"\s?\p{L}+"), byte_level(false, true)])),
    ];
    let texts = texts(10_000, 100);
    for (at, shape) in shapes.into_iter().enumerate() {
        let mut file = gpt2();
        file["pre_tokenizer"] = shape;
        if at == 5 {
            file["normalizer"] = json!({ "type": "NFC" });
            file["added_tokens"][0]["normalized"] = false.into();
        }
        file["model"]["ignore_merges"] = (at % 2 == 1).into();
        // An added token that is text.
        let word = json!({ "id": 50257, "content": "花a", "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": at % 2 == 0, "special": false });
        file["added_tokens"].as_array_mut().unwrap().push(word);
        file["added_tokens"][0]["lstrip"] = (at == 2).into();
        agree(&file, &texts);
    }
}

fn special(id: u32, content: &str) -> Value {
    json!({ "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": true })
}

#[test]
fn of_word_piece() {
    let file = String::from_utf8(common::shared("text/peps.rst.txt")).unwrap();
    let mut words =
        vec!["[PAD]".to_owned(), "[UNK]".into(), "[CLS]".into(), "[SEP]".into(), "[MASK]".into(), "中".into()];
    let letters = file.to_lowercase();
    let mut pieces: Vec<String> = letters.split(|c: char| !c.is_alphanumeric()).map(str::to_owned).collect();
    pieces.sort_unstable();
    pieces.dedup();
    words.extend(pieces.iter().step_by(3).flat_map(|word| [word.clone(), format!("##{word}")]));
    words.extend(('a'..='z').chain('0'..='9').flat_map(|c| [c.to_string(), format!("##{c}")]));
    words.extend(".,;:!?'\"()#[]-_".chars().map(String::from));
    words.sort_unstable();
    words.dedup();
    words.retain(|word| !word.is_empty() && word != "##");
    let vocab: serde_json::Map<String, Value> =
        words.iter().zip(0..).map(|(word, id)| (word.clone(), json!(id))).collect();
    let id = |word: &str| vocab[word].as_u64().unwrap() as u32;
    let names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
    let template = |id: &str| json!({ "SpecialToken": { "id": id, "type_id": 0 } });
    for (lowercase, strip, clean, chinese) in [
        (true, None, true, true),
        (false, None, true, false),
        (true, Some(false), false, true),
        (false, Some(true), true, true),
    ] {
        let file = json!({
            "version": "1.0", "truncation": null, "padding": null,
            "added_tokens": names.map(|name| special(id(name), name)),
            "normalizer": { "type": "BertNormalizer", "clean_text": clean, "handle_chinese_chars": chinese,
                "strip_accents": strip, "lowercase": lowercase },
            "pre_tokenizer": { "type": "BertPreTokenizer" },
            "post_processor": { "type": "TemplateProcessing",
                "single": [template("[CLS]"), { "Sequence": { "id": "A", "type_id": 0 } }, template("[SEP]")],
                "pair": [{ "Sequence": { "id": "A", "type_id": 0 } }, { "Sequence": { "id": "B", "type_id": 1 } }],
                "special_tokens": { "[CLS]": { "id": "[CLS]", "ids": [id("[CLS]")], "tokens": ["[CLS]"] },
                    "[SEP]": { "id": "[SEP]", "ids": [id("[SEP]")], "tokens": ["[SEP]"] } } },
            "decoder": { "type": "WordPiece", "prefix": "##", "cleanup": true },
            "model": { "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 100, "vocab": vocab },
        });
        agree(&file, &texts(10_000, 100));
    }
}

#[test]
fn of_sentence_piece_in_many_shapes() {
    let llama = common::vocabulary(&common::shared("tokenizer/gguf-vocab/ggml-vocab-llama-spm.gguf"));
    let exported = Tokenizer::from_gguf(llama).unwrap();
    let file: Value = serde_json::from_slice(exported.to_json()).unwrap();
    let replace = json!({ "type": "Replace", "pattern": { "String": " " }, "content": "▁" });
    let metaspace =
        |scheme: &str| json!({ "type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": false });
    let shapes = [
        (file["normalizer"].clone(), Value::Null, true),
        (replace.clone(), Value::Null, true),
        (
            replace,
            json!({ "type": "Split", "pattern": { "String": " " }, "behavior": "MergedWithPrevious", "invert": false }),
            true,
        ),
        (Value::Null, metaspace("always"), true),
        (Value::Null, metaspace("first"), true),
        (Value::Null, metaspace("never"), false),
    ];
    for (at, (normalizer, pre_tokenizer, bytes)) in shapes.into_iter().enumerate() {
        let mut file = file.clone();
        file["normalizer"] = normalizer;
        file["pre_tokenizer"] = pre_tokenizer;
        file["model"]["byte_fallback"] = bytes.into();
        file["model"]["fuse_unk"] = (at % 2 == 1).into();
        agree(&file, &texts(10_000, 100));
    }
}

#[test]
fn what_a_way_of_its_own_does_not_do_is_left_to_the_library() {
    let changes: [fn(&mut Value); 6] = [
        |file| file["normalizer"] = json!({ "type": "Lowercase" }),
        |file| file["model"]["dropout"] = 0.1.into(),
        |file| file["model"]["continuing_subword_prefix"] = "##".into(),
        |file| file["model"]["end_of_word_suffix"] = "</w>".into(),
        |file| file["pre_tokenizer"]["pretokenizers"][0]["behavior"] = "Removed".into(),
        |file| file["pre_tokenizer"]["pretokenizers"][1]["add_prefix_space"] = true.into(),
    ];
    let mut file = trained(Kind::Bpe, 257);
    file["model"]["merges"] = json!([]);
    for change in changes {
        let mut file = file.clone();
        change(&mut file);
        let tokenizer = Tokenizer::from_json(file.to_string().as_bytes()).unwrap();
        assert!(!tokenizer.is_fast(), "{}", file["model"]["dropout"]);
        let _ = tokenizer.encode("abc").unwrap();
    }
}
