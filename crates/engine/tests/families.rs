//! The serving executor against transformers and against the recording executor, for every family.

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use luban_artifact::ModelFiles;
use luban_artifact::safetensors::Weights;
use luban_engine::Embedder;
use luban_engine::serving::{ServingExecutor, ServingModel};
use luban_model::{Batch, TrainableModel, forward, io};
use serde_json::Value;

const DECODERS: [&str; 8] =
    ["llama-grouped", "llama-tied", "llama-scaled", "gpt2", "mistral", "qwen2", "qwen3", "gemma3"];
const ENCODERS: [&str; 5] = ["bert", "bert-no-pooler", "minilm", "roberta", "modernbert"];
const MASKED: [&str; 3] = ["bert-masked-lm", "roberta-masked-lm", "modernbert-masked-lm"];

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/vectors").join(name)
}

struct Vector {
    model: Arc<ServingModel>,
    recording: TrainableModel,
    expected: Weights,
    cases: Vec<(Vec<u32>, Option<Vec<u32>>)>,
}

fn load(name: &str) -> Vector {
    let files = ModelFiles::open(&folder(name)).unwrap();
    let source = io::read(&files).unwrap();
    let recording = TrainableModel::from_weights(source.spec().clone(), |slot| Ok(source.weight(slot)?.into_f32()));
    let cases: Value = serde_json::from_slice(&files.read("cases.json").unwrap()).unwrap();
    let ids = |value: &Value| -> Vec<u32> { serde_json::from_value(value.clone()).unwrap() };
    let cases = cases["cases"].as_array().unwrap().iter();
    Vector {
        model: Arc::new(ServingModel::load(&files).unwrap()),
        recording: recording.unwrap(),
        expected: Weights::open(files.map("expected.safetensors").unwrap()).unwrap(),
        cases: cases.map(|case| (ids(&case["tokens"]), case.get("types").map(ids))).collect(),
    }
}

impl Vector {
    /// All cases in one batch.
    fn batch(&self) -> Batch {
        let mut batch = Batch::new();
        for (tokens, types) in &self.cases {
            batch.push(tokens, 0);
            types.iter().for_each(|types| batch.set_token_types(types));
        }
        batch
    }
}

/// A decoder that is served only.
const WITH_EXPERTS: &str = "qwen3-moe";

#[test]
fn a_decoder_with_experts_agrees_with_transformers() {
    let files = ModelFiles::open(&folder(WITH_EXPERTS)).unwrap();
    let model = Arc::new(ServingModel::load(&files).unwrap());
    let expected = Weights::open(files.map("expected.safetensors").unwrap()).unwrap();
    let cases: Value = serde_json::from_slice(&files.read("cases.json").unwrap()).unwrap();
    let cases = cases["cases"].as_array().unwrap().iter();
    let cases: Vec<Vec<u32>> = cases.map(|case| serde_json::from_value(case["tokens"].clone()).unwrap()).collect();
    let vocab = model.spec().vocab;
    let batch = Batch::of(cases.iter().map(Vec::as_slice));
    let mut executor = ServingExecutor::new(Arc::clone(&model), None);
    let hidden = forward(model.spec(), model.weights(), &mut executor, &batch).unwrap();
    let logits = executor.logits(&hidden, &(0..batch.rows()).collect::<Vec<_>>()).unwrap();
    let mut cached = ServingExecutor::new(Arc::clone(&model), Some(2));
    for (index, rows) in batch.sequences().iter().enumerate() {
        let of_case = expected.to_f32(&format!("logits_{index}")).unwrap();
        let apart = difference(&logits.values()[rows.start * vocab..rows.end * vocab], &of_case);
        assert!(apart < 1e-5, "logits of case {index}: {apart} from transformers");
        let width = model.spec().width;
        let found = &hidden.values()[rows.start * width..rows.end * width];
        let apart = difference(found, &expected.to_f32(&format!("hidden_{index}")).unwrap());
        assert!(apart < 1e-5, "hidden states of case {index}: {apart} from transformers");
        // Token by token.
        for (position, row) in rows.clone().enumerate() {
            let mut one = Batch::new();
            one.push(&cases[index][position..=position], position);
            cached.place([[1, 0].as_slice()]);
            let hidden = forward(model.spec(), model.weights(), &mut cached, &one).unwrap();
            let found = cached.logits(&hidden, &[0]).unwrap();
            let together = logits.row(row);
            assert!(found.row(0).iter().zip(together).all(|(a, b)| a.to_bits() == b.to_bits()), "{index}, {position}");
        }
    }
}

/// The largest difference, relative to the largest expected value.
fn difference(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let scale = expected.iter().fold(0.0f64, |most, &x| most.max(f64::from(x.abs())));
    found.iter().zip(expected).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max) / scale
}

#[test]
fn decoders_agree_with_transformers_and_the_recording_executor() {
    for name in DECODERS {
        let mut vector = load(name);
        let batch = vector.batch();
        let mut executor = ServingExecutor::new(Arc::clone(&vector.model), None);
        let hidden = forward(vector.model.spec(), vector.model.weights(), &mut executor, &batch).unwrap();
        let rows: Vec<usize> = (0..batch.rows()).collect();
        let logits = executor.logits(&hidden, &rows).unwrap();
        let recorded = vector.recording.logits(&batch, &rows).unwrap();
        let apart = difference(logits.values(), &recorded);
        assert!(apart < 1e-5, "{name}: {apart} from the recording executor");
        for (index, rows) in batch.sequences().iter().enumerate() {
            let vocab = vector.model.spec().vocab;
            let found = &logits.values()[rows.start * vocab..rows.end * vocab];
            let apart = difference(found, &vector.expected.to_f32(&format!("logits_{index}")).unwrap());
            assert!(apart < 1e-5, "{name}, logits of case {index}: {apart} from transformers");
            let width = vector.model.spec().width;
            let found = &hidden.values()[rows.start * width..rows.end * width];
            let apart = difference(found, &vector.expected.to_f32(&format!("hidden_{index}")).unwrap());
            assert!(apart < 1e-5, "{name}, hidden states of case {index}: {apart} from transformers");
        }
    }
}

#[test]
fn decoders_agree_with_transformers_token_by_token() {
    for name in DECODERS {
        let vector = load(name);
        let mut executor = ServingExecutor::new(Arc::clone(&vector.model), Some(2));
        for (index, (tokens, _)) in vector.cases.iter().enumerate() {
            let expected = vector.expected.to_f32(&format!("logits_{index}")).unwrap();
            for (position, expected) in expected.chunks_exact(vector.model.spec().vocab).enumerate() {
                let mut batch = Batch::new();
                batch.push(&tokens[position..=position], position);
                executor.place([[1, 0].as_slice()]);
                let hidden = forward(vector.model.spec(), vector.model.weights(), &mut executor, &batch).unwrap();
                let apart = difference(executor.logits(&hidden, &[0]).unwrap().values(), expected);
                assert!(apart < 1e-5, "{name}, case {index}, position {position}: {apart}");
            }
        }
    }
}

#[test]
fn encoders_agree_with_transformers_and_the_recording_executor() {
    for name in ENCODERS {
        let mut vector = load(name);
        let batch = vector.batch();
        let mut executor = ServingExecutor::new(Arc::clone(&vector.model), None);
        let hidden = forward(vector.model.spec(), vector.model.weights(), &mut executor, &batch).unwrap();
        let recorded = vector.recording.hidden(&batch).unwrap();
        let apart = difference(hidden.values(), &recorded);
        assert!(apart < 1e-5, "{name}: {apart} from the recording executor");
        for (index, rows) in batch.sequences().iter().enumerate() {
            let width = vector.model.spec().width;
            let found = &hidden.values()[rows.start * width..rows.end * width];
            let apart = difference(found, &vector.expected.to_f32(&format!("hidden_{index}")).unwrap());
            assert!(apart < 1e-5, "{name}, case {index}: {apart} from transformers");
        }
    }
}

#[test]
fn masked_token_heads_agree_with_transformers() {
    for name in MASKED {
        let mut vector = load(name);
        let batch = vector.batch();
        let mut executor = ServingExecutor::new(Arc::clone(&vector.model), None);
        let hidden = forward(vector.model.spec(), vector.model.weights(), &mut executor, &batch).unwrap();
        let rows: Vec<usize> = (0..batch.rows()).collect();
        let logits = executor.logits(&hidden, &rows).unwrap();
        let apart = difference(logits.values(), &vector.recording.logits(&batch, &rows).unwrap());
        assert!(apart < 1e-5, "{name}: {apart} from the recording executor");
        for (index, rows) in batch.sequences().iter().enumerate() {
            let vocab = vector.model.spec().vocab;
            let found = &logits.values()[rows.start * vocab..rows.end * vocab];
            let apart = difference(found, &vector.expected.to_f32(&format!("logits_{index}")).unwrap());
            assert!(apart < 1e-5, "{name}, logits of case {index}: {apart} from transformers");
        }
    }
}

#[test]
fn scores_are_the_cross_entropy_of_transformers_logits() {
    for name in DECODERS {
        let vector = load(name);
        let windows: Vec<(Vec<u32>, Vec<u32>)> = vector
            .cases
            .iter()
            .map(|(tokens, _)| (tokens[..tokens.len() - 1].to_vec(), tokens[1..].to_vec()))
            .collect();
        let mut seen = Vec::new();
        let each = |index: usize, nats: &[f32]| {
            let logits = vector.expected.to_f32(&format!("logits_{index}")).unwrap();
            let rows = logits.chunks_exact(vector.model.spec().vocab);
            for ((row, &target), &nats) in rows.zip(&windows[index].1).zip(nats) {
                let sum: f64 = row.iter().map(|&logit| f64::from(logit).exp()).sum();
                let expected = sum.ln() - f64::from(row[target as usize]);
                assert!((f64::from(nats) - expected).abs() < 1e-4, "{name}: {nats} instead of {expected}");
            }
            seen.push((index, nats.len()));
        };
        vector.model.score(&windows, each).unwrap();
        assert_eq!(seen, [(0, 8), (1, 0), (2, 69)]);
    }
}

#[test]
fn impossible_windows_are_refused() {
    let vector = load("gpt2");
    for window in [(vec![1, 2], vec![2]), (vec![67], vec![1]), (vec![1], vec![67]), (vec![1; 81], vec![1; 81])] {
        assert!(vector.model.score(&[window], |_, _| {}).is_err());
    }
}

#[test]
fn embeddings_agree_with_transformers() {
    for name in ENCODERS {
        let vector = load(name);
        let temporary = tempfile::tempdir().unwrap();
        for file in ["config.json", "model.safetensors"] {
            std::fs::copy(folder(name).join(file), temporary.path().join(file)).unwrap();
        }
        std::fs::write(temporary.path().join("tokenizer.json"), numbers_as_words()).unwrap();
        let embedder = Embedder::load(&ModelFiles::open(temporary.path()).unwrap()).unwrap();
        // Case 0 has two segments, which a single text has not.
        let texts: Vec<String> = vector.cases[1..]
            .iter()
            .map(|(tokens, _)| tokens.iter().map(u32::to_string).collect::<Vec<_>>().join(" "))
            .collect();
        let found = embedder.embed(&texts).unwrap();
        for (index, found) in found.iter().enumerate() {
            let expected = vector.expected.to_f32(&format!("embedding_{}", index + 1)).unwrap();
            let apart = difference(found, &expected);
            assert!(apart < 1e-5, "{name}, case {}: {apart}", index + 1);
        }
        assert_eq!(embedder.embed(&[]).unwrap().len(), 0);
        assert_eq!(embedder.embed(&texts[1..]).unwrap()[0], found[1], "alone as in company");
    }
}

/// A tokenizer whose words are the decimal numbers of its tokens.
fn numbers_as_words() -> String {
    let vocab: serde_json::Map<String, Value> = (0..67).map(|id| (id.to_string(), id.into())).collect();
    serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "0"},
    })
    .to_string()
}

#[test]
fn the_files_of_sentence_transformers_are_followed() {
    let temporary = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(temporary.path().join(name), text).unwrap();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(folder("minilm").join(file), temporary.path().join(file)).unwrap();
    }
    write("tokenizer.json", &numbers_as_words());
    std::fs::create_dir(temporary.path().join("1_Pooling")).unwrap();
    let load = || Embedder::load(&ModelFiles::open(temporary.path()).unwrap());
    let embed = |text: &str| load().unwrap().embed(&[text.to_string()]).unwrap().remove(0);
    let length = |vector: &[f32]| vector.iter().map(|x| x * x).sum::<f32>().sqrt();

    write(
        "1_Pooling/config.json",
        r#"{"word_embedding_dimension": 24, "pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}"#,
    );
    write(
        "modules.json",
        r#"[{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}]"#,
    );
    let cls = embed("5 6 7");
    assert!((length(&cls) - 1.0).abs() > 1e-3, "no module normalises");
    assert_eq!(cls.len(), 24);

    write("sentence_bert_config.json", r#"{"max_seq_length": 2, "do_lower_case": false}"#);
    assert_eq!(load().unwrap().tokens_max(), 2);
    assert_eq!(embed("5 6 7"), embed("5 6 9 11"));

    write("1_Pooling/config.json", r#"{"pooling_mode_max_tokens": true}"#);
    assert!(load().unwrap_err().to_string().contains("max_tokens"));
    write("modules.json", r#"[{"path": "2_Dense", "type": "sentence_transformers.models.Dense"}]"#);
    assert!(load().unwrap_err().to_string().contains("Dense"));
    write("modules.json", "{");
    assert!(load().unwrap_err().to_string().contains("modules.json"));
}
