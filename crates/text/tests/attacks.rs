//! Hostile tokenizer files: each attack of `attacks.md` by name, and a seeded mutator over real files.

use luban_base::progress::Silent;
use luban_base::random::Stream as Draws;
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

#[test]
fn mutated_files_give_errors_or_work_but_never_panic() {
    let honest = honest();
    let text = "fn area(width: u32) { \"花\" }\n\t<|endoftext|> aa";
    let mut loaded = 0;
    for case in 0..1500 {
        let draws = Draws::new(11, &[case]);
        let mut file = honest.clone();
        for step in 0..1 + case % 3 {
            mutate(&mut file, &draws.child(step));
        }
        let mut bytes = file.to_string().into_bytes();
        if case % 4 == 0 {
            let place = draws.below_at(100, bytes.len() as u64) as usize;
            bytes[place] = draws.u32_at(101) as u8;
        }
        let Ok(tokenizer) = Tokenizer::from_json(&bytes) else { continue };
        loaded += 1;
        let ids = tokenizer.encode(text).unwrap_or_default();
        let _ = tokenizer.encode_ordinary(text);
        let _ = tokenizer.encode_special(text, Some(8));
        let _ = tokenizer.decode(&ids);
        let _ = tokenizer.decode(&[0, 1, 299, 300, u32::MAX]);
        tokenizer.hub_files(None);
    }
    assert!((50..1300).contains(&loaded), "the mutator reaches both sides: {loaded} files loaded");
}
