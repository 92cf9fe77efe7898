//! The loader's memory does not grow with the corpus. Each measurement is a process of its own, as the system keeps
//! one highest figure for each.
#![cfg(target_os = "linux")]

mod common;

use std::env;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::Command;

use common::{text, tokenizer};
use luban_artifact::{Artifact, ArtifactWriter, Keys, Kind};
use luban_base::memory::resident_bytes_max;
use luban_data::loader::{Loader, LoaderOptions};
use luban_data::{Corpus, Split};

const CHILD: &str = "LUBAN_TEST_LOADER_CHILD";
const STRATA: &str = "LUBAN_TEST_LOADER_STRATA";
/// Documents of the smaller corpus, of a kilobyte each.
const DOCUMENTS: u64 = 3000;

/// What a child does, and no test of its own: it reads a whole epoch, and tells the most memory that it ever had.
#[test]
fn child() {
    let Some(dir) = env::var_os(CHILD) else { return };
    let strata = env::var(STRATA).unwrap().parse().unwrap();
    let corpus = Corpus::open(&Artifact::open(Path::new(&dir)).unwrap()).unwrap();
    let options = LoaderOptions { length: 256, seed: 3, block_sequences: 64, strata };
    let mut loader = Loader::open(&corpus, Split::Train, tokenizer((0..20).map(text)), options).unwrap();
    let mut read = 0;
    while loader.position().stream.epoch == 0 {
        read += loader.next(64).unwrap().len();
    }
    println!("read {read} sequences, memory {} bytes", resident_bytes_max().unwrap());
}

/// Writes a corpus a line at a time.
fn write_corpus(dir: &Path, documents: u64, keys: &Keys) {
    let writer = ArtifactWriter::create(dir, Kind::Corpus).unwrap();
    let write = |name: &str, numbers: std::ops::Range<u64>| {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut out = BufWriter::new(file.reopen().unwrap());
        for number in numbers {
            let name = format!("{number}.txt");
            let line =
                serde_json::json!({ "text": text(number).repeat(2), "source": name, "group": name, "license": "MIT" });
            writeln!(out, "{line}").unwrap();
        }
        out.flush().unwrap();
        writer.write(name, &std::fs::read(file.path()).unwrap()).unwrap();
    };
    write("train.jsonl", 0..documents);
    write("valid.jsonl", documents..documents + 10);
    write("sources.jsonl", 0..0);
    writer.write("report.json", b"{}").unwrap();
    writer.commit(keys).unwrap();
}

/// Sequences of an epoch, and the child's highest memory.
fn measured(dir: &Path, strata: usize) -> (u64, u64) {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["child", "--exact", "--nocapture"]).env(CHILD, dir).env(STRATA, strata.to_string());
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find(|line| line.contains("sequences, memory")).unwrap_or_else(|| panic!("{output:?}"));
    let numbers: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    (numbers[0], numbers[1])
}

#[test]
fn a_corpus_ten_times_as_large_is_read_in_the_same_memory() {
    let dir = tempfile::tempdir().unwrap();
    let keys = Keys::load_or_create(&dir.path().join("home")).unwrap();
    let corpora = [("small", DOCUMENTS), ("large", 10 * DOCUMENTS)].map(|(name, documents)| {
        let path = dir.path().join(name);
        write_corpus(&path, documents, &keys);
        path
    });
    for strata in [1, 8] {
        let [small, large] = corpora.each_ref().map(|corpus| measured(corpus, strata));
        let ratio = large.1 as f64 / small.1 as f64;
        println!("strata {strata}: {small:?} and {large:?} sequences and bytes of memory, {ratio:.3} times");
        assert!(large.0 > 9 * small.0, "the whole of each was read");
        assert!(ratio <= 1.1, "strata {strata}: {small:?}, {large:?}");
    }
}
