//! Hostile tokenizer files: each attack of `attacks.md` by name, and a seeded mutator over real files.

use luban_base::progress::Silent;
use luban_base::random::Stream as Draws;
use luban_text::gguf::Vocabulary;
use luban_text::{Error, TEXT_BYTES_MAX, Tokenizer, TrainOptions};
use serde_json::{Value, json};

fn honest() -> Value {
    let texts = (0..60).map(|i| format!("fn area_{i}(width: u32) -> u32 {{\n    width * {i}\n}}\n"));
    let options = TrainOptions { vocab_size: 300, ..TrainOptions::default() };
    let tokenizer = Tokenizer::train(texts, &options, &Silent).unwrap();
    serde_json::from_slice(tokenizer.to_json()).unwrap()
}

fn load(file: &Value) -> Result<Tokenizer, Error> {
    Tokenizer::from_json(file.to_string().as_bytes())
}

fn with(change: impl FnOnce(&mut Value)) -> Value {
    let mut file = honest();
    change(&mut file);
    file
}

#[test]
fn each_attack_is_an_error() {
    let cases: Vec<(&str, Value)> = vec![
        ("no object", json!([1, 2])),
        ("no model", with(|file| file["model"] = Value::Null)),
        ("no vocabulary", with(|file| file["model"]["vocab"] = json!(7))),
        ("empty vocabulary", with(|file| file["model"]["vocab"] = json!({}))),
        ("an id of four billion", with(|file| file["model"]["vocab"]["a"] = json!(4_000_000_000_u32))),
        ("a negative id", with(|file| file["model"]["vocab"]["a"] = json!(-1))),
        ("one id for two tokens", with(|file| file["model"]["vocab"]["a"] = json!(5))),
        ("a merge of unknown tokens", with(|file| file["model"]["merges"][0] = json!(["qq", "zz"]))),
        ("a merge of one token", with(|file| file["model"]["merges"][0] = json!(["a"]))),
        ("a merge that is a number", with(|file| file["model"]["merges"][0] = json!(3))),
        ("merges that are no list", with(|file| file["model"]["merges"] = json!("a b"))),
        ("a prefix that no token has", with(|file| file["model"]["continuing_subword_prefix"] = json!("####"))),
        ("an unknown version", with(|file| file["version"] = json!("99"))),
        ("a broken pattern", with(|file| file["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = json!("(("))),
        (
            "a pattern of a megabyte",
            with(|file| {
                file["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = json!("a".repeat(1 << 20));
            }),
        ),
        (
            "a normaliser that explodes",
            with(|file| {
                let step = json!({ "type": "Replace", "pattern": { "String": "a" }, "content": "aaaaaaaaaaaaaaaa" });
                file["normalizer"] = json!({ "type": "Sequence", "normalizers": vec![step; 8] });
            }),
        ),
        (
            "one without type names",
            with(|file| {
                let step = json!({ "pattern": { "String": "a" }, "content": "aaaaaaaaaaaaaaaa" });
                file["normalizer"] = json!({ "normalizers": vec![step; 8] });
            }),
        ),
        (
            "ten thousand steps",
            with(|file| {
                let step = json!({ "type": "Lowercase" });
                file["normalizer"] = json!({ "type": "Sequence", "normalizers": vec![step; 10_000] });
            }),
        ),
        ("added tokens that are no list", with(|file| file["added_tokens"] = json!({}))),
        ("added tokens of megabytes", with(|file| file["added_tokens"][0]["content"] = json!("a".repeat(5 << 20)))),
    ];
    for (name, file) in cases {
        let error = load(&file).expect_err(name);
        assert!(matches!(error, Error::Corrupt(_)), "{name}: {error}");
        assert!(error.to_string().len() < 500, "{name}: one short sentence, not {error}");
    }
    assert!(matches!(Tokenizer::from_json(b""), Err(Error::Corrupt(_))));
    assert!(matches!(Tokenizer::from_json(&"[".repeat(100_000).into_bytes()), Err(Error::Corrupt(_))));
    assert!(matches!(Tokenizer::from_json(&vec![b' '; 65 << 20]), Err(Error::FileTooLarge { .. })));
}

#[test]
fn padding_and_truncation_of_the_file_are_left_aside() {
    let file = with(|file| {
        file["padding"] = json!({ "strategy": { "Fixed": 1_000_000_000_000_u64 }, "direction": "Right",
            "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0, "pad_token": "x" });
        file["truncation"] = json!({ "max_length": 1, "strategy": "LongestFirst", "stride": 5, "direction": "Right" });
    });
    let tokenizer = load(&file).unwrap();
    assert_eq!(tokenizer.encode("ab cd").unwrap(), load(&honest()).unwrap().encode("ab cd").unwrap());
}

#[test]
fn a_text_that_is_too_long_is_refused() {
    let tokenizer = load(&honest()).unwrap();
    let text = " ".repeat(TEXT_BYTES_MAX + 1);
    assert!(matches!(tokenizer.encode(&text), Err(Error::TextTooLong { .. })));
    assert!(matches!(tokenizer.encode_special(&text, Some(4)), Err(Error::TextTooLong { .. })));
}

#[test]
fn backtracking_without_end_gives_up() {
    let file = with(|file| {
        file["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = json!(r"(?:(?:x(?!y))+)+z");
    });
    // Without the engine's limit of steps this would take 2^64 of them.
    let text = "x".repeat(64);
    let tokenizer = load(&file).unwrap();
    assert_eq!(tokenizer.decode(&tokenizer.encode(&text).unwrap()).unwrap(), text);
}

/// One change to one place of a JSON value: half the time to a value of the same type.
fn mutate(file: &mut Value, draws: &Draws) {
    let mut here = file;
    for depth in 0..2 + draws.below_at(0, 5) {
        let size = match here {
            Value::Array(items) => items.len(),
            Value::Object(fields) => fields.len(),
            _ => 0,
        };
        if size == 0 {
            break;
        }
        let index = draws.below_at(1 + depth, size as u64) as usize;
        here = match here {
            Value::Array(items) => &mut items[index],
            Value::Object(fields) => fields.values_mut().nth(index).unwrap(),
            _ => unreachable!("only containers have a size"),
        };
    }
    let strings = ["", "a", "Ġ", "花", "fn", "Isolated", "Removed", "WordPiece", "Unigram", "ByteLevel", "Digits"];
    let odd = [
        Value::Null,
        json!(-1),
        json!(1e300),
        json!(u64::MAX),
        json!([]),
        json!({}),
        json!(["a", "b"]),
        json!({ "type": "Sequence", "normalizers": [] }),
        json!({ "type": "ByteLevel" }),
        json!({ "type": "Replace", "pattern": { "String": "" }, "content": "花" }),
        json!({ "type": "Split", "pattern": { "String": "" }, "behavior": "Isolated", "invert": true }),
        json!({ "type": "WordPiece", "prefix": "#", "cleanup": true }),
    ];
    let same_type = draws.u32_at(20).is_multiple_of(2);
    *here = match here {
        Value::Bool(value) if same_type => json!(!*value),
        Value::String(_) if same_type => json!(strings[draws.below_at(21, strings.len() as u64) as usize]),
        Value::Number(_) if same_type => json!(draws.below_at(21, 5000)),
        _ => odd[draws.below_at(22, odd.len() as u64) as usize].clone(),
    };
}

/// How often to try: more where the environment says so.
fn rounds(default: u64) -> u64 {
    std::env::var("LUBAN_FUZZ_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Uses a tokenizer in every way.
fn use_up(tokenizer: &Tokenizer) {
    let text = "fn area(width: u32) { \"花\" }\n\t<|endoftext|> aa [CLS] ▁x";
    let ids = tokenizer.encode(text).unwrap_or_default();
    let _ = tokenizer.encode_ordinary(text);
    let _ = tokenizer.encode_special(text, Some(8));
    let _ = tokenizer.decode(&ids);
    let _ = tokenizer.decode(&[0, 1, 299, 300, u32::MAX]);
    let _ = tokenizer.encode_infilling("a", "b");
    let _ = tokenizer.word_starts(&ids);
    let _ = tokenizer.chat().map(|chat| chat.map(|chat| chat.apply(&[json!({ "role": "user" })], true, None)));
    tokenizer.hub_files(None);
}

/// What WordPiece's and SentencePiece's files look like, small.
fn others() -> [Value; 2] {
    let special = json!([{ "id": 1, "content": "[CLS]", "single_word": false, "lstrip": false, "rstrip": true,
        "normalized": false, "special": true }]);
    let template = json!({ "type": "TemplateProcessing",
        "single": [{ "SpecialToken": { "id": "[CLS]", "type_id": 0 } }, { "Sequence": { "id": "A", "type_id": 0 } }],
        "pair": [{ "Sequence": { "id": "A", "type_id": 0 } }, { "Sequence": { "id": "B", "type_id": 1 } }],
        "special_tokens": { "[CLS]": { "id": "[CLS]", "ids": [1], "tokens": ["[CLS]"] } } });
    let words = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": special, "post_processor": template,
        "normalizer": { "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true },
        "pre_tokenizer": { "type": "BertPreTokenizer" }, "decoder": { "type": "WordPiece", "prefix": "##", "cleanup": true },
        "model": { "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
            "vocab": { "[UNK]": 0, "[CLS]": 1, "a": 2, "##a": 3, "area": 4, "花": 5, "(": 6 } },
    });
    let replace = |from: &str, to: &str| json!({ "type": "Replace", "pattern": { "String": from }, "content": to });
    let mut vocab = json!({ "<unk>": 0, "<s>": 1, "▁": 2, "a": 3, "▁a": 4, "aa": 5 });
    (0..256).for_each(|byte| vocab[format!("<0x{byte:02X}>")] = json!(6 + byte));
    let pieces = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "post_processor": null,
        "normalizer": { "type": "Sequence", "normalizers": [{ "type": "Prepend", "prepend": "▁" }, replace(" ", "▁")] },
        "pre_tokenizer": null,
        "decoder": { "type": "Sequence", "decoders": [replace("▁", " "), { "type": "ByteFallback" }, { "type": "Fuse" },
            { "type": "Strip", "content": " ", "start": 1, "stop": 0 }] },
        "model": { "type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "vocab": vocab, "merges": ["▁ a", "a a"] },
    });
    [words, pieces]
}

#[test]
fn mutated_files_give_errors_or_work_but_never_panic() {
    let [words, pieces] = others();
    let honest = [honest(), words, pieces];
    let rounds = rounds(3000);
    let mut loaded = 0;
    for case in 0..rounds {
        let draws = Draws::new(11, &[case]);
        let mut file = honest[case as usize % honest.len()].clone();
        for step in 0..1 + case / 3 % 3 {
            mutate(&mut file, &draws.child(step));
        }
        let mut bytes = file.to_string().into_bytes();
        if case % 4 == 0 {
            let place = draws.below_at(100, bytes.len() as u64) as usize;
            bytes[place] = draws.u32_at(101) as u8;
        }
        let Ok(tokenizer) = Tokenizer::from_json(&bytes) else { continue };
        loaded += 1;
        use_up(&tokenizer);
    }
    assert!((rounds / 30..rounds * 9 / 10).contains(&loaded), "the mutator reaches both sides: {loaded} files loaded");
}

#[test]
fn mutated_configurations_give_errors_or_work() {
    let file = honest().to_string();
    let tokenizer = || Tokenizer::from_json(file.as_bytes()).unwrap();
    let config = json!({
        "eos_token": { "content": "<|endoftext|>" }, "bos_token": "<|endoftext|>", "pad_token": null,
        "chat_template": [{ "name": "default", "template": "{% for m in messages %}{{ m.role }}{{ eos_token }}{% endfor %}" }],
    });
    let whole = tokenizer().with_config(config.to_string().as_bytes()).unwrap();
    let text = whole.chat().unwrap().unwrap().apply(&[json!({ "role": "user" })], true, None).unwrap();
    assert_eq!(text, "user<|endoftext|>");
    let (mut taken, rounds) = (0, rounds(1000));
    for case in 0..rounds {
        let draws = Draws::new(12, &[case]);
        let mut config = config.clone();
        mutate(&mut config, &draws);
        let mut bytes = config.to_string().into_bytes();
        if case % 3 == 0 {
            let place = draws.below_at(100, bytes.len() as u64) as usize;
            bytes[place] = draws.u32_at(101) as u8;
        }
        let Ok(tokenizer) = tokenizer().with_config(&bytes) else { continue };
        taken += 1;
        let _ = tokenizer.chat().map(|chat| chat.map(|chat| chat.apply(&[json!({ "role": "user" })], true, None)));
    }
    assert!((rounds / 20..rounds).contains(&taken), "{taken} of {rounds} were taken");
}

/// A small vocabulary of a kind.
fn vocabulary(model: &str) -> Vocabulary {
    let bytes = (0..256).map(|byte| format!("<0x{byte:02X}>"));
    let words =
        ["<unk>", "<s>", "</s>", "▁", "a", "b", "▁a", "ab", "▁ab", "f", "n", "fn", "花", "[CLS]", "[SEP]", "Ġ", "Ġa"];
    let tokens: Vec<String> = words.iter().map(|word| (*word).to_owned()).chain(bytes).collect();
    let kind = |token: &String| match token.as_str() {
        "<unk>" => 2,
        "<s>" | "</s>" | "[CLS]" | "[SEP]" => 3,
        token if token.starts_with("<0x") => 6,
        _ => 1,
    };
    Vocabulary {
        model: model.to_owned(),
        pre: Some("qwen2".into()),
        scores: (0..tokens.len()).map(|id| -(id as f32)).collect(),
        kinds: tokens.iter().map(kind).collect(),
        merges: ["a b", "f n", "Ġ a"].map(str::to_owned).to_vec(),
        tokens,
        chat_template: Some("{{ messages }}".into()),
        ..Vocabulary::default()
    }
}

/// Some changes to a vocabulary.
fn damage(vocabulary: &mut Vocabulary, changes: u64, draws: &Draws) {
    let texts = [
        "",
        "a",
        " ",
        "a b",
        "花",
        "<0x41>",
        "<0xZZ>",
        "[CLS]",
        "▁▁",
        "\u{0}",
        "Ġ",
        "default",
        "llama-bpe",
        "bert",
        "t5",
    ];
    let below = |at: u64, bound: usize| draws.below_at(at, bound.max(1) as u64) as usize;
    for step in (0..changes).map(|step| 10 * step) {
        let text = texts[below(step + 1, texts.len())].to_owned();
        let id = [0, 1, 300, u32::MAX][below(step + 2, 4)];
        let count = vocabulary.tokens.len();
        let at = below(step + 3, count);
        match below(step + 4, 14) {
            0 if count > 0 => vocabulary.tokens[at] = text,
            1 => vocabulary.tokens.truncate(at),
            2 => vocabulary.tokens.push(text),
            3 => vocabulary.scores.truncate(at),
            4 if at < vocabulary.scores.len() => {
                vocabulary.scores[at] = [f32::NAN, f32::INFINITY, 0.0, -0.0][below(step + 5, 4)]
            }
            5 if at < vocabulary.kinds.len() => vocabulary.kinds[at] = below(step + 5, 9) as i32 - 1,
            6 => vocabulary.merges.push(text),
            7 => vocabulary.pre = Some(text),
            8 => vocabulary.model = text,
            9 => vocabulary.special.bos = Some(id),
            10 => vocabulary.special.unknown = Some(id),
            11 => {
                (vocabulary.special.prefix, vocabulary.special.middle, vocabulary.special.suffix) =
                    (Some(id), Some(1), Some(2))
            }
            12 => vocabulary.precompiled_charsmap = (0..at).map(|at| draws.u32_at(500 + at as u64) as u8).collect(),
            _ => (vocabulary.add_bos, vocabulary.add_space_prefix) = (Some(at % 2 == 0), Some(at % 3 == 0)),
        }
    }
}

#[test]
fn mutated_vocabularies_give_errors_or_work() {
    let (mut loaded, rounds) = (0, rounds(3000));
    for case in 0..rounds {
        let mut vocabulary = vocabulary(["gpt2", "llama", "bert", "t5"][case as usize % 4]);
        damage(&mut vocabulary, 1 + case / 4 % 4, &Draws::new(13, &[case]));
        let Ok(tokenizer) = Tokenizer::from_gguf(vocabulary) else { continue };
        loaded += 1;
        use_up(&tokenizer);
    }
    assert!((rounds / 20..rounds * 9 / 10).contains(&loaded), "{loaded} of {rounds} were taken");
}
