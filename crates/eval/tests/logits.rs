//! The raw output of models, held against that of `transformers`.

use std::path::{Path, PathBuf};

use luban_artifact::ModelFiles;
use luban_artifact::safetensors::Weights;
use luban_eval::logits::{Prompt, dump};
use serde_json::Value;

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/vectors")
}

fn read(path: &Path) -> Weights {
    Weights::open(std::fs::read(path).unwrap().into()).unwrap()
}

#[test]
fn logits_are_those_of_transformers() {
    let out = tempfile::tempdir().unwrap();
    for name in ["llama-tied", "llama-grouped", "gpt2"] {
        let folder = vectors().join(name);
        let cases: Value = serde_json::from_slice(&std::fs::read(folder.join("cases.json")).unwrap()).unwrap();
        let tokens = |case: &Value| serde_json::from_value::<Prompt>(case["tokens"].clone()).unwrap();
        let prompts: Vec<Prompt> = cases["cases"].as_array().unwrap().iter().map(tokens).collect();
        assert!(matches!(prompts[0], Prompt::Tokens(_)));
        let file = out.path().join(name);
        dump(&ModelFiles::open(&folder).unwrap(), &prompts, &file).unwrap();
        let (expected, found) = (read(&folder.join("expected.safetensors")), read(&file));
        for number in 0..prompts.len() {
            let name = format!("logits_{number}");
            let (expected_view, found_view) = (expected.tensor(&name).unwrap(), found.tensor(&name).unwrap());
            assert_eq!(expected_view.shape, found_view.shape);
            let (expected, found) = (expected.to_f32(&name).unwrap(), found.to_f32(&name).unwrap());
            let off = expected.iter().zip(found).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(off < 1e-4, "{name}: {off}");
        }
    }
}

#[test]
fn prompts_that_cannot_be_run_are_named() {
    let out = tempfile::tempdir().unwrap();
    let model = ModelFiles::open(&vectors().join("llama-tied")).unwrap();
    let fails = |prompt| dump(&model, &[prompt], &out.path().join("logits")).unwrap_err().to_string();
    assert!(fails(Prompt::Tokens(vec![])).contains("prompt is empty (number 0)"));
    assert!(fails(Prompt::Tokens(vec![1_000_000])).contains("1000000"));
    assert!(fails(Prompt::Text("text".into())).contains("tokenizer.json"));
}
