//! The recording executor against Hugging Face `transformers`, on a small random model of each family.
//!
//! `bench/family_vectors.py` made the folders under `vectors/`: a checkpoint, token sequences, and what
//! `transformers` computes from them in f32 (hidden states, logits, gradients).

use std::path::{Path, PathBuf};

use luban_artifact::ModelFiles;
use luban_artifact::safetensors::Weights;
use luban_model::families::Layout;
use luban_model::training::{Targets, TrainableModel};
use luban_model::{Batch, io};
use serde_json::Value;

/// Largest error, relative to the largest value of the expected tensor.
const TOLERANCE: f32 = 1e-5;
/// Tensors whose largest value is below this are compared as if it were this.
const SMALL: f32 = 0.05;

#[test]
fn models_with_experts_are_not_trained() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/qwen3-moe");
    let source = io::read(&ModelFiles::open(&dir).unwrap()).unwrap();
    let read = |slot: &luban_model::weights::Slot| Ok(source.weight(slot)?.into_f32());
    let refused = TrainableModel::from_weights(source.spec().clone(), read).unwrap_err().to_string();
    assert!(refused.contains("5 experts") && refused.contains("not trained"), "{refused}");
}

struct Case {
    tokens: Vec<u32>,
    types: Option<Vec<u32>>,
    targets: Vec<(usize, u32)>,
}

struct Vectors {
    dir: PathBuf,
    model: TrainableModel,
    source: io::Source,
    cases: Vec<Case>,
}

fn vectors(name: &str) -> Vectors {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(name);
    let source = io::read(&ModelFiles::open(&dir).unwrap()).unwrap();
    let read = |slot: &luban_model::weights::Slot| Ok(source.weight(slot)?.into_f32());
    let model = TrainableModel::from_weights(source.spec().clone(), read).unwrap();
    let json: Value = serde_json::from_slice(&std::fs::read(dir.join("cases.json")).unwrap()).unwrap();
    let cases = json["cases"].as_array().unwrap().iter().map(case).collect();
    Vectors { dir, model, source, cases }
}

fn case(json: &Value) -> Case {
    let numbers = |value: &Value| {
        value.as_array().map(|all| all.iter().map(|id| id.as_u64().map(|id| id as u32)).collect::<Vec<_>>())
    };
    let whole = |all: Vec<Option<u32>>| all.into_iter().map(Option::unwrap).collect();
    let targets = numbers(&json["targets"]).unwrap_or_default();
    Case {
        tokens: whole(numbers(&json["tokens"]).unwrap()),
        types: numbers(&json["types"]).map(whole),
        targets: targets.into_iter().enumerate().filter_map(|(row, id)| Some((row, id?))).collect(),
    }
}

fn batch(cases: &[Case]) -> Batch {
    let mut batch = Batch::new();
    for case in cases {
        batch.push(&case.tokens, 0);
        if let Some(types) = &case.types {
            batch.set_token_types(types);
        }
    }
    batch
}

fn tensors(dir: &Path, file: &str) -> Weights {
    Weights::open(std::fs::read(dir.join(file)).unwrap().into()).unwrap()
}

/// Gives the error.
fn assert_close(what: &str, found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0.0f32, |most, value| most.max(value.abs()));
    let error = found.iter().zip(expected).fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
    // Some gradients are zero but for rounding (a key's bias moves every score of a row alike).
    assert!(error <= TOLERANCE * largest.max(SMALL), "{what}: error {error}, largest value {largest}");
    error / largest.max(SMALL)
}

const DECODERS: &[&str] =
    &["llama-tied", "llama-grouped", "llama-scaled", "gpt2", "mistral", "qwen2", "qwen3", "gemma3"];
const ENCODERS: &[&str] = &["bert", "bert-no-pooler", "minilm", "roberta", "modernbert"];
const MASKED: &[&str] = &["bert-masked-lm", "roberta-masked-lm", "modernbert-masked-lm"];

#[test]
fn hidden_states_agree_with_transformers() {
    for name in DECODERS.iter().chain(ENCODERS) {
        let Vectors { dir, mut model, cases, .. } = vectors(name);
        let expected = tensors(&dir, "expected.safetensors");
        // All sequences in one ragged batch: none may see another.
        let batch = batch(&cases);
        let hidden = model.hidden(&batch).unwrap();
        let mut worst = 0.0f32;
        for (index, rows) in batch.sequences().iter().enumerate() {
            let width = model.spec().width;
            let expected = expected.to_f32(&format!("hidden_{index}")).unwrap();
            let found = &hidden[rows.start * width..rows.end * width];
            worst = worst.max(assert_close(&format!("{name}, case {index}"), found, &expected));
        }
        println!("{name}: hidden states {worst:.1e} apart");
    }
}

#[test]
fn logits_agree_with_transformers() {
    for name in DECODERS.iter().chain(MASKED) {
        let Vectors { dir, mut model, cases, .. } = vectors(name);
        let expected = tensors(&dir, "expected.safetensors");
        let mut worst = 0.0f32;
        for (index, case) in cases.iter().enumerate() {
            let batch = batch(std::slice::from_ref(case));
            let rows: Vec<usize> = (0..batch.rows()).collect();
            let logits = model.logits(&batch, &rows).unwrap();
            worst = worst.max(assert_close(name, &logits, &expected.to_f32(&format!("logits_{index}")).unwrap()));
        }
        println!("{name}: logits {worst:.1e} apart");
    }
}

#[test]
fn gradients_agree_with_transformers() {
    for name in DECODERS.iter().chain(MASKED) {
        let Vectors { dir, mut model, source, cases } = vectors(name);
        let expected = tensors(&dir, "gradients.safetensors");
        let (rows, tokens): (Vec<usize>, Vec<u32>) = cases[0].targets.iter().copied().unzip();
        let batch = batch(&cases[..1]);
        model.accumulate(&batch, &Targets { rows: &rows, tokens: &tokens, weights: &[], scale: 1.0 }).unwrap();
        // Laid out as the family lays its weights out, so that names and shapes are those of the file.
        let mut gradients: Vec<Vec<f32>> =
            model.parameters().map(|parameter| parameter.grad.as_deref().unwrap().to_vec()).collect();
        gradients.reverse();
        let home = tempfile::tempdir().unwrap();
        let keys = luban_artifact::Keys::load_or_create(home.path()).unwrap();
        let target = home.path().join("gradients");
        let writer = luban_artifact::ArtifactWriter::create(&target, luban_artifact::Kind::Model).unwrap();
        let next = |slot: &luban_model::weights::Slot| {
            let mut gradient = gradients.pop().unwrap();
            if source.family().place(slot).layout == Layout::OneLess {
                // Weights are one less in the file, gradients are not.
                gradient.iter_mut().for_each(|value| *value += 1.0);
            }
            Ok(io::WeightData::F32(gradient))
        };
        io::export(&writer, source.family(), source.spec(), Default::default(), next).unwrap();
        writer.commit(&keys).unwrap();
        let found = tensors(&target, io::WEIGHTS);
        let mut worst = 0.0f32;
        for tensor in expected.names() {
            let (found, expected) = (found.to_f32(tensor).unwrap(), expected.to_f32(tensor).unwrap());
            worst = worst.max(assert_close(&format!("{name} {tensor}"), &found, &expected));
        }
        assert!(expected.names().eq(found.names()), "{name}: every gradient is compared");
        println!("{name}: gradients {worst:.1e} apart");
    }
}
