//! The targets, one file a kind of input.

pub(crate) mod artifact;
pub(crate) mod config;
pub(crate) mod folder;
pub(crate) mod gguf;
pub(crate) mod grammar;
pub(crate) mod recipe;
pub(crate) mod safetensors;
pub(crate) mod table;
pub(crate) mod template;
pub(crate) mod tokenizer;

use std::fs;
use std::path::{Path, PathBuf};

use luban_base::random::Stream;
use luban_model::Spec;
use luban_model::spec::Head;
use luban_model::weights::Slot;

/// A folder of this thread's own, that is there as long as the thread.
fn scratch() -> PathBuf {
    thread_local! {
        static FOLDER: tempfile::TempDir = tempfile::tempdir().expect("a temporary folder");
    }
    FOLDER.with(|folder| folder.path().to_owned())
}

/// Writes a file for a parser that takes a path.
fn put(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, bytes).expect("the temporary folder takes files");
    path
}

/// Small models of several kinds.
fn specs() -> Vec<Spec> {
    let llama = Spec { context: 16, kv_heads: 1, ffn_width: 8, ..Spec::llama(8, 1, 2, 12) };
    let untied = Spec { head: Head::Vocabulary { tied: false }, ..llama.clone() };
    let gpt2 = Spec { context: 16, ffn_width: 8, ..Spec::gpt2(8, 1, 2, 12) };
    let bert = Spec { context: 16, ffn_width: 8, ..Spec::bert(8, 1, 2, 12) };
    vec![llama, untied, gpt2, bert]
}

fn values(slot: &Slot) -> Vec<f32> {
    let random = Stream::new(5, &[slot.len() as u64]);
    (0..slot.len() as u64).map(|at| random.below_at(at, 41) as f32 / 20.0 - 1.0).collect()
}

/// An error's words.
fn said(error: impl std::fmt::Display) -> String {
    let words = error.to_string();
    assert!(!words.is_empty() && words.len() < 4096, "an error is a sentence: {} bytes", words.len());
    words
}
