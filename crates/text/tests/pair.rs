//! Pairs of texts, against Hugging Face's library.

mod common;

use common::{odd_text, shared, vocabulary};
use luban_text::Tokenizer;
use serde_json::{Value, json};
use tokenizers::utils::truncation::truncate_encodings;
use tokenizers::{Encoding, TruncationParams, TruncationStrategy};

/// A GGUF vocabulary as a `tokenizer.json`.
fn file(name: &str) -> Value {
    let vocabulary = vocabulary(&shared(&format!("tokenizer/gguf-vocab/ggml-vocab-{name}.gguf")));
    serde_json::from_slice(Tokenizer::from_gguf(vocabulary).unwrap().to_json()).unwrap()
}

fn cases() -> [(&'static str, Value); 4] {
    let mut roberta = file("gpt-2");
    roberta["post_processor"] = json!({
        "type": "RobertaProcessing", "sep": ["!", 0], "cls": ["\"", 1], "trim_offsets": true, "add_prefix_space": false,
    });
    [("bert", file("bert-bge")), ("roberta", roberta), ("nothing around", file("gpt-2")), ("llama", file("llama-spm"))]
}

/// Cut when both are whole: the library's own limit stops at a word of the first text, and then takes it for shorter than
/// it is.
fn expected(library: &tokenizers::Tokenizer, texts: [&str; 2], limit: Option<usize>) -> Encoding {
    let Some(limit) = limit else { return library.encode_fast((texts[0], texts[1]), true).unwrap() };
    let [first, second] = texts.map(|text| library.encode_fast(text, false).unwrap());
    let added = library.post_process(Encoding::default(), Some(Encoding::default()), true).unwrap().len();
    let params = TruncationParams {
        max_length: limit - added,
        strategy: TruncationStrategy::LongestFirst,
        ..Default::default()
    };
    let (first, second) = truncate_encodings(first, Some(second), &params).unwrap();
    library.post_process(first, second, true).unwrap()
}

#[test]
fn pairs_are_the_librarys() {
    for (name, file) in cases() {
        let ours = Tokenizer::from_json(file.to_string().as_bytes()).unwrap();
        let library = tokenizers::Tokenizer::from_bytes(file.to_string().as_bytes()).unwrap();
        for number in 0..100 {
            let (first, second) = (odd_text(2 * number), odd_text(2 * number + 1));
            for limit in [None, Some(4), Some(9), Some(40)] {
                let expected = expected(&library, [&first, &second], limit);
                let found = ours.encode_pair(&first, &second, limit).unwrap();
                assert_eq!(found.ids, expected.get_ids(), "{name}, {limit:?}: {first:?}, {second:?}");
                assert_eq!(found.type_ids, expected.get_type_ids(), "{name}, {limit:?}: {first:?}, {second:?}");
            }
        }
    }
}

#[test]
fn a_limit_below_the_special_tokens_is_refused() {
    let bert = Tokenizer::from_json(file("bert-bge").to_string().as_bytes()).unwrap();
    let error = bert.encode_pair("a", "b", Some(2)).unwrap_err().to_string();
    assert!(error.contains("at least 3"), "{error}");
    assert_eq!(bert.encode_pair("a", "b", Some(3)).unwrap().ids, [101, 102, 102]);
}
