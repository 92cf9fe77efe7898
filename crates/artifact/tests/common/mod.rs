//! What the tests of this crate share.
#![allow(dead_code, reason = "each test binary uses its own part of this")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use luban_artifact::{Artifact, ArtifactWriter, Keys, Kind, Trusted};
use luban_base::progress::{Event, Observer};

/// A key pair that is the same in every run.
pub fn keys() -> Keys {
    Keys::from_seed(&[7; 32])
}

/// A folder in memory where there is one, for tests that save thousands of times and whose disk fails by plan only.
pub fn place_in_memory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// A list with that key alone.
pub fn trusted() -> Trusted {
    Trusted::of([keys().public()])
}

/// Saves a small artifact: two files, one in a folder of its own, with `content` in both.
pub fn save(target: &Path, content: &str) -> luban_artifact::Result<Artifact> {
    let mut writer = ArtifactWriter::create(target, Kind::Report)?;
    writer.stage("test").settings(serde_json::json!({"b": 1.5e-7, "a": {"d": null, "c": [1, 2]}}));
    writer.write("first.txt", content.as_bytes())?;
    writer.write("part/second.txt", content.repeat(3).as_bytes())?;
    writer.metric("loss", 0.1 + 0.2);
    writer.commit(&keys())
}

/// Opens an artifact and checks everything in it; gives the content that [`save`] wrote.
pub fn load(dir: &Path) -> luban_artifact::Result<String> {
    let artifact = Artifact::open(dir)?;
    artifact.check_files()?;
    Ok(String::from_utf8(artifact.read("first.txt")?).expect("it was written as text"))
}

/// A corpus, a tokenizer made from it, and a model made from both, below `place`. Gives the model's folder.
pub fn family(place: &Path) -> PathBuf {
    let corpus = make(
        &place.join("corpus"),
        Kind::Corpus,
        &[],
        &[("train.jsonl", "{\"text\":\"fn main() {}\"}\n"), ("sources.jsonl", SOURCES)],
    );
    let tokenizer =
        make(&place.join("tokenizer"), Kind::Tokenizer, &[("corpus", &corpus)], &[("tokenizer.json", "{}")]);
    let inputs = [("corpus", &corpus), ("tokenizer", &tokenizer)];
    let model = make(&place.join("model"), Kind::Model, &inputs, &[("config.json", "{}"), ("model.safetensors", "w")]);
    model.dir().to_owned()
}

/// The source list of the corpus of [`family`].
pub const SOURCES: &str = concat!(
    r#"{"path":"alpha-1.0/src/lib.rs","group":"alpha","license":"MIT","sha256":null,"bytes":12,"documents":1,"kept":true,"reason":null}"#,
    "\n",
    r#"{"path":"alpha-1.0/src/bad.rs","group":"alpha","license":"MIT","sha256":null,"bytes":7,"documents":0,"kept":false,"reason":"too short"}"#,
    "\n",
);

/// Saves an artifact with the given inputs and files.
pub fn make(dir: &Path, kind: Kind, inputs: &[(&str, &Artifact)], files: &[(&str, &str)]) -> Artifact {
    let mut writer = ArtifactWriter::create(dir, kind).unwrap();
    writer.stage("test").created_unix_s(1_700_000_000);
    for (role, input) in inputs {
        writer.input(role, input);
    }
    for (name, content) in files {
        writer.write(name, content.as_bytes()).unwrap();
    }
    writer.commit(&keys()).unwrap()
}

/// Every plain file below a folder, sorted.
pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    files
}

/// Names in a folder that are temporary.
pub fn leavings(folder: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| is_leaving(path)).collect()
}

pub fn is_leaving(path: &Path) -> bool {
    path.file_name().unwrap().to_string_lossy().contains(".luban-")
}

/// Remembers the notes and warnings that it hears.
#[derive(Default)]
pub struct Heard(pub Mutex<Vec<String>>);

impl Observer for Heard {
    fn event(&self, event: &Event<'_>) {
        if let Event::Note(text) | Event::Warning(text) = event {
            self.0.lock().unwrap().push((*text).to_owned());
        }
    }
}

impl Heard {
    pub fn text(&self) -> String {
        self.0.lock().unwrap().join("\n")
    }
}
