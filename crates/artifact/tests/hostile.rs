//! Files that lie. Each target is a plain function over bytes: it may refuse them, never panic, and what it accepts
//! must be consistent. A seeded mutator drives it; another test bounds the memory.
//!
//! Attacks tried on tensor files: a header length beyond the file, beyond the limit, of all ones, of zero; every
//! header byte with every value; every truncation; bytes appended; tensors that overlap, leave a hole, run backwards
//! or past the end; shapes whose product overflows; too many dimensions; numbers negative, fractional or beyond 64
//! bits; a tensor named twice, or as the metadata; unknown types and fields; deep nesting; headers filled with empty
//! tensors, dimensions or metadata. On manifests: the mutations, and amounts of values beyond the limit.

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use luban_artifact::pull::Source;
use luban_artifact::safetensors::{Dtype, HEADER_BYTES_MAX, Weights, write};
use luban_artifact::{Artifact, MANIFEST, Manifest};
use luban_base::random::Stream;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

type Target = fn(&[u8]);

fn manifest_target(data: &[u8]) {
    if let Ok(manifest) = Manifest::parse(data, Path::new("luban.json")) {
        assert_eq!(manifest.render(), data, "what is accepted has one spelling");
    }
}

fn tensors_target(data: &[u8]) {
    let Ok(weights) = Weights::open(data.to_vec().into()) else { return };
    let mut bytes = 0;
    for name in weights.names() {
        let view = weights.tensor(name).expect("a name that was listed");
        let expected = view.shape.iter().product::<usize>() * view.dtype.bitsize() / 8;
        assert_eq!(view.data.len(), expected);
        assert!(view.to_f32().is_none_or(|elements| elements.len() == view.elements()));
        bytes += expected;
    }
    let header = u64::from_le_bytes(*data.first_chunk().expect("a header was read"));
    assert_eq!(bytes as u64 + header + 8, data.len() as u64, "every byte belongs to one tensor");
}

fn source_target(data: &[u8]) {
    if let Ok(source) = Source::parse(&String::from_utf8_lossy(data)) {
        assert_eq!(Source::parse(&source.to_string()).expect("it was written by us"), source);
    }
}

fn tensors() -> Vec<u8> {
    let mut file = Vec::new();
    let tensors = [
        ("model.norm.weight".to_owned(), Dtype::F32, vec![3], &[1; 12][..]),
        ("model.embed".to_owned(), Dtype::BF16, vec![2, 3], &[2; 12][..]),
        ("model.scale".to_owned(), Dtype::F16, vec![], &[3; 2][..]),
        ("model.codes".to_owned(), Dtype::I8, vec![5, 1, 0], &[][..]),
    ];
    write(&mut file, &tensors, &[("format", "pt")]).unwrap();
    file
}

fn manifest() -> Vec<u8> {
    let place = tempfile::tempdir().unwrap();
    let artifact = common::save(&place.path().join("artifact"), "x").unwrap();
    fs::read(artifact.dir().join(MANIFEST)).unwrap()
}

/// A file with the given header and `data` bytes after it.
fn file(header: &str, data: usize) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &vec![0; data]].concat()
}

/// Changes bytes here and there: flips, numbers with edges, pieces cut out, doubled or moved.
fn mutate(seed: &[u8], random: Stream) -> Vec<u8> {
    const TOKENS: [&[u8]; 9] =
        [b"18446744073709551615", b"-1", b"[", b"{", b"\"", b"\xff\xff\xff\xff\xff\xff\xff\xff", b"\0", b",", b"1e999"];
    let mut bytes = seed.to_vec();
    for round in 0..=random.below_at(0, 4) {
        let draw = |index: u64, bound: usize| random.child(round + 1).below_at(index, bound.max(1) as u64) as usize;
        let (at, len) = (draw(0, bytes.len()), draw(1, 16).min(bytes.len()));
        let to = (at + len).min(bytes.len());
        match draw(2, 6) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << draw(3, 8),
            1 => drop(bytes.splice(at..to, TOKENS[draw(3, TOKENS.len())].iter().copied())),
            2 => drop(bytes.drain(at..to)),
            3 => bytes.extend_from_within(at..to),
            4 => bytes.truncate(at),
            _ => bytes.insert(at, draw(3, 256) as u8),
        }
    }
    bytes
}

#[test]
fn mutated_files_never_panic() {
    let rounds = std::env::var("LUBAN_FUZZ_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(4000);
    let seed = 11;
    println!("{rounds} mutations a target, seed {seed}");
    let targets: [(Target, Vec<u8>); 5] = [
        (manifest_target, manifest()),
        (tensors_target, tensors()),
        (source_target, b"hf:org/name@main".to_vec()),
        (source_target, b"pypi:name==1.0".to_vec()),
        (source_target, format!("https://host/model.gguf#sha256={}", "0".repeat(64)).into_bytes()),
    ];
    for (number, (target, valid)) in targets.iter().enumerate() {
        target(valid);
        for round in 0..rounds {
            target(&mutate(valid, Stream::new(seed, &[number as u64, round])));
        }
    }
}

#[test]
fn every_value_of_every_header_byte_is_survived() {
    let valid = tensors();
    let header = 8 + u64::from_le_bytes(*valid.first_chunk().unwrap()) as usize;
    for at in 0..header {
        for value in 0..=255 {
            let mut bytes = valid.clone();
            bytes[at] = value;
            tensors_target(&bytes);
        }
    }
    for length in 0..valid.len() {
        assert!(Weights::open(valid[..length].to_vec().into()).is_err(), "cut to {length} bytes");
    }
    assert!(Weights::open([&valid[..], &[0]].concat().into()).is_err(), "one byte more");
}

#[test]
fn lies_about_sizes_are_refused() {
    let one = |dtype: &str, shape: &str, offsets: &str| {
        format!(r#"{{"a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
    };
    let two = |first: &str, second: &str| {
        let entry = |offsets: &str| format!(r#"{{"dtype":"U8","shape":[4],"data_offsets":{offsets}}}"#);
        format!(r#"{{"a":{},"b":{}}}"#, entry(first), entry(second))
    };
    let max = u64::MAX.to_string();
    let half = (1_u64 << 63).to_string();
    let deep = format!("{{\"a\":{}", "[".repeat(200_000));
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("good, so that the others are refused for their lies", file(&one("F32", "[2,2]", "[0,16]"), 16)),
        ("shape and length differ", file(&one("F32", "[2,3]", "[0,16]"), 16)),
        ("a product that overflows", file(&one("F32", &format!("[{half},2]"), "[0,16]"), 16)),
        ("a product that overflows to the right size", file(&one("U8", &format!("[{half},2,0]"), "[0,0]"), 0)),
        ("bits that overflow", file(&one("F32", &format!("[{half}]"), "[0,16]"), 16)),
        ("an end beyond the file", file(&one("U8", "[17]", "[0,17]"), 16)),
        ("an end before the file's", file(&one("U8", "[15]", "[0,15]"), 16)),
        ("a start after the end", file(&one("U8", "[16]", "[16,0]"), 16)),
        ("offsets that wrap around", file(&one("U8", "[16]", &format!("[{max},15]")), 16)),
        ("a hole", file(&two("[0,4]", "[5,9]"), 9)),
        ("an overlap", file(&two("[0,4]", "[3,7]"), 7)),
        ("the same place twice", file(&two("[0,4]", "[0,4]"), 4)),
        ("a negative size", file(&one("U8", "[-4]", "[0,4]"), 4)),
        ("a broken size", file(&one("U8", "[4.0]", "[0,4]"), 4)),
        ("a huge number", file(&one("U8", "[1e30]", "[0,4]"), 4)),
        ("nine dimensions", file(&one("U8", "[1,1,1,1,1,1,1,1,4]", "[0,4]"), 4)),
        ("three offsets", file(&one("U8", "[4]", "[0,4,4]"), 4)),
        ("an unknown type", file(&one("F31", "[4]", "[0,16]"), 16)),
        ("half a byte", file(&one("F4", "[3]", "[0,1]"), 1)),
        ("a doubled name", file(&format!("{{{0},{0}}}", one("U8", "[0]", "[0,0]").trim_matches(['{', '}'])), 0)),
        (
            "a name beyond the limit",
            file(&one("U8", "[0]", "[0,0]").replace("\"a\"", &format!("\"{}\"", "a".repeat(513))), 0),
        ),
        ("metadata that is no text", file(r#"{"__metadata__":{"a":1}}"#, 0)),
        ("no object", file("[]", 0)),
        ("white space first", file(" {}", 0)),
        ("not text", file("{\"\u{0}\":1}", 0)),
        ("deep nesting", file(&deep, 0)),
        ("nothing", Vec::new()),
        ("seven bytes", vec![0; 7]),
        ("no header", vec![0; 8]),
        ("a header of all ones", vec![0xff; 64]),
        ("a header beyond the limit", [&(HEADER_BYTES_MAX + 1).to_le_bytes()[..], &[b'{'; 64]].concat()),
    ];
    for (index, (what, bytes)) in cases.iter().enumerate() {
        let result = Weights::open(bytes.clone().into());
        assert_eq!(result.is_ok(), index == 0, "{what}: {:?}", result.map(|weights| weights.len()));
        tensors_target(bytes);
    }
}

/// The environment variable that tells the child which file to read.
const CHILD: &str = "LUBAN_TEST_BOUNDED_FILE";
const SLACK_BYTES: u64 = 64 << 20;

/// Not a test of its own: reads one file with a limit on memory.
#[test]
fn child_that_reads_with_bounded_memory() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    let data = fs::read(path).unwrap();
    let kilobytes = |text: &str| text.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok());
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let used = status.lines().find(|line| line.starts_with("VmData")).and_then(kilobytes).unwrap() * 1024;
    // The copy that the target makes stands for the mapped file.
    let limit = used + data.len() as u64 + 4 * data.len() as u64 + SLACK_BYTES;
    let maximum = getrlimit(Resource::Data).maximum;
    setrlimit(Resource::Data, Rlimit { current: Some(limit), maximum }).unwrap();
    if data.starts_with(b"{\n") { manifest_target(&data) } else { tensors_target(&data) }
}

#[test]
fn no_header_makes_us_allocate_beyond_the_bound() {
    let room = HEADER_BYTES_MAX as usize - 100;
    let filled = |item: &dyn Fn(usize) -> String, start: &str, end: &str| {
        let mut header = start.to_owned();
        let mut index = 0;
        while header.len() < room {
            header.push_str(&item(index));
            index += 1;
        }
        header.truncate(header.rfind(',').unwrap());
        header + end
    };
    let tensor = r#"{"dtype":"U8","shape":[0],"data_offsets":[0,0]}"#;
    let files = [
        ("empty tensors", file(&filled(&|i| format!("\"{i:x}\":{tensor},"), "{", "}"), 0)),
        ("metadata", file(&filled(&|i| format!("\"{i:x}\":\"\","), "{\"__metadata__\":{", "}}"), 0)),
        ("dimensions", file(&filled(&|_| "0,".to_owned(), r#"{"a":{"dtype":"U8","shape":["#, "]}}"), 0)),
        ("unknown fields", file(&filled(&|_| "0,".to_owned(), r#"{"a":{"x":["#, "]}}"), 0)),
        ("one long name", file(&filled(&|_| "\\u0041".repeat(1000) + ",", "{\"", "\"}"), 0)),
    ];
    let manifest = String::from_utf8(manifest()).unwrap();
    let with = |count: usize| manifest.replace("\"d\": null", &format!("\"d\": [{}0]", "0, ".repeat(count)));
    let manifests = [
        ("values", with(95_000)),
        ("too many values", with(1_300_000)),
        ("a long text", manifest.replace("test", &"x".repeat(4_000_000))),
    ];
    let manifests = manifests.map(|(what, text)| (what, text.into_bytes()));
    let place = tempfile::tempdir().unwrap();
    for (what, bytes) in files.into_iter().chain(manifests) {
        let path = place.path().join("file");
        fs::write(&path, bytes).unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_reads_with_bounded_memory"])
            .env(CHILD, &path)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stderr);
        assert!(child.status.success(), "{what}: {said}\n{}", String::from_utf8_lossy(&child.stdout));
    }
}

#[test]
fn an_artifact_with_any_byte_of_its_manifest_changed_does_not_open() {
    let place = tempfile::tempdir().unwrap();
    let artifact = common::save(&place.path().join("artifact"), "x").unwrap();
    let path = artifact.dir().join(MANIFEST);
    let valid = fs::read(&path).unwrap();
    for at in 0..valid.len() {
        for bit in 0..8 {
            let mut bytes = valid.clone();
            bytes[at] ^= 1 << bit;
            assert!(Manifest::parse(&bytes, &path).is_err(), "bit {bit} of byte {at}");
        }
        fs::write(&path, &valid[..at]).unwrap();
        assert!(Artifact::open(artifact.dir()).is_err(), "cut to {at} bytes");
    }
}
