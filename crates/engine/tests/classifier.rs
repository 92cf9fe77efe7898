//! Classifiers and cross-encoders: against transformers on small random models (`bench/family_vectors.py`), and whole,
//! from texts to scores.

use std::path::{Path, PathBuf};

use luban_artifact::ModelFiles;
use luban_artifact::safetensors::Weights;
use luban_engine::{Classifier, Link};
use luban_text::Encoding;
use serde_json::{Value, json};

/// Largest error, relative to the largest value of the expected tensor.
const TOLERANCE: f32 = 1e-4;
const NAMES: [&str; 5] =
    ["bert-classifier", "bert-cross-encoder", "roberta-classifier", "modernbert-classifier", "modernbert-regression"];

fn vectors(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/classifiers").join(name)
}

/// WordPiece with a token for each letter, within the vocabulary of the vectors.
fn tokenizer() -> Value {
    let mut vocab = json!({ "[UNK]": 0, "[CLS]": 1, "[SEP]": 2 });
    for (at, letter) in ('a'..='z').enumerate() {
        vocab[letter.to_string()] = json!(3 + at);
        vocab[format!("##{letter}")] = json!(29 + at);
    }
    let special = |name: &str, id: u32| json!({ "id": name, "ids": [id], "tokens": [name] });
    let token = |name: &str| json!({ "SpecialToken": { "id": name, "type_id": 0 } });
    let end = json!({ "SpecialToken": { "id": "[SEP]", "type_id": 1 } });
    let text = |name: &str, type_id: u32| json!({ "Sequence": { "id": name, "type_id": type_id } });
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
        "normalizer": { "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true },
        "pre_tokenizer": { "type": "BertPreTokenizer" },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [token("[CLS]"), text("A", 0), token("[SEP]")],
            "pair": [token("[CLS]"), text("A", 0), token("[SEP]"), text("B", 1), end],
            "special_tokens": { "[CLS]": special("[CLS]", 1), "[SEP]": special("[SEP]", 2) },
        },
        "decoder": { "type": "WordPiece", "prefix": "##", "cleanup": true },
        "model": { "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": vocab },
    })
}

/// A vector's model with a tokenizer, its configuration changed.
fn folder(name: &str, change: impl FnOnce(&mut Value)) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let config = std::fs::read(vectors(name).join("config.json")).unwrap();
    let mut config = serde_json::from_slice(&config).unwrap();
    change(&mut config);
    std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    std::fs::copy(vectors(name).join("model.safetensors"), dir.path().join("model.safetensors")).unwrap();
    std::fs::write(dir.path().join("tokenizer.json"), tokenizer().to_string()).unwrap();
    dir
}

fn load(name: &str, change: impl FnOnce(&mut Value)) -> luban_engine::Result<Classifier> {
    Classifier::load(&ModelFiles::open(folder(name, change).path()).unwrap())
}

fn cases(name: &str) -> Vec<Encoding> {
    let json: Value = serde_json::from_slice(&std::fs::read(vectors(name).join("cases.json")).unwrap()).unwrap();
    let numbers = |value: &Value| -> Option<Vec<u32>> {
        Some(value.as_array()?.iter().map(|id| id.as_u64().unwrap() as u32).collect())
    };
    let case = |case: &Value| {
        let ids = numbers(&case["tokens"]).unwrap();
        Encoding { type_ids: numbers(&case["types"]).unwrap_or(vec![0; ids.len()]), ids }
    };
    json["cases"].as_array().unwrap().iter().map(case).collect()
}

fn assert_close(what: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0.0f32, |most, value| most.max(value.abs()));
    let error = found.iter().zip(expected).fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
    println!("{what}: {:.1e} apart", error / largest);
    assert!(error <= TOLERANCE * largest, "{what}: error {error}, largest value {largest}");
}

#[test]
fn logits_and_scores_agree_with_transformers() {
    for name in NAMES {
        let classifier = load(name, |_| {}).unwrap();
        let expected =
            Weights::open(std::fs::read(vectors(name).join("expected.safetensors")).unwrap().into()).unwrap();
        let cases = cases(name);
        // All texts in one pass: none may see another.
        let encodings: Vec<&Encoding> = cases.iter().collect();
        let (logits, scores) = (classifier.logits(&encodings).unwrap(), classifier.scores(&encodings).unwrap());
        for (index, encoding) in encodings.iter().enumerate() {
            let of = |kind: &str| expected.to_f32(&format!("{kind}_{index}")).unwrap();
            assert_close(&format!("{name}, logits of case {index}"), &logits[index], &of("logits"));
            assert_close(&format!("{name}, scores of case {index}"), &scores[index], &of("scores"));
            assert_eq!(classifier.logits(&[encoding]).unwrap()[0], logits[index], "{name}: alone, the same bits");
        }
    }
}

#[test]
fn labels_and_links_are_the_configurations() {
    let of = |name: &str| load(name, |_| {}).unwrap();
    assert_eq!(of("bert-classifier").labels(), ["quiet", "loud", "neither"]);
    assert_eq!(of("modernbert-classifier").labels(), ["LABEL_0", "LABEL_1"]);
    let links = NAMES.map(|name| of(name).link());
    assert_eq!(links, [Link::Softmax, Link::Sigmoid, Link::Sigmoid, Link::Softmax, Link::Identity]);
    let plain = |config: &mut Value| {
        config["sentence_transformers"] = json!({ "activation_fn": "torch.nn.modules.linear.Identity" })
    };
    assert_eq!(load("bert-cross-encoder", plain).unwrap().link(), Link::Identity);
    let older = |config: &mut Value| {
        config["sbert_ce_default_activation_function"] = json!("torch.nn.modules.activation.Sigmoid")
    };
    assert_eq!(load("bert-cross-encoder", older).unwrap().link(), Link::Sigmoid);
}

#[test]
fn pairs_are_scored_one_by_one_or_together() {
    let reranker = load("bert-cross-encoder", |_| {}).unwrap();
    let pair = reranker.encode("ab c", Some("de")).unwrap();
    assert_eq!((pair.ids, pair.type_ids), (vec![1, 3, 30, 5, 2, 6, 33, 2], vec![0, 0, 0, 0, 0, 1, 1, 1]));
    let documents: Vec<String> = (0..40).map(|at| "xyz ".repeat(at) + "abc").collect();
    let (scores, tokens) = reranker.rerank("what is abc", &documents).unwrap();
    assert!(scores.iter().all(|score| (0.0..=1.0).contains(score)) && tokens > 40 * 10);
    for (document, score) in documents.iter().zip(&scores) {
        let (alone, _) = reranker.rerank("what is abc", std::slice::from_ref(document)).unwrap();
        assert_eq!(alone, [*score]);
    }
    assert!(scores.windows(2).any(|pair| pair[0] != pair[1]));
    // RoBERTa has one type of tokens, whatever the tokenizer says.
    let roberta = load("roberta-classifier", |_| {}).unwrap();
    assert_eq!(roberta.encode("a", Some("b")).unwrap().type_ids, [0; 5]);
    let error = roberta.rerank("a", &["b".to_owned()]).unwrap_err().to_string();
    assert!(error.contains("4 labels"), "{error}");
}

#[test]
fn what_is_no_classifier_is_refused_in_a_sentence() {
    type Change = fn(&mut Value);
    let cases: [(&str, &str, Change); 8] = [
        ("bert-classifier", "names no architecture that ends with ForSequenceClassification", |config| {
            config["architectures"] = json!(["BertModel"]);
        }),
        ("bert-classifier", "id2label has 3 labels, but no name for 1", |config| {
            config["id2label"] = json!({ "0": "a", "2": "b", "3": "c" });
        }),
        ("bert-classifier", "weight classifier.weight: expected [2, 24], found [3, 24]", |config| {
            config["id2label"] = Value::Null;
        }),
        ("bert-classifier", "num_labels is 0", |config| {
            config["id2label"] = Value::Null;
            config["num_labels"] = json!(0);
        }),
        ("bert-classifier", "problem_type is \"guess\"", |config| config["problem_type"] = json!("guess")),
        ("modernbert-regression", "classifier_pooling is \"max\"", |config| {
            config["classifier_pooling"] = json!("max")
        }),
        ("modernbert-regression", "head.dense.bias: expected [20], found no such tensor", |config| {
            config["classifier_bias"] = json!(true);
        }),
        ("bert-cross-encoder", "this program knows Identity and Sigmoid", |config| {
            config["sentence_transformers"] = json!({ "activation_fn": "torch.nn.modules.activation.Tanh" });
        }),
    ];
    for (name, expected, change) in cases {
        let error = load(name, change).expect_err(expected).to_string();
        assert!(error.contains(expected), "expected {expected:?}, found {error:?}");
    }
    let classifier = load("bert-classifier", |_| {}).unwrap();
    let error = classifier.logits(&[&Encoding::default()]).unwrap_err().to_string();
    assert!(error.contains("0"), "{error}");
}
