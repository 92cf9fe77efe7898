//! Training, on real text and on odd text.

use std::path::PathBuf;
use std::sync::Arc;

use luban_base::progress::Silent;
use luban_base::random::Stream as Draws;
use luban_text::train::{END_OF_TEXT, Kind, UNKNOWN};
use luban_text::{Error, Stream, Tokenizer, TrainOptions};

fn shared(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/text").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn paragraphs(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split_inclusive("\n\n").map(str::to_string)
}

fn options(vocab_size: usize) -> TrainOptions {
    TrainOptions { vocab_size, sample_bytes: 600_000, ..TrainOptions::default() }
}

fn shakespeare(vocab_size: usize) -> Tokenizer {
    let text = shared("tinyshakespeare.txt");
    Tokenizer::train(paragraphs(&text), &options(vocab_size), &Silent).unwrap()
}

#[test]
fn same_input_same_file() {
    let (once, again) = (shakespeare(1000), shakespeare(1000));
    assert_eq!(once.to_json(), again.to_json());
    let other_seed = TrainOptions { seed: 1, ..options(1000) };
    let text = shared("tinyshakespeare.txt");
    let other = Tokenizer::train(paragraphs(&text), &other_seed, &Silent).unwrap();
    assert_ne!(once.to_json(), other.to_json(), "another seed draws another sample");
}

#[test]
fn text_survives_and_shrinks() {
    let tokenizer = shakespeare(2048);
    assert_eq!(tokenizer.vocab_size(), 2048);
    let text = shared("tinyshakespeare.txt");
    let ids = tokenizer.encode(&text).unwrap();
    assert_eq!(tokenizer.decode(&ids).unwrap(), text);
    let bytes_a_token = text.len() as f64 / ids.len() as f64;
    assert!(bytes_a_token > 3.0, "{bytes_a_token} bytes a token");
}

#[test]
fn chinese_survives_and_shrinks() {
    let text = shared("manpages-zh/zh_CN.man.txt");
    let head = &text[..text.floor_char_boundary(400_000)];
    let tokenizer = Tokenizer::train(paragraphs(head), &options(2048), &Silent).unwrap();
    let ids = tokenizer.encode(head).unwrap();
    assert_eq!(tokenizer.decode(&ids).unwrap(), head);
    assert!(head.len() as f64 / ids.len() as f64 > 2.0);
}

#[test]
fn indentation_is_cheap() {
    let line = "        let value = compute(input);\n";
    let source: String = (0..400).map(|i| format!("    fn f{i}() {{\n{line}{line}    }}\n")).collect();
    let tokenizer = Tokenizer::train(std::iter::once(source), &options(400), &Silent).unwrap();
    let ids = tokenizer.encode(&line.repeat(2)).unwrap();
    assert!(ids.len() <= 18, "{:?}", ids.iter().map(|&id| tokenizer.token(id)).collect::<Vec<_>>());
}

#[test]
fn the_special_token_is_first_and_only_recognised_where_asked() {
    let tokenizer = shakespeare(300);
    assert_eq!(tokenizer.eos(), Some(0));
    assert_eq!(tokenizer.id(END_OF_TEXT), Some(0));
    assert!(tokenizer.is_special(0));
    let text = format!("one{END_OF_TEXT}two");
    assert!(tokenizer.encode(&text).unwrap().contains(&0));
    let plain = tokenizer.encode_ordinary(&text).unwrap();
    assert!(!plain.contains(&0));
    assert_eq!(tokenizer.decode(&plain).unwrap(), text);
    let ordinary = "a text without any";
    assert_eq!(tokenizer.encode(ordinary).unwrap(), tokenizer.encode_ordinary(ordinary).unwrap());
}

#[test]
fn a_tokenizer_of_characters_has_those_of_the_text() {
    let text = shared("tinyshakespeare.txt");
    let characters = TrainOptions { kind: Kind::Characters, ..TrainOptions::default() };
    let tokenizer = Tokenizer::train(paragraphs(&text), &characters, &Silent).unwrap();
    // The 65 characters, the end of a text, and the unknown one.
    assert_eq!(
        (tokenizer.vocab_size(), tokenizer.eos(), tokenizer.id("a"), tokenizer.id(UNKNOWN)),
        (67, Some(0), Some(41), Some(1))
    );
    let ids = tokenizer.encode_ordinary(&text).unwrap();
    assert_eq!(ids.len(), text.chars().count());
    assert_eq!(tokenizer.decode(&ids).unwrap(), text);
    let head = &text[..20_000];
    assert_eq!(tokenizer.encode(head).unwrap(), ids[..20_000]);
    // Special tokens are known where they are asked for, and spelled out where not; what is unknown is one token.
    let odd = format!("a{END_OF_TEXT}é");
    assert_eq!(tokenizer.encode(&odd).unwrap(), [41, 0, 1]);
    let plain = tokenizer.encode_ordinary(&odd).unwrap();
    assert!(plain.len() == 15 && plain[14] == 1 && !plain.contains(&0), "{plain:?}");
    assert_eq!(tokenizer.decode(&[41, 0, 1, 42]).unwrap(), "ab");
    let mut stream = Stream::new(Arc::new(tokenizer));
    let streamed: String = ids[..300].iter().map(|&id| stream.push(id).unwrap()).collect();
    assert_eq!(streamed + &stream.finish().unwrap(), text[..300]);
    assert!(matches!(Tokenizer::train(std::iter::empty(), &characters, &Silent), Err(Error::NoText)));
}

#[test]
fn any_string_survives() {
    let tokenizer = shakespeare(500);
    let draws = Draws::new(9, &[]);
    for case in 0..400 {
        let draw = |i: u64| draws.child(case).u32_at(i);
        let characters = (0..u64::from(draw(0)) % 60).filter_map(|i| {
            let range = [0x80, 0x3000, 0xFFFF, 0x11_0000][draw(2 * i + 1) as usize % 4];
            char::from_u32(draw(2 * i + 2) % range)
        });
        let text: String = characters.collect();
        let ids = tokenizer.encode_ordinary(&text).unwrap();
        assert_eq!(tokenizer.decode(&ids).unwrap(), text);
    }
}

#[test]
fn a_stream_gives_whole_characters_and_in_all_the_same_text() {
    let tokenizer = Arc::new(shakespeare(300));
    let text = "naïve 东风夜放花千树 🦀🦀 e\u{301}\n";
    let ids = tokenizer.encode(text).unwrap();
    assert!(ids.len() > text.chars().count(), "characters are split into several tokens");
    let mut stream = Stream::new(Arc::clone(&tokenizer));
    let mut together = String::new();
    for &id in &ids {
        let piece = stream.push(id).unwrap();
        assert!(!piece.contains(char::REPLACEMENT_CHARACTER));
        together += &piece;
    }
    assert_eq!(together + &stream.finish().unwrap(), text);
}

#[test]
fn a_stream_of_any_tokens_gives_what_decoding_gives() {
    let tokenizer = Arc::new(shakespeare(300));
    for case in 0..300 {
        let draws = Draws::new(4, &[case]);
        // Most are single bytes, which make invalid UTF-8 of every kind; some ids do not exist.
        let ids: Vec<u32> = (0..40).map(|i| draws.below_at(i, 310) as u32).collect();
        let mut stream = Stream::new(Arc::clone(&tokenizer));
        let mut together: String = ids.iter().map(|&id| stream.push(id).unwrap()).collect();
        together += &stream.finish().unwrap();
        assert_eq!(together, tokenizer.decode(&ids).unwrap());
    }
}

#[test]
fn impossible_wishes_are_refused() {
    let train = |vocab_size, text: &str| {
        let texts = std::iter::once(text.to_string());
        Tokenizer::train(texts, &TrainOptions { vocab_size, ..TrainOptions::default() }, &Silent)
    };
    assert!(matches!(train(256, "text"), Err(Error::Option { .. })));
    assert!(matches!(train(2048, ""), Err(Error::NoText)));
    assert_eq!(train(2048, "ab ab ab").unwrap().vocab_size(), 257 + 2, "there is no more to learn");
}
