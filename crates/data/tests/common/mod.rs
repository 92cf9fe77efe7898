//! What the tests share.
#![allow(dead_code, reason = "each test file uses some of it")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use luban_artifact::{Artifact, Keys};
use luban_base::progress::Silent;
use luban_data::{BuildOptions, Corpus, Document, Result, Source, Split, corpus};
use luban_text::{Tokenizer, TrainOptions};
use tempfile::TempDir;

/// A folder for data, another for corpora, and keys.
pub struct Place {
    dir: TempDir,
    pub keys: Keys,
}

impl Place {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let keys = Keys::load_or_create(&dir.path().join("home")).unwrap();
        fs::create_dir(dir.path().join("data")).unwrap();
        Self { dir, keys }
    }

    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub fn target(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.data().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    /// Builds a corpus of the data folder with changed options.
    pub fn build_with(&self, change: impl FnOnce(&mut BuildOptions)) -> Result<Artifact> {
        let mut options = BuildOptions::new(Source::Path(self.data()));
        change(&mut options);
        corpus::build(&options, &self.target("corpus"), &self.keys, &Silent)
    }

    pub fn build(&self) -> Result<Artifact> {
        self.build_with(|_| ())
    }
}

pub fn shared(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data").join(name);
    assert!(path.exists(), "{} is needed", path.display());
    path
}

pub fn documents(artifact: &Artifact, split: Split) -> Vec<Document> {
    Corpus::open(artifact).unwrap().documents(split).unwrap().map(Result::unwrap).collect()
}

/// A text of its own for each number.
pub fn text(number: u64) -> String {
    let word = |index: u64| luban_base::random::mix(number * 1000 + index) % 5000;
    (0..60).map(|index| format!("word{} ", word(index))).collect::<String>() + "\n"
}

pub fn tokenizer(texts: impl Iterator<Item = String>) -> Arc<Tokenizer> {
    let options = TrainOptions { vocab_size: 400, ..TrainOptions::default() };
    Arc::new(Tokenizer::train(texts, &options, &Silent).unwrap())
}
