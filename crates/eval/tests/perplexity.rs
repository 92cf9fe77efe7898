//! Perplexity of models whose answer is known.

use std::fs;
use std::path::Path;

use luban_artifact::{ArtifactWriter, Keys, Kind, ModelFiles};
use luban_base::progress::Silent;
use luban_eval::{PerplexityOptions, Text, perplexity, task};
use luban_model::families::Family;
use luban_model::io::{self, WeightData};
use luban_model::spec::Head;
use luban_model::weights::Role;
use luban_model::{Error, Spec};
use luban_text::{Tokenizer, TrainOptions};

const TEXT: &str = "fn main() {\n    let width = 3;\n    println!(\"{width}\");\n}\n";

fn tokenizer() -> Tokenizer {
    let texts = (0..30).map(|i| format!("{TEXT}let x{i} = {i};\n"));
    Tokenizer::train(texts, &TrainOptions { vocab_size: 300, ..TrainOptions::default() }, &Silent).unwrap()
}

/// A model that finds every token equally likely: its head is all zeros.
fn indifferent(dir: &Path, tokenizer: &Tokenizer) -> ModelFiles {
    let spec =
        Spec { context: 16, head: Head::Vocabulary { tied: false }, ..Spec::llama(16, 1, 2, tokenizer.vocab_size()) };
    let keys = Keys::load_or_create(&dir.join("home")).unwrap();
    let writer = ArtifactWriter::create(&dir.join("model"), Kind::Model).unwrap();
    let weight = |slot: &luban_model::weights::Slot| -> Result<WeightData, Error> {
        let value = if slot.name.starts_with("head") { 0.0 } else { 0.01 * slot.name.len() as f32 };
        Ok(WeightData::F32(vec![if slot.role == Role::NormWeight { 1.0 } else { value }; slot.len()]))
    };
    io::export(&writer, Family::for_spec(&spec).unwrap(), &spec, Default::default(), weight).unwrap();
    for (name, bytes) in tokenizer.hub_files(Some(16)) {
        writer.write(name, &bytes).unwrap();
    }
    writer.commit(&keys).unwrap();
    ModelFiles::open(&dir.join("model")).unwrap()
}

#[test]
fn an_indifferent_model_has_the_perplexity_of_its_vocabulary() {
    let dir = tempfile::tempdir().unwrap();
    let tokenizer = tokenizer();
    let model = indifferent(dir.path(), &tokenizer);
    let file = dir.path().join("text.rs");
    fs::write(&file, TEXT.repeat(20)).unwrap();
    let text = Text::open(&file).unwrap();
    for context in [None, Some(1), Some(5)] {
        let options = PerplexityOptions { context, ..PerplexityOptions::default() };
        let measured = perplexity::evaluate(&model, &text, &options, &Silent).unwrap();
        let tokens = tokenizer.encode_ordinary(&TEXT.repeat(20)).unwrap().len() as u64 + 1;
        assert_eq!((measured.tokens, measured.bytes), (tokens, 20 * TEXT.len() as u64));
        assert_eq!(measured.context, context.unwrap_or(16));
        assert!((measured.perplexity / tokenizer.vocab_size() as f64 - 1.0).abs() < 1e-5, "{measured:?}");
        let bits = tokens as f64 * (tokenizer.vocab_size() as f64).log2() / measured.bytes as f64;
        assert!((measured.bits_per_byte / bits - 1.0).abs() < 1e-5, "{measured:?}");
    }
    let options = PerplexityOptions { tokens_max: Some(7), ..PerplexityOptions::default() };
    let measured = perplexity::evaluate(&model, &text, &options, &Silent).unwrap();
    let first = tokenizer.encode_ordinary(&TEXT.repeat(20)).unwrap()[..7].to_vec();
    let bytes = tokenizer.decode(&first).unwrap().len() as u64;
    assert_eq!((measured.tokens, measured.bytes), (7, bytes), "of a text that goes on, what was predicted counts");
    let subject = task::Subject { model: &model, text: &text, context: None, bytes_max: Some(10) };
    let figures = task::by_name("perplexity").unwrap().run(subject, &Silent).unwrap();
    assert!(figures["perplexity"].is_f64() && figures["bits_per_byte"].is_f64());
}

#[test]
fn bad_input_gets_a_clear_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let model = indifferent(dir.path(), &tokenizer());
    let fails = |name: &str, content: &[u8], context| {
        let file = dir.path().join(name);
        fs::write(&file, content).unwrap();
        let options = PerplexityOptions { context, ..PerplexityOptions::default() };
        let measured = Text::open(&file).and_then(|text| perplexity::evaluate(&model, &text, &options, &Silent));
        measured.unwrap_err().to_string()
    };
    assert!(fails("empty.txt", b"", None).contains("holds no text"));
    assert!(fails("binary", b"ab\xff", None).contains("byte 2 is wrong"));
    assert!(fails("text.txt", b"text", Some(17)).contains("context is 17; expected 1 to 16"));
    let missing = Text::open(&dir.path().join("nothing")).unwrap_err().to_string();
    assert!(missing.contains("cannot read") && missing.contains("nothing"), "{missing}");
    let folder = Text::open(&dir.path().join("home")).unwrap_err().to_string();
    assert!(folder.contains("not an artifact"), "{folder}");
    let kind = Text::open(&dir.path().join("model")).unwrap_err().to_string();
    assert!(kind.contains("expected a corpus"), "{kind}");
    assert!(task::by_name("beauty").err().unwrap().to_string().contains("perplexity"));
}
