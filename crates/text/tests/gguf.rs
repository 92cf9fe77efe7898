//! Tokenizers of GGUF files, against published vectors and against themselves as `tokenizer.json`.

mod common;

use std::sync::Arc;

use common::{head, odd_text, shared, vocabulary};
use luban_text::gguf::Vocabulary;
use luban_text::{Error, Sentinels, Stream, Tokenizer};

fn load(name: &str) -> Tokenizer {
    Tokenizer::from_gguf(vocabulary(&shared(&format!("tokenizer/gguf-vocab/ggml-vocab-{name}.gguf")))).unwrap()
}

/// The published texts with their ids.
fn vectors(name: &str) -> Vec<(String, Vec<u32>)> {
    let read =
        |end: &str| String::from_utf8(shared(&format!("tokenizer/gguf-vocab/ggml-vocab-{name}.gguf.{end}"))).unwrap();
    let (inputs, outputs) = (read("inp"), read("out"));
    let ids = |line: &str| line.split_whitespace().map(|id| id.parse().unwrap()).collect();
    let pairs = inputs.split("\n__ggml_vocab_test__\n").map(str::to_owned).zip(outputs.lines().map(ids));
    let pairs: Vec<_> = pairs.collect();
    assert!(pairs.len() > 30);
    pairs
}

const NAMES: [&str; 4] = ["gpt-2", "starcoder", "llama-spm", "bert-bge"];
/// The first of these characters begins with a byte that StarCoder has no token for: it is lost.
const WITHOUT_TOKENS: &str = "a\u{40000}b \u{7FFFF}\u{10FFFF} c";

#[test]
fn the_published_ids() {
    for name in NAMES {
        let tokenizer = load(name);
        for (text, expected) in vectors(name) {
            assert_eq!(tokenizer.encode(&text).unwrap(), expected, "{name}: {text:?}");
            assert_eq!(tokenizer.encode_ordinary(&text).unwrap(), expected, "{name}: {text:?}");
            if name != "bert-bge" {
                assert_eq!(tokenizer.decode(&expected).unwrap(), text, "{name}");
            }
        }
    }
}

#[test]
fn as_a_file_of_hugging_face_it_is_the_same_tokenizer() {
    for name in NAMES {
        let tokenizer = load(name);
        let again = Tokenizer::from_json(tokenizer.to_json()).unwrap();
        let library = tokenizers::Tokenizer::from_bytes(tokenizer.to_json()).unwrap();
        let texts = [head("text/peps.rst.txt", 100_000), head("text/manpages-zh/zh_CN.man.txt", 50_000)];
        for text in texts.into_iter().chain([WITHOUT_TOKENS.to_owned()]).chain((0..300).map(odd_text)) {
            let expected = library.encode_fast(text.as_str(), false).unwrap();
            assert_eq!(tokenizer.encode(&text).unwrap(), expected.get_ids(), "{name}: {text:?}");
            let whole = library.encode_fast(text.as_str(), true).unwrap();
            assert_eq!(tokenizer.encode_special(&text, None).unwrap().ids, whole.get_ids(), "{name}: {text:?}");
            let ids = again.encode_ordinary(&text).unwrap();
            assert_eq!(tokenizer.encode_ordinary(&text).unwrap(), ids, "{name}: {text:?}");
            assert_eq!(tokenizer.decode(&ids).unwrap(), again.decode(&ids).unwrap(), "{name}: {text:?}");
        }
        assert_eq!(tokenizer.vocab_size(), again.vocab_size());
        for id in (0..again.vocab_size() as u32).step_by(97) {
            assert_eq!(tokenizer.token(id), again.token(id));
            assert_eq!(tokenizer.is_special(id), again.is_special(id), "{name}: {id}");
        }
    }
}

#[test]
fn what_stands_around_a_text() {
    let special = |name: &str| load(name).encode_special("a", None).unwrap().ids;
    assert_eq!(special("llama-spm"), [1, 263]);
    assert_eq!(special("bert-bge"), [101, 1037, 102]);
    assert_eq!(special("gpt-2"), [64]);
    assert_eq!(load("llama-spm").eos(), Some(2));
    assert_eq!(load("gpt-2").ends(), [50256]);
}

#[test]
fn streams_are_what_decoding_gives() {
    for name in NAMES {
        let tokenizer = Arc::new(load(name));
        for text in (0..40).map(odd_text).chain([" a b  花\u{1F680} ".to_owned(), head("text/peps.rst.txt", 500)]) {
            let ids = tokenizer.encode_ordinary(&text).unwrap();
            let mut stream = Stream::new(Arc::clone(&tokenizer));
            let mut together: String = ids.iter().map(|&id| stream.push(id).unwrap()).collect();
            together += &stream.finish().unwrap();
            let expected = tokenizer.decode(&ids).unwrap();
            if name == "bert-bge" {
                let letters = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
                assert_eq!(letters(&together), letters(&expected));
            } else {
                assert_eq!(together, expected, "{name}");
            }
        }
    }
}

#[test]
fn tokens_for_filling_in_the_middle() {
    let tokenizer = load("starcoder");
    let Sentinels { prefix, middle, suffix } = Sentinels::of(&tokenizer).expect("StarCoder fills in");
    assert_eq!(
        [prefix, middle, suffix].map(|id| tokenizer.token(id).unwrap()),
        ["<fim_prefix>", "<fim_middle>", "<fim_suffix>"]
    );
    let prompt = tokenizer.encode_infilling("def f(", "):\n").unwrap().unwrap();
    assert_eq!((prompt[0], *prompt.last().unwrap()), (prefix, middle));
    // The file may name them itself.
    let mut other = tiny();
    other.special.prefix = Some(2);
    other.special.suffix = Some(0);
    other.special.middle = Some(1);
    let found = Sentinels::of(&Tokenizer::from_gguf(other).unwrap());
    assert_eq!(found, Some(Sentinels { prefix: 2, middle: 1, suffix: 0 }));
}

/// A vocabulary of three tokens.
fn tiny() -> Vocabulary {
    Vocabulary {
        model: "gpt2".into(),
        pre: Some("gpt-2".into()),
        tokens: ["a", "b", "ab"].map(str::to_owned).to_vec(),
        merges: vec!["a b".into()],
        ..Vocabulary::default()
    }
}

#[test]
fn vocabularies_that_do_not_fit_together() {
    let ok = Tokenizer::from_gguf(tiny()).unwrap();
    assert_eq!(ok.encode("abbxa").unwrap(), [2, 1, 0], "a byte without a token is lost");
    type Change = fn(&mut Vocabulary);
    let cases: [(&str, Change); 12] = [
        ("no tokens", |v| v.tokens.clear()),
        ("another kind", |v| v.model = "rwkv".into()),
        ("another way to cut", |v| v.pre = Some("unheard-of".into())),
        ("a token twice", |v| v.tokens[1] = "a".into()),
        ("scores for other tokens", |v| v.scores = vec![0.0; 2]),
        ("kinds for other tokens", |v| v.kinds = vec![1; 4]),
        ("no scores", |v| v.model = "llama".into()),
        ("a score that is no number", |v| {
            v.model = "llama".into();
            v.scores = vec![f32::NAN; 3];
        }),
        ("a merge of one token", |v| v.merges[0] = "ab".into()),
        ("no bytes", |v| v.tokens = vec!["花".into()]),
        ("a token of a megabyte", |v| v.tokens[0] = "a".repeat(1 << 20)),
        ("a beginning that it lacks", |v| v.add_bos = Some(true)),
    ];
    for (name, change) in cases {
        let mut vocabulary = tiny();
        change(&mut vocabulary);
        let error = Tokenizer::from_gguf(vocabulary).expect_err(name);
        assert!(matches!(error, Error::Vocabulary(_)), "{name}: {error}");
        assert!(error.to_string().len() < 300, "{name}: {error}");
    }
}

/// `tokenizer.json` to the values of a GGUF file: a tokenizer that gives the same ids.
#[test]
fn files_of_hugging_face_become_values_of_gguf() {
    for name in NAMES {
        let first = Tokenizer::from_json(load(name).to_json()).unwrap();
        let imported = first.to_gguf(None).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(imported.exact, "{name}");
        let again = Tokenizer::from_gguf(imported.vocabulary).unwrap();
        assert_eq!(again.vocab_size(), first.vocab_size(), "{name}");
        let texts = [head("text/peps.rst.txt", 50_000), WITHOUT_TOKENS.to_owned()];
        for text in texts.into_iter().chain((0..300).map(odd_text)) {
            assert_eq!(
                again.encode_ordinary(&text).unwrap(),
                first.encode_ordinary(&text).unwrap(),
                "{name}: {text:?}"
            );
            let special = |tokenizer: &Tokenizer| tokenizer.encode_special(&text, None).unwrap().ids;
            assert_eq!(special(&again), special(&first), "{name}: {text:?}");
        }
    }
}

#[test]
fn our_own_way_of_cutting_has_no_name_and_says_so() {
    let texts = [head("text/tinyshakespeare.txt", 100_000)];
    let options = luban_text::TrainOptions { vocab_size: 400, ..Default::default() };
    let ours = Tokenizer::train(texts.into_iter(), &options, &luban_base::progress::Silent).unwrap();
    let imported = ours.to_gguf(None).unwrap();
    assert!(!imported.exact);
    assert_eq!(imported.vocabulary.pre.as_deref(), Some("dbrx"));
    assert_eq!(imported.vocabulary.special.eos, ours.eos());
    let again = Tokenizer::from_gguf(imported.vocabulary).unwrap();
    let text = "To be, or not to be: that is the question";
    assert_eq!(again.encode(text).unwrap(), ours.encode(text).unwrap());
}
