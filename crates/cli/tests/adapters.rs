//! Adapters and models with experts on the command line.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::luban;
use serde_json::json;

fn vectors(krate: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(krate).join("tests/vectors")
}

/// A small random model whose words are the numbers of its tokens.
fn model(place: &Path, vector: &str) {
    let dir = place.join(vector);
    fs::create_dir(&dir).unwrap();
    for file in ["config.json", "model.safetensors"] {
        fs::copy(vectors("model").join(vector).join(file), dir.join(file)).unwrap();
    }
    let vocab: serde_json::Map<String, serde_json::Value> = (0..67).map(|id| (id.to_string(), id.into())).collect();
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "0"},
    });
    fs::write(dir.join("tokenizer.json"), tokenizer.to_string()).unwrap();
}

fn generate<'a>(model: &'a str, adapter: Option<&'a str>) -> Vec<&'a str> {
    let start = ["generate", model, "--prompt", "5 6 7", "--max-tokens", "12", "--temperature", "0", "--json"];
    start.into_iter().chain(adapter.into_iter().flat_map(|path| ["--adapter", path])).collect()
}

#[test]
fn an_adapter_is_given_by_its_path() {
    let place = tempfile::tempdir().unwrap();
    model(place.path(), "llama-grouped");
    let folder = |name: &str| vectors("engine").join(name).to_str().unwrap().to_owned();
    let text = |adapter: Option<&str>| {
        let answer = luban(place.path(), &generate("llama-grouped", adapter)).good().json();
        answer["text"].as_str().unwrap().to_owned()
    };
    let plain = text(None);
    let adapted = text(Some(&folder("adapter-llama")));
    assert_ne!(adapted, plain);
    assert_eq!(adapted, text(Some(&folder("adapter-llama"))));
    let other = luban(place.path(), &generate("llama-grouped", Some(&folder("adapter-gpt2"))));
    assert!(other.error(1).contains("c_attn"), "{}", other.err);
    let nowhere = luban(place.path(), &generate("llama-grouped", Some("nowhere")));
    assert!(nowhere.error(1).contains("nowhere"), "{}", nowhere.err);
    let unnamed = luban(place.path(), &["serve", "llama-grouped", "--port", "0", "--adapter", "nowhere"]);
    assert!(unnamed.error(1).contains("'nowhere' is no name and path"), "{}", unnamed.err);
    let folder = luban(place.path(), &["serve", "llama-grouped", "--port", "0", "--adapter-folder", "nowhere"]);
    assert!(folder.error(1).contains("no folder"), "{}", folder.err);
}

#[test]
fn a_model_with_experts_is_served_and_planned() {
    let place = tempfile::tempdir().unwrap();
    model(place.path(), "qwen3-moe");
    let answer = luban(place.path(), &generate("qwen3-moe", None)).good().json();
    assert_eq!(answer["completion_tokens"], 12);
    let plan = luban(place.path(), &["plan", "--config", "qwen3-moe"]).good().out;
    assert!(plan.contains("2 of 5 experts of 20"), "{plan}");
}
